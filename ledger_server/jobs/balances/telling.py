"""Owns the findings of a comparison: differences are reported, and what is equal again is resolved.

A finding is never changed by what is known of an earlier moment than what changed or saw it last, nor by a
comparison that stood still until it was declared dead.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from defter.backfill.v1 import backfill_pb2 as pb
from defter.reconciliation.v1 import finding_pb2

from ledger_server.domain.clock import Clock
from ledger_server.domain.findings import finding as life
from ledger_server.domain.findings.commands import AnyFindingCommand, ReportDiscrepancy, ResolveUnseen
from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.findings.finding import Finding, FindingState, Source
from ledger_server.domain.ids import TenantId, TenantIds, finding_id, tenant_key
from ledger_server.domain.reconciliation.balance_comparison import (
    ComparedBalances,
    Drift,
    Moment,
    discrepancy_of,
    fingerprint_of,
)
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.reconciliation.comparisons import Begun, Comparisons, WantedComparison
from ledger_server.engine.records.findings import finding_of
from ledger_server.jobs import metrics
from ledger_server.jobs.balances.counting import MOST_MINOR, Counts
from ledger_server.jobs.balances.wallets import Since
from ledger_server.jobs.reconciliation.pace import Pace
from ledger_server.jobs.retrying import submit_until_decided
from ledger_server.store import compared_store, drift_store
from ledger_server.store.database import Pool
from ledger_server.store.database_clock import known
from ledger_server.store.drift_store import KnownDrift

MOST_OPENED: Final = 10_000
"""So many findings one comparison opens: the wrong file must not fill a journal that keeps everything."""

# Few at a time, so that a posting never waits behind a long row of reports.
_AT_ONCE: Final = 50
_PAGE: Final = 500


class DriftTeller:
    """Tells findings what one comparison has seen."""

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        clock: Clock,
        comparisons: Comparisons,
        *,
        wanted: WantedComparison,
        ids: TenantIds,
        begun: Begun,
    ) -> None:
        self.committed = 0
        self._ledger = ledger
        self._pool = pool
        self._clock = clock
        self._comparisons = comparisons
        self._wanted = wanted
        self._key = tenant_key(TenantId(wanted.tenant_id))
        self._ids = ids
        self._run = begun.number
        self._lease = comparisons.lease(self._key, begun)
        self._silent = bool(begun.run.comparison.overtaken_by_run_id)
        self._moments: dict[int, Moment | None] = {begun.number: wanted.moment}

    async def tell(
        self, compared: ComparedBalances, since: Sequence[Since], counts: Counts
    ) -> list[pb.BalanceDifference]:
        """Report the differences of a stretch; of a partial snapshot, resolve what it shows to be equal."""
        seen = {
            discrepancy.fingerprint: discrepancy
            for discrepancy in (self._discrepancy(drift, each) for drift, each in self._each(compared, since))
        }
        named = set[bytes]() if self._silent else await self._report(seen, counts)
        if self._wanted.partial and not self._silent and compared.equal:
            await self._resolve(
                [
                    fingerprint_of(balance, bucket, self._wanted.source, self._wanted.subject_time)
                    for balance, bucket in compared.equal
                ],
                counts,
            )
        return [
            _message(drift, each, fingerprint if fingerprint in named else None)
            for (drift, each), fingerprint in zip(self._each(compared, since), seen, strict=True)
        ]

    async def resolve_unseen(self, counts: Counts, pace: Pace) -> None:
        """Resolve the findings that a whole snapshot has not shown any more."""
        if self._wanted.partial or self._silent:
            return
        after = (datetime.min.replace(tzinfo=UTC), b"")
        while True:
            async with pace.step():
                async with self._pool.acquire() as connection:
                    page = await drift_store.unseen_drifts(
                        connection, self._key, self._wanted.source, self._run, after=after, size=_PAGE
                    )
                if not page:
                    return
                after = (page[-1].subject_time, page[-1].fingerprint)
                await self._end(page, counts)

    def _each(self, compared: ComparedBalances, since: Sequence[Since]) -> Iterable[tuple[Drift, Since]]:
        return zip(compared.drifts, since, strict=True)

    def _discrepancy(self, drift: Drift, since: Since) -> Discrepancy:
        wanted = self._wanted
        return discrepancy_of(
            drift,
            wanted.source,
            wanted.subject_time,
            sequence=wanted.moment.sequence,
            since=since.since,
        )

    async def _report(self, seen: dict[bytes, Discrepancy], counts: Counts) -> set[bytes]:
        """Report differences, and return the fingerprints of those that have a finding."""
        if not seen:
            return set()
        known_ones = await self._known(seen)
        now = await known(self._clock)
        news: list[AnyFindingCommand] = []
        sighted: list[bytes] = []
        for fingerprint, discrepancy in seen.items():
            each = known_ones.get(fingerprint)
            if each is None:
                if counts.opened >= MOST_OPENED:
                    counts.untold += 1
                    continue
                counts.opened += 1
            elif self._is_later(*each):
                continue
            sighted.append(fingerprint)
            finding = None if each is None else each[0]
            if life.seen(finding, discrepancy, now, source=Source.COMPARISON, run=self._run) is not None:
                news.append(
                    ReportDiscrepancy(discrepancy=discrepancy, source=Source.COMPARISON, run=self._run)
                )
        await self._submit(news, counts)
        async with self._lease.held() as connection:
            await compared_store.see_findings(connection, self._key, self._run, sighted, now)
        return {*sighted, *known_ones}

    async def _resolve(self, fingerprints: Sequence[bytes], counts: Counts) -> None:
        async with self._pool.acquire() as connection:
            found = await drift_store.known_drifts(connection, self._key, fingerprints)
        await self._end(list(found.values()), counts)

    async def _end(self, drifts: Sequence[KnownDrift], counts: Counts) -> None:
        """Resolve those of the findings that this comparison covers and knows better."""
        covered = {bucket.name.lower() for bucket in self._wanted.buckets}
        over: list[AnyFindingCommand] = []
        for fingerprint, (finding, seen_by) in (await self._read(drifts)).items():
            if finding.seen.evidence.get("bucket") not in covered:
                continue
            if finding.may_become(FindingState.AUTO_RESOLVED) and not self._is_later(finding, seen_by):
                over.append(ResolveUnseen(fingerprint=fingerprint, version=finding.version, run=self._run))
        await self._submit(over, counts)

    async def _known(self, fingerprints: Iterable[bytes]) -> dict[bytes, tuple[Finding, int | None]]:
        async with self._pool.acquire() as connection:
            found = await drift_store.known_drifts(connection, self._key, fingerprints)
        return await self._read(list(found.values()))

    async def _read(self, drifts: Sequence[KnownDrift]) -> dict[bytes, tuple[Finding, int | None]]:
        """Decode findings, and look up the moments of the runs that they name."""
        read = {
            each.fingerprint: (
                finding_of(self._ids, finding_pb2.Finding.FromString(each.body)),
                each.seen_by,
            )
            for each in drifts
        }
        named = {number for finding, seen_by in read.values() for number in (finding.run, seen_by)}
        missing = {number for number in named if number is not None} - self._moments.keys()
        if missing:
            found = await self._comparisons.moments(self._key, missing)
            self._moments |= {number: found.get(number) for number in missing}
        return read

    def _is_later(self, finding: Finding, seen_by: int | None) -> bool:
        """Whether a comparison of a later moment has seen or changed a finding last."""
        moments = [self._moments[number] for number in (finding.run, seen_by) if number is not None]
        return any(each is not None and self._wanted.moment.is_before(each) for each in moments)

    async def _submit(self, commands: Sequence[AnyFindingCommand], counts: Counts) -> None:
        for start in range(0, len(commands), _AT_ONCE):
            # Another comparison may have taken over what this one has seen, which would look unseen here.
            await self._lease.check()
            page = commands[start : start + _AT_ONCE]
            for outcome in await submit_until_decided(self._ledger, self._wanted.tenant_id, page):
                if outcome.refused is not None:
                    raise outcome.refused
                if outcome.sequence:
                    self.committed += 1
                    counts.change(outcome.content)
                    metrics.FINDINGS.inc()


def _message(drift: Drift, since: Since, fingerprint: bytes | None) -> pb.BalanceDifference:
    return pb.BalanceDifference(
        player_id=drift.player_id,
        currency_code=drift.currency,
        bucket=int(drift.bucket),  # type: ignore[arg-type]
        kind=int(drift.kind),  # type: ignore[arg-type]
        ledger_minor=drift.ledger,
        snapshot_minor=drift.snapshot,
        # Two amounts of nearly all that the contract holds may be further apart than that.
        difference_minor=max(-MOST_MINOR, min(drift.difference, MOST_MINOR)),
        agreed_sequence=since.agreed,
        since_sequence=since.since,
        finding_id="" if fingerprint is None else finding_id(fingerprint),
    )
