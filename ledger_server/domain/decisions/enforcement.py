"""Owns the switch between SHADOW and ENFORCED: what stands against it, and what is recorded of it."""

from typing import Final

from msgspec import Struct

from ledger_server.domain.errors import AccountsBelowLimit, BlockingFindingsOpen
from ledger_server.domain.findings.discrepancy import BLOCK_ENFORCEMENT
from ledger_server.domain.findings.finding import UNRESOLVED, Finding
from ledger_server.domain.ids import finding_id
from ledger_server.domain.ledger.accounts import stands_below
from ledger_server.domain.state.commands import Enforcement, SetBalanceEnforcement
from ledger_server.domain.state.facts import EnforcementChanged, EnforcementSwitch, FactKind
from ledger_server.domain.state.working_set import WorkingSet

EXAMPLES: Final = 10
"""How many accounts and findings are named, beside their count."""


class Against(Struct, frozen=True):
    """What stands against ENFORCED; no more than `EXAMPLES` of the accounts and findings are named."""

    below_count: int
    account_ids: tuple[str, ...]
    finding_count: int
    fingerprints: tuple[bytes, ...]


_NOTHING: Final = Against(0, (), 0, ())


def blocks(finding: Finding) -> bool:
    """Whether a finding stands against ENFORCED: it puts balances in doubt, and nobody has resolved it."""
    return finding.kind in BLOCK_ENFORCEMENT and finding.state in UNRESOLVED


def against(working_set: WorkingSet) -> Against:
    """Return what stands against ENFORCED as of the working set's newest record."""
    unloaded = working_set.unloaded
    loaded: set[int] = set()
    account_ids: list[str] = []
    for entry in working_set.accounts.values():
        account = entry.account
        if account is not None:
            loaded.add(account.number)
            if stands_below(account, entry.counters):
                account_ids.append(account.account_id)
    fingerprints = [
        fingerprint
        for fingerprint, found in working_set.findings.items()
        if found.finding is not None and blocks(found.finding)
    ]
    below_count = len(account_ids) + sum(number not in loaded for number in unloaded.below)
    account_ids += [name for number, name in unloaded.account_ids.items() if number not in loaded]
    finding_count = len(fingerprints) + unloaded.finding_count
    fingerprints += unloaded.fingerprints
    return Against(
        below_count,
        tuple(sorted(account_ids)[:EXAMPLES]),
        finding_count,
        tuple(sorted(fingerprints)[:EXAMPLES]),
    )


def switch_enforcement(working_set: WorkingSet, command: SetBalanceEnforcement) -> EnforcementChanged:
    """Decide a switch.

    From ENFORCED to ENFORCED nothing changes, so nothing is counted and nothing refused.

    Raises:
        AccountsBelowLimit: some are, and nobody forces it.
        BlockingFindingsOpen: some are, and nobody forces it.
    """
    switch = None
    if command.reason is not None:
        begins = command.enforcement is Enforcement.ENFORCED and working_set.enforcement is Enforcement.SHADOW
        found = against(working_set) if begins else _NOTHING
        if not command.force:
            _check(found)
        switch = EnforcementSwitch(command.reason, command.force, found.below_count, found.finding_count)
    return EnforcementChanged(
        FactKind.BALANCE_ENFORCEMENT_SET, command.enforcement, working_set.create_time, switch
    )


def _check(found: Against) -> None:
    if found.below_count:
        raise AccountsBelowLimit(count=found.below_count, account_ids=" ".join(found.account_ids))
    if found.finding_count:
        named = " ".join(finding_id(each) for each in found.fingerprints)
        raise BlockingFindingsOpen(count=found.finding_count, finding_ids=named)
