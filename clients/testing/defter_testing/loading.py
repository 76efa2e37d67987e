"""Owns what a decision needs to find in the working set: here all that exists is in it, or is put there."""

from collections.abc import Sequence
from datetime import datetime

from defter_testing.tenants import MemoryTenant
from ledger_server.domain.state.commands import Command
from ledger_server.domain.state.working_set import (
    AccountEntry,
    AdjustmentEntry,
    EventEntry,
    FindingEntry,
    HoldEntry,
    PaymentEntry,
    RefEntry,
)
from ledger_server.engine.lane.commits import Prepared
from ledger_server.engine.lane.loading import Wanted, wanted
from ledger_server.engine.records.journal import reversible


def prepare(tenant: MemoryTenant, commands: Sequence[Command], now: datetime, *, limit: int) -> Prepared:
    """Complete the working set for commands; return when they are decided, and which holds end first.

    Args:
        limit: how many holds that are due end in one go.
    """
    working_set = tenant.tip.working_set
    missing = wanted(working_set, commands, now)
    while _fill(tenant, missing):
        missing = wanted(working_set, commands, now)
    due = set(missing.due)
    while True:
        holds = working_set.due_holds(due, now)
        continued = {
            account_id
            for hold in holds[:limit]
            for account_id in (hold.debit_account_id, hold.credit_account_id)
            if (entry := working_set.account(account_id)) is not None
            and entry.account is not None
            and entry.account.continued_by
        }
        if continued <= due:
            break
        due |= continued
    if len(holds) <= limit:
        for account_id in due:
            _look_again(tenant, account_id, now)
    return Prepared(now, due, len(holds) > limit)


def _fill(tenant: MemoryTenant, missing: Wanted) -> bool:
    """Put in what is missing; return whether anything may name more."""
    known = tenant.tip.working_set
    before = len(known.transactions)
    for account_id in missing.accounts:
        known.accounts[account_id] = AccountEntry(None, stamp=known.stamp)
    for number in missing.holds:
        known.holds[number] = HoldEntry(None, known.stamp)
    for number in missing.payments | {number for number, _ in missing.new_refs}:
        known.payments.setdefault(number, PaymentEntry(None, known.stamp))
    for place in missing.refs:
        known.refs[place] = RefEntry(None, known.stamp)
    for fingerprint in missing.findings:
        known.findings[fingerprint] = FindingEntry(None, known.stamp)
    for number in missing.adjustments:
        known.adjustments[number] = AdjustmentEntry(None, known.stamp)
    for number in missing.events:
        known.events[number] = EventEntry(None, known.stamp)
    found = False
    for number in missing.transactions:
        record = tenant.records[number - 1].row.record if 1 <= number <= tenant.sequence else b""
        entry = reversible(record, tenant.reversed_by.get(number))
        found = found or entry.legs is not None
        known.transactions[number] = entry
    # A transaction that does not exist is asked for again and again, since it may have come since.
    return (
        found
        or len(known.transactions) > before
        or bool(
            missing.accounts
            or missing.holds
            or missing.payments
            or missing.new_refs
            or missing.refs
            or missing.findings
            or missing.adjustments
            or missing.events
        )
    )


def _look_again(tenant: MemoryTenant, account_id: str, now: datetime) -> None:
    """Note when the next of an account's holds is due, once those that are due have ended."""
    later = [
        entry.hold.expire_time
        for entry in tenant.tip.working_set.holds.values()
        if entry.hold is not None
        and entry.hold.remaining
        and entry.hold.expire_time is not None
        and entry.hold.expire_time > now
        and account_id in (entry.hold.debit_account_id, entry.hold.credit_account_id)
    ]
    tenant.tip.working_set.accounts[account_id].next_expiry = min(later, default=None)
