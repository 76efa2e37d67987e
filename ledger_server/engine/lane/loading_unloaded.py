"""Owns the loading of what a switch to ENFORCED has to know of accounts and findings that a lane lacks."""

from ledger_server.domain.decisions.enforcement import EXAMPLES
from ledger_server.domain.findings.discrepancy import BLOCK_ENFORCEMENT
from ledger_server.domain.findings.finding import UNRESOLVED
from ledger_server.domain.ids import TenantKey
from ledger_server.domain.state.limit_survey import LimitSurvey, Unloaded
from ledger_server.domain.state.working_set import WorkingSet
from ledger_server.engine.records.limit_surveys import caught_up
from ledger_server.store import limit_store
from ledger_server.store.database import AnyConnection


async def load_unloaded(
    connection: AnyConnection, key: TenantKey, working_set: WorkingSet, survey: LimitSurvey
) -> None:
    """Bring a survey up to what is committed, and count blocking findings that the working set lacks.

    The working set knows what is decided and not committed yet. So nothing of it may be forgotten before the
    switch is decided, although a commit may end meanwhile.
    """
    for account in working_set.accounts.values():
        account.stamp = working_set.stamp
    for finding in working_set.findings.values():
        finding.stamp = working_set.stamp
    newest, _ = await caught_up(connection, key, survey)
    loaded = {entry.account.number for entry in working_set.accounts.values() if entry.account is not None}
    named = [number for number in newest.below if number not in loaded][:EXAMPLES]
    known = list(working_set.findings)
    count, fingerprints = await limit_store.blocking_findings(
        connection, key, BLOCK_ENFORCEMENT, UNRESOLVED, apart_from=known, examples=EXAMPLES
    )
    working_set.unloaded = Unloaded(
        newest.below, await limit_store.account_ids(connection, key, named), count, fingerprints
    )
