"""Owns one run: its stages in their order, over pages that never grow with the data."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from defter.reconciliation.v1 import finding_pb2
from defter.reconciliation.v1 import reconciliation_pb2 as pb

from ledger_server.domain.clock import Clock
from ledger_server.domain.decisions.payments.findings import of_payment
from ledger_server.domain.findings.discrepancy import RULES, Discrepancy, FindingClass
from ledger_server.domain.findings.finding import Finding, Source
from ledger_server.domain.ids import TenantIds, TenantKey
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind
from ledger_server.domain.reconciliation.comparison import ProviderRecordName
from ledger_server.domain.reconciliation.ledger_side import Payment
from ledger_server.domain.reconciliation.payment_comparison import Comparison, Verdict, compare
from ledger_server.domain.reconciliation.scope import EDGE, STALE_AFTER, Scope
from ledger_server.domain.reconciliation.unmatched import judge
from ledger_server.engine.reconciliation.runs import Lease
from ledger_server.engine.records.findings import finding_of
from ledger_server.engine.records.payments import payment_of
from ledger_server.jobs.reconciliation.fetching import Fetch, Incomplete
from ledger_server.jobs.reconciliation.pace import Pace
from ledger_server.jobs.reconciliation.progress import Progress
from ledger_server.jobs.reconciliation.reporting import Reporter
from ledger_server.providers.adapter import Adapter
from ledger_server.store import compared_store, record_store
from ledger_server.store.compared_store import PENDING_STATES, Changed, Compared
from ledger_server.store.database import Pool
from ledger_server.store.database_clock import known
from ledger_server.store.record_store import Settled

_PAGE: Final = 500
_MATCHED_ROWS: Final = 2_000
# After this many payments (well below a millisecond) other work of the process gets a turn.
_BREATH: Final = 8


class RunWindow(NamedTuple):
    """What a caller has asked for."""

    from_time: datetime
    to_time: datetime
    grace: timedelta | None
    stale_after: timedelta | None


class Run:
    """One comparison of a provider account with the ledger."""

    def __init__(
        self,
        *,
        adapter: Adapter,
        pool: Pool,
        clock: Clock,
        lease: Lease,
        reporter: Reporter,
        pace: Pace,
        key: TenantKey,
        ids: TenantIds,
        provider: str,
        number: int,
        window: RunWindow,
        pause_seconds: float,
    ) -> None:
        self.progress = Progress()
        self._adapter = adapter
        self._pool = pool
        self._clock = clock
        self._lease = lease
        self._reporter = reporter
        self._pace = pace
        self._key = key
        self._ids = ids
        self._provider = provider
        self._number = number
        self._window = window
        self._pause_seconds = pause_seconds

    async def work(self) -> bool:
        """Go through all stages; return whether the provider's listing was read to its end."""
        scope = await self._fetch()
        self.progress.stage = pb.RUN_STAGE_COMPARING
        await self._compare_matched(scope)
        self.progress.stage = pb.RUN_STAGE_SEEKING_MISSING
        await self._judge_unmatched(scope)
        await self._compare_changed(scope)
        await self._compare_pending(scope)
        if scope.complete:
            self.progress.stage = pb.RUN_STAGE_RESOLVING
            await self._resolve_unseen(scope)
        return scope.complete

    async def _fetch(self) -> Scope:
        """Read the listing beyond both edges of the window, and adopt records of settlement reports."""
        window = self._window
        low, high = window.from_time - EDGE, window.to_time + EDGE
        await self._forget()
        fetch = Fetch(
            self._adapter,
            self._lease,
            self._key,
            self._ids,
            provider=self._provider,
            run=self._number,
            progress=self.progress,
            pace=self._pace,
            pause_seconds=self._pause_seconds,
        )
        complete = True
        try:
            await fetch.read(low, high)
        except Incomplete as incomplete:
            complete = False
            self.progress.problem = str(incomplete)[:1_000]
        await self._adopt(low, high)
        return Scope(
            from_time=window.from_time,
            to_time=window.to_time,
            now=await known(self._clock),
            grace=window.grace,
            stale_after=STALE_AFTER if window.stale_after is None else window.stale_after,
            complete=complete,
            listed=self._adapter.capabilities.listed,
        )

    async def _forget(self) -> None:
        """Delete what this run had listed before it was interrupted: some of it may no longer be listed."""
        count = _PAGE
        while count == _PAGE:
            async with self._pace.step(), self._lease.held() as connection:
                count = await record_store.forget_run(
                    connection, self._key, self._provider, self._number, _PAGE
                )

    async def _adopt(self, low: datetime, high: datetime) -> None:
        """Adopt records of settlement reports."""
        after: Settled | None = Settled(low)
        while after is not None:
            async with self._pace.step(), self._lease.held() as connection:
                count, after = await record_store.adopt_settled(
                    connection, self._key, self._provider, self._number, after, to_time=high, size=_PAGE
                )
            self.progress.fetched += count

    async def _compare_matched(self, scope: Scope) -> None:
        """Compare the payments that have records, in order, each with all of its records."""
        after = 0
        while True:
            async with self._pace.step():
                groups = await record_store.matched_groups(
                    self._pool,
                    self._key,
                    self._provider,
                    self._number,
                    after=after,
                    size=self._pace.size(_MATCHED_ROWS),
                )
                if not groups:
                    return
                after = groups[-1].payment
                records = {group.payment: group.records for group in groups}
                payments = await compared_store.payments_by_number(self._pool, self._key, list(records))
                await self._compare(payments, records, scope)

    async def _compare_changed(self, scope: Scope) -> None:
        """Compare the payments that may have moved in the window and have no record."""
        after: Changed | None = Changed(scope.from_time - scope.stale_after - EDGE, 0)
        while after is not None:
            async with self._pace.step():
                payments, after = await compared_store.changed_payments(
                    self._pool,
                    self._key,
                    self._provider,
                    self._number,
                    after,
                    before=scope.to_time + EDGE,
                    size=self._pace.size(_PAGE),
                )
                await self._compare(payments, {}, scope)

    async def _compare_pending(self, scope: Scope) -> None:
        """Look for payments that should have ended long ago, whenever they began."""
        stale = scope.now - scope.stale_after
        for place in PENDING_STATES:
            after: int | None = 0
            while after is not None:
                async with self._pace.step():
                    payments, after = await compared_store.pending_payments(
                        self._pool,
                        self._key,
                        self._provider,
                        self._number,
                        place,
                        after=after,
                        before=stale,
                        size=self._pace.size(_PAGE),
                    )
                    await self._compare(payments, {}, scope, stale_only=True)
        number = 0
        while True:
            numbers = await compared_store.payments_with_open_refunds(
                self._pool, self._key, self._provider, after=number, size=_PAGE
            )
            if not numbers:
                return
            number = numbers[-1]
            payments = await compared_store.payments_by_number(self._pool, self._key, numbers)
            await self._compare(payments, {}, scope, stale_only=True)

    async def _compare(
        self,
        payments: Iterable[Compared],
        records: Mapping[int, Sequence[ProviderRecord]],
        scope: Scope,
        *,
        stale_only: bool = False,
    ) -> None:
        """Compare payments with their records and report what differs.

        Args:
            stale_only: payments of the window have been compared already, so only their age is judged.
        """
        found: list[Discrepancy] = []
        verdicts: dict[ProviderRecordName, Verdict] = {}
        for count, compared in enumerate(payments, 1):
            payment = payment_of(self._ids, compared.kind, compared.body)
            listed = records.get(compared.number, ())
            result = compare(self._ids, payment, listed, scope, twin=compared.twin)
            if any(each.kind in _BY_ABSENCE for each in result.discrepancies):
                result = await self._compare_with_all(payment, compared, listed, scope)
            if stale_only:
                found += [each for each in result.discrepancies if each.kind is FindingClass.STALE_PENDING]
            else:
                found += result.discrepancies
                verdicts |= result.verdicts
                self.progress.add(result)
            if count % _BREATH == 0:
                await asyncio.sleep(0)
        await self._tell(found, verdicts, scope)

    async def _tell(
        self, found: Sequence[Discrepancy], verdicts: Mapping[ProviderRecordName, Verdict], scope: Scope
    ) -> None:
        """Report the discrepancies, and write the verdicts on the records."""
        await self._reporter.report(found, self.progress, complete=scope.complete)
        if verdicts:
            async with self._lease.held() as connection:
                await record_store.set_verdicts(connection, self._key, self._provider, verdicts)

    async def _compare_with_all(
        self, payment: Payment, compared: Compared, listed: Sequence[ProviderRecord], scope: Scope
    ) -> Comparison:
        """Compare again, with records of other times that earlier runs have read.

        The ledger may have heard of a movement long after it happened, above all by hand, and dates it later.
        """
        elsewhere = await record_store.provider_records_elsewhere(
            self._pool,
            self._key,
            self._provider,
            compared.number,
            between=(scope.from_time - EDGE, scope.to_time + EDGE),
        )
        return compare(self._ids, payment, [*listed, *elsewhere], scope, twin=compared.twin)

    async def _judge_unmatched(self, scope: Scope) -> None:
        """Judge the records that belong to no payment."""
        after: ProviderRecordName = (ProviderRecordKind.PAYMENT, "")
        while True:
            async with self._pace.step():
                page = await record_store.unmatched_provider_records(
                    self._pool,
                    self._key,
                    self._provider,
                    self._number,
                    after=after,
                    size=self._pace.size(_PAGE),
                )
                if not page:
                    return
                last = page[-1].record
                after = (last.kind, last.record_id)
                found: list[Discrepancy] = []
                verdicts: dict[ProviderRecordName, Verdict] = {}
                for record, settled in page:
                    if not scope.covers(record.create_time):
                        continue
                    judged = judge(self._provider, record, scope, settled=settled)
                    if judged.verdict is not Verdict.MATCHED:
                        verdicts[record.kind, record.record_id] = judged.verdict
                    if judged.discrepancy is not None:
                        found.append(judged.discrepancy)
                    self.progress.add_unmatched(
                        record.currency,
                        record.amount or 0,
                        matched=judged.verdict is Verdict.MATCHED,
                        in_transit=judged.verdict is Verdict.IN_TRANSIT,
                    )
                await self._tell(found, verdicts, scope)

    async def _resolve_unseen(self, scope: Scope) -> None:
        """Resolve findings of the window that this run has not seen and proves to be over."""
        after = b""
        while True:
            unseen = await compared_store.unseen_findings(
                self._pool,
                self._key,
                self._provider,
                self._number,
                after=after,
                from_time=scope.from_time,
                to_time=scope.to_time,
                size=self._pace.size(_PAGE),
            )
            if not unseen:
                return
            after = unseen[-1].fingerprint
            for fingerprint, body in unseen:
                finding = finding_of(self._ids, finding_pb2.Finding.FromString(body))
                if await self._over(finding, scope):
                    await self._reporter.resolve(fingerprint, finding.version, self.progress)

    async def _over(self, finding: Finding, scope: Scope) -> bool:
        """Whether the discrepancy of a finding is over, as far as this run can tell."""
        seen = finding.seen
        if finding.kind in _NEVER:
            return False
        if finding.kind is FindingClass.STALE_PENDING and seen.payment is not None:
            # Such a finding exists by its age alone, so the run's window proves nothing about it.
            payments = await compared_store.payments_by_number(self._pool, self._key, [seen.payment])
            return not any([await self._still(each, finding, scope) for each in payments])
        if finding.source is Source.RUN:
            # A movement that may be in transit may be unseen for that reason alone.
            patient = RULES[finding.kind].grace > timedelta(0)
            return not (patient and scope.young(seen.subject_time, ProviderRecordKind.PAYMENT))
        if finding.source is Source.PARKED_EVENT:
            event_id = seen.evidence.get("event_id", "")
            return await compared_store.event_done(self._pool, self._key, self._provider, event_id)
        if finding.kind in _BY_A_PERSON:
            return False
        # A discrepancy that a payment's own events gave rise to is over when these contradict nothing any
        # more, and the provider lists what is booked. What the provider has done and nobody has asked for
        # stays with a person, however well the books agree with the listing.
        if seen.payment is None or await self._still_contradicted(finding, seen.payment):
            return False
        return await compared_store.all_match(
            self._pool, self._key, self._provider, self._number, seen.payment
        )

    async def _still_contradicted(self, finding: Finding, number: int) -> bool:
        """Whether what is known of a payment gives rise to the discrepancy of a finding."""
        for stored in await compared_store.payments_by_number(self._pool, self._key, [number]):
            payment = payment_of(self._ids, stored.kind, stored.body)
            if any(each.fingerprint == finding.fingerprint for each in of_payment(self._ids, payment)):
                return True
        return False

    async def _still(self, compared: Compared, finding: Finding, scope: Scope) -> bool:
        """Whether a payment still has the discrepancy of a finding, by all records that any run has read."""
        payment = payment_of(self._ids, compared.kind, compared.body)
        everywhere = (scope.to_time, scope.to_time)
        listed = await record_store.provider_records_elsewhere(
            self._pool, self._key, self._provider, compared.number, between=everywhere
        )
        result = compare(self._ids, payment, listed, scope, twin=compared.twin)
        return any(each.fingerprint == finding.fingerprint for each in result.discrepancies)


# Classes that mean that nothing is listed, as far as this run has read.
_BY_ABSENCE: Final = frozenset({FindingClass.MISSING_AT_PROVIDER, FindingClass.STALE_PENDING})
# Classes about balances and sums, calls that a person has to look at, and unread events: no listing of a
# window can prove that these are settled.
_NEVER: Final = frozenset(
    {
        FindingClass.WALLET_OVERDRAWN,
        FindingClass.SETTLEMENT_TOTAL_MISMATCH,
        FindingClass.OBJECT_NOT_OURS,
        FindingClass.UNREAD_EVENT,
        FindingClass.UNKNOWN_HISTORY,
        FindingClass.BALANCE_DRIFT,
    }
)
# A listing that agrees with the books does not settle these classes: something was paid twice, or belongs to
# two payments, and all of it may be booked.
_BY_A_PERSON: Final = frozenset({FindingClass.DUPLICATE_AT_PROVIDER, FindingClass.DUPLICATE_IN_LEDGER})
