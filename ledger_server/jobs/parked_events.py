"""Owns parked events: they are tried again when their payment appears or changes, and reported when late.

Trying again is safe at any time, so several processes may do it at once.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from ledger_server.domain.clock import Clock
from ledger_server.domain.findings.commands import ReportDiscrepancy
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.findings.finding import Source
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.domain.payments.commands import ReplayEvent
from ledger_server.domain.payments.events import EventState, EventType
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.state.facts import (
    AccountContinued,
    DepositChanged,
    EventRecorded,
    TransactionPosted,
    WithdrawalChanged,
)
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.ledger import Ledger
from ledger_server.jobs import metrics
from ledger_server.jobs.tenant_sweep import Rounds
from ledger_server.store import parked_store
from ledger_server.store.database import Pool
from ledger_server.store.database_clock import known
from ledger_server.store.ledger_rows import JournalRow
from ledger_server.store.parked_store import ReadyEvent

_PAGE: Final = 100
# A record becomes visible a little later than its time says, so records from this long before the last look
# count as new.
_OVERLAP: Final = timedelta(seconds=60)
# Now and then all parked events are looked at again.
_WHOLE: Final = timedelta(hours=1)
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TRIED: Final = 10_000
_REFUNDS: Final = frozenset(
    {
        EventType.REFUND_PENDING,
        EventType.REFUND_SUCCEEDED,
        EventType.REFUND_FAILED,
        EventType.REFUND_TOTAL,
    }
)


class ParkedEvents:
    """Looks after the parked events of all tenants."""

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        clock: Clock,
        *,
        pause_seconds: float,
        grace_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._pool = pool
        self._clock = clock
        self._grace = timedelta(seconds=grace_seconds)
        self._rounds = Rounds("parked events", self.look, self._due, pool, pause_seconds)
        # Tenants that have parked events, as far as this process knows; a commit of another tenant needs no
        # look.
        self._parked: set[str] = set()
        # Tenants whose overdue events are still to be reported; up to when overdue events were searched for,
        # and when all of them last were.
        self._overdue: set[str] = set()
        self._overdue_until = _EVER
        self._whole_time = _EVER
        # The record of its payment at which an event was last tried; bounded, since this only saves work.
        self._tried: dict[tuple[str, int], int] = {}
        # Tenants whose parked events are all to be tried again, with the number of requests for that: an
        # account that had no room for an event, or was not fit for it, has been replaced.
        self._all: Counter[str] = Counter()

    def start(self) -> None:
        """Begin in the background."""
        self._rounds.start()

    async def stop(self) -> None:
        """Stop."""
        await self._rounds.stop()

    def committed(self, tenant_id: str, rows: Sequence[JournalRow]) -> None:
        """Look at a tenant at once when a payment has changed that a parked event may wait for."""
        for row in rows:
            fact = row.fact
            if type(fact) is TransactionPosted:
                continue  # skipped first, since nearly all facts are of this kind
            if isinstance(fact, EventRecorded) and fact.stored.state is EventState.PARKED:
                self._parked.add(tenant_id)
                self._rounds.look_at(tenant_id)
            elif isinstance(fact, DepositChanged | WithdrawalChanged) and tenant_id in self._parked:
                self._rounds.look_at(tenant_id)
            elif isinstance(fact, AccountContinued):
                self._all[tenant_id] += 1
                self._rounds.look_at(tenant_id)

    async def look(self, tenant_id: str) -> None:
        """Look after one tenant."""
        await self.replay(tenant_id)
        asked = self._all[tenant_id]
        if asked and await self.replay_all(tenant_id):
            # If it was asked for again meanwhile, it is done again.
            self._all[tenant_id] -= asked
            if not self._all[tenant_id]:
                del self._all[tenant_id]
        if tenant_id in self._overdue:
            await self.report_overdue(tenant_id)
            self._overdue.discard(tenant_id)

    async def _due(self) -> list[str]:
        """Return the tenants whose events may be tried again, and those whose events are to be reported."""
        until = await known(self._clock) - self._grace
        if until - self._whole_time >= _WHOLE:
            self._overdue_until, self._whole_time = _EVER, until
        overdue = await parked_store.tenants_with_overdue_events(self._pool, self._overdue_until, until)
        if self._overdue_until == _EVER:
            # Now and then all waiting events are tried, since another process may have replaced an account.
            self._all.update(overdue)
        self._overdue.update(overdue)
        # From here on the set keeps these tenants until their events have been reported.
        self._overdue_until = max(self._overdue_until, until - _OVERLAP)
        ready = await parked_store.tenants_with_ready_events(self._pool)
        found = {*ready, *self._overdue, *self._all}
        self._parked |= found
        return sorted(found)

    async def replay(self, tenant_id: str) -> int:
        """Try a tenant's parked events again whose payment is new or has changed; return how many."""
        key = tenant_key(TenantId(tenant_id))
        count = after = 0
        while True:
            ready = await parked_store.ready_events(self._pool, key, after=after, limit=_PAGE)
            if not ready:
                return count
            after = ready[-1].number
            fresh = [
                event for event in ready if self._tried.get((tenant_id, event.number)) != event.changed_by
            ]
            if fresh:
                commands = [ReplayEvent(provider_event_id="", number=event.number) for event in fresh]
                outcomes = await self._ledger.submit(tenant_id, [Request(command) for command in commands])
                self._note(tenant_id, fresh, outcomes)
                metrics.PARKED_REPLAYS.inc(len(fresh))
                count += len(fresh)

    async def replay_all(self, tenant_id: str) -> bool:
        """Try all of a tenant's parked events with a payment again, whether or not the payment has changed.

        Returns:
            Whether each of them was decided.
        """
        key = tenant_key(TenantId(tenant_id))
        after, decided = 0, True
        while waiting := await parked_store.events_with_payment(self._pool, key, after=after, limit=_PAGE):
            after = waiting[-1].number
            commands = [ReplayEvent(provider_event_id="", number=event.number) for event in waiting]
            outcomes = await self._ledger.submit(tenant_id, [Request(command) for command in commands])
            metrics.PARKED_REPLAYS.inc(len(waiting))
            decided = decided and all(outcome.refused is None for outcome in outcomes)
        return decided

    def _note(self, tenant_id: str, events: Sequence[ReadyEvent], outcomes: Sequence[Outcome]) -> None:
        """Note which events were decided, only after the decision: refused ones are tried again."""
        if len(self._tried) > _MAX_TRIED:
            self._tried.clear()
        for event, outcome in zip(events, outcomes, strict=True):
            if outcome.refused is None:
                self._tried[tenant_id, event.number] = event.changed_by

    async def report_overdue(self, tenant_id: str) -> int:
        """Write a finding for every event that has been parked for too long; return how many are new."""
        key = tenant_key(TenantId(tenant_id))
        now = await known(self._clock)
        count = after = 0
        reported: set[bytes] = set()
        while True:
            rows = await parked_store.overdue_events(
                self._pool, key, now - self._grace, after=after, limit=_PAGE
            )
            if not rows:
                return count
            after = rows[-1].number
            commands = []
            for discrepancy in map(_overdue, rows):
                # For several events of one payment the finding has the facts of the oldest event. If each
                # event reported its own facts, every round would find other facts than the report before it,
                # for ever.
                if discrepancy.fingerprint not in reported:
                    reported.add(discrepancy.fingerprint)
                    commands.append(ReportDiscrepancy(discrepancy=discrepancy, source=Source.PARKED_EVENT))
            if commands:
                outcomes = await self._ledger.submit(tenant_id, [Request(command) for command in commands])
                count += sum(outcome.sequence > 0 for outcome in outcomes)


def _overdue(event: parked_store.OverdueEvent) -> Discrepancy:
    """Return the discrepancy of an event that has waited too long for its payment."""
    refund = event.type in _REFUNDS
    ref = event.payment_ref or event.event_id
    return Discrepancy(
        kind=FindingClass.ORPHAN_REFUND if refund else FindingClass.MISSING_IN_LEDGER,
        provider=event.provider,
        payment=event.payment,
        withdrawal=event.withdrawal,
        remote=Side(
            ref=ref,
            kind=ProviderRecordKind.REFUND if refund else ProviderRecordKind.PAYMENT,
            amount=None,
            currency="",
            state="",
            time=event.receive_time,
            type=EventType(event.type).name,
        ),
        currency="",
        description="an event waits for its payment",
        evidence={"event_id": event.event_id},
        subject_time=event.receive_time,
        ledger=None,
    )
