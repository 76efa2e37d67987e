"""Owns the reads of enforcement: which accounts stand below their limits, and who set the mode."""

from datetime import datetime
from functools import partial

from defter.ledger.v1 import journal_pb2, tenant_pb2
from msgspec import Struct

from ledger_server.domain.decisions.enforcement import EXAMPLES
from ledger_server.domain.findings.discrepancy import BLOCK_ENFORCEMENT
from ledger_server.domain.findings.finding import UNRESOLVED
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.domain.state.limit_survey import LimitSurvey
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.journal import caller_of
from ledger_server.engine.records.limit_surveys import RECORDS, caught_up
from ledger_server.store import limit_store
from ledger_server.store.database import AnyConnection
from ledger_server.store.lane_store import Head, read_head
from ledger_server.store.limit_store import Breaches


class EnforcementNow(Struct, frozen=True, kw_only=True):
    """A tenant's mode, how it was set last, and what stands against ENFORCED.

    Attributes:
        switch: None where the record has no reason.
        account_ids, fingerprints: some of those that are counted.
    """

    head: Head
    switch_sequence: int
    switch_time: datetime
    switched_by: NamedCaller | None
    switch: tenant_pb2.BalanceEnforcementSwitch | None
    below_count: int
    account_ids: tuple[str, ...]
    breaches: Breaches
    finding_count: int
    fingerprints: tuple[bytes, ...]


class EnforcementReads:
    """All reads of enforcement. Each statement of a survey is short, so no snapshot is held for long."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def survey(self, tenant_id: str) -> LimitSurvey:
        """Look at all accounts, until only few records have come since. Raises TenantNotFound."""
        key = await self._reads.key_of(tenant_id)
        # Whatever is written from here on is looked at again, so the pages need not be of one moment.
        through = (await self._reads.tenant(tenant_id)).sequence
        below: list[int] = []
        last = 0
        while True:
            page = await self._reads.run(partial(limit_store.survey_page, key=key, after=last), tenant=key)
            below.extend(page.below)
            if page.last is None:
                break
            last = page.last
        survey, count = LimitSurvey(through, tuple(below)), RECORDS
        while count >= RECORDS:
            catch_up = partial(caught_up, key=key, survey=survey)
            survey, count = await self._reads.run(catch_up, tenant=key)
        return survey

    async def now(self, tenant_id: str) -> EnforcementNow:
        """Return a tenant's mode and what stands against ENFORCED. Raises TenantNotFound."""
        earlier = await self.survey(tenant_id)
        key = await self._reads.key_of(tenant_id)

        async def read(connection: AnyConnection) -> EnforcementNow:
            # All of it is of one snapshot, the survey too: it is caught up with what the snapshot has.
            survey, _ = await caught_up(connection, key, earlier)
            head = await read_head(connection, key, lock=False)
            assert head is not None, "tenants are never deleted"
            newest = await limit_store.newest_switch(connection, key)
            record = journal_pb2.JournalRecord.FromString(newest.record)
            told = record.balance_enforcement_set
            named = await limit_store.account_ids(connection, key, survey.below[:EXAMPLES])
            count, fingerprints = await limit_store.blocking_findings(
                connection, key, BLOCK_ENFORCEMENT, UNRESOLVED, examples=EXAMPLES
            )
            return EnforcementNow(
                head=head,
                switch_sequence=newest.sequence,
                switch_time=newest.record_time,
                switched_by=caller_of(record),
                switch=told.balance_enforcement_switch
                if told.HasField("balance_enforcement_switch")
                else None,
                below_count=len(survey.below),
                account_ids=tuple(sorted(named.values())),
                breaches=await limit_store.breaches_since(connection, key, newest.sequence),
                finding_count=count,
                fingerprints=fingerprints,
            )

        return (await self._reads.run_at(read, key)).found
