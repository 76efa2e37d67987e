"""Owns the reports of a run: discrepancies become findings through the lane, if they are news."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from defter.reconciliation.v1 import finding_pb2

from ledger_server.domain.clock import Clock
from ledger_server.domain.findings.commands import AnyFindingCommand, ReportDiscrepancy, ResolveUnseen
from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.findings.finding import FindingState, Source, seen
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.reconciliation.runs import Lease
from ledger_server.engine.records.findings import finding_of
from ledger_server.jobs import metrics
from ledger_server.jobs.reconciliation.progress import Progress
from ledger_server.jobs.retrying import submit_until_decided
from ledger_server.store import compared_store, finding_store
from ledger_server.store.database import Pool
from ledger_server.store.database_clock import known

# Few at a time, so that a posting never waits behind a long row of reports.
_AT_ONCE: Final = 50


class Reporter:
    """Reports what one run sees."""

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        clock: Clock,
        lease: Lease,
        *,
        tenant_id: str,
        ids: TenantIds,
        run: int,
    ) -> None:
        self.committed = 0
        self._lease = lease
        self._ledger = ledger
        self._pool = pool
        self._clock = clock
        self._tenant_id = tenant_id
        self._key = tenant_key(TenantId(tenant_id))
        self._ids = ids
        self._run = run

    async def report(self, found: Sequence[Discrepancy], progress: Progress, *, complete: bool) -> None:
        """Record discrepancies and note that they were seen.

        Args:
            complete: whether the listing was read to its end. If not, a known discrepancy with other facts
                may only lack the records that were not read, so its finding keeps the facts that it has.
        """
        by_fingerprint = {each.fingerprint: each for each in reversed(found)}
        if not by_fingerprint:
            return
        for discrepancy in by_fingerprint.values():
            progress.see(discrepancy.kind)
        now = await known(self._clock)
        news = await self._news(by_fingerprint, now, complete=complete)
        await self._submit(
            [
                ReportDiscrepancy(discrepancy=discrepancy, source=Source.RUN, run=self._run)
                for discrepancy in news
            ],
            progress,
        )
        async with self._lease.held() as connection:
            await compared_store.see_findings(connection, self._key, self._run, list(by_fingerprint), now)

    async def resolve(self, fingerprint: bytes, version: int, progress: Progress) -> None:
        """Resolve a finding that is not seen any more."""
        command = ResolveUnseen(fingerprint=fingerprint, version=version, run=self._run)
        await self._submit([command], progress)

    async def _news(
        self, found: dict[bytes, Discrepancy], now: datetime, *, complete: bool
    ) -> list[Discrepancy]:
        """Leave out discrepancies that are known with the same facts; the lane checks again."""
        async with self._pool.acquire() as connection:
            bodies = await finding_store.load_findings(connection, self._key, sorted(found))
        news = []
        for fingerprint, discrepancy in found.items():
            body = bodies.get(fingerprint)
            known = None
            if body is not None:
                known = finding_of(self._ids, finding_pb2.Finding.FromString(body))
                if not complete and known.state is not FindingState.AUTO_RESOLVED:
                    continue
            if seen(known, discrepancy, now, source=Source.RUN, run=self._run) is not None:
                news.append(discrepancy)
        return news

    async def _submit(self, commands: Sequence[AnyFindingCommand], progress: Progress) -> None:
        for start in range(0, len(commands), _AT_ONCE):
            # If another run has taken over the records, this run would report them as missing.
            await self._lease.check()
            page = commands[start : start + _AT_ONCE]
            for outcome in await submit_until_decided(self._ledger, self._tenant_id, page):
                if outcome.refused is not None:
                    raise outcome.refused
                if outcome.sequence:
                    self.committed += 1
                    progress.change(outcome.content)
                    metrics.FINDINGS.inc()
