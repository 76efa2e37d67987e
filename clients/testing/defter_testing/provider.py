"""Owns the provider that is built in: it takes on every call that is owed, and tells what became of it.

What it tells goes through the server's rules for provider events, like a webhook that the edge has read.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, NamedTuple, assert_never

from defter_testing.ledger import MemoryLedger
from defter_testing.tenants import MemoryTenant
from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import ShuttingDown
from ledger_server.domain.payments.calls import (
    CallAccepted,
    CallBegun,
    CallKind,
    CallNews,
    CallRejected,
    OwedCall,
)
from ledger_server.domain.payments.commands import ReplayEvent, ReportCall
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventType, ProviderEvent
from ledger_server.domain.payments.names import told_names
from ledger_server.domain.state.facts import DepositChanged, WithdrawalChanged
from ledger_server.engine.incidents import report
from ledger_server.engine.lane.work import Request
from ledger_server.engine.reconciliation.event_requests import event_request
from ledger_server.store.ledger_rows import JournalRow

PROVIDER: Final = "mock"
"""The provider account that every tenant may use."""


class Fate(Enum):
    """What becomes of what is asked of the provider.

    A deposit, a payout or a refund that succeeds is captured or paid whole. One that fails was taken on
    first, one that is declined never was, and of one that is silent nothing is ever heard.
    """

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    DECLINED = "declined"
    SILENT = "silent"


class _Plan(NamedTuple):
    fate: Fate = Fate.SUCCEEDS
    late: timedelta = timedelta(0)
    deliveries: int = 1


class _Late(NamedTuple):
    due_time: datetime
    tenant_id: str
    event: ProviderEvent
    deliveries: int


_TOLD: Final = {
    (CallKind.CREATE_PAYMENT, Fate.SUCCEEDS): EventType.PAYMENT_CAPTURED,
    (CallKind.CREATE_PAYMENT, Fate.FAILS): EventType.PAYMENT_FAILED,
    (CallKind.CREATE_PAYOUT, Fate.SUCCEEDS): EventType.PAYOUT_PAID,
    (CallKind.CREATE_PAYOUT, Fate.FAILS): EventType.PAYOUT_FAILED,
    (CallKind.REFUND, Fate.SUCCEEDS): EventType.REFUND_SUCCEEDED,
    (CallKind.REFUND, Fate.FAILS): EventType.REFUND_FAILED,
}


class BuiltInProvider:
    """What happens at the provider. All but the plans is of the fake's own thread."""

    def __init__(self, ledger: MemoryLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._plans: dict[CallKind, deque[_Plan]] = {kind: deque() for kind in CallKind}
        self._late: list[_Late] = []
        self._tasks: set[asyncio.Task[None]] = set()
        # The record of its payment at which a parked event was tried last.
        self._tried: Counter[tuple[str, int]] = Counter()
        ledger.on_commit(self._committed)

    def next_deposit(
        self, fate: Fate = Fate.SUCCEEDS, *, late: timedelta = timedelta(0), deliveries: int = 1
    ) -> None:
        """Say what becomes of the next deposit that nobody has said it of.

        Args:
            fate: its end.
            late: how much later, by the fake's clock, the end is told.
            deliveries: how often; every delivery after the first is a duplicate.
        """
        self._plans[CallKind.CREATE_PAYMENT].append(_Plan(fate, late, deliveries))

    def next_withdrawal(
        self, fate: Fate = Fate.SUCCEEDS, *, late: timedelta = timedelta(0), deliveries: int = 1
    ) -> None:
        """Say what becomes of the next withdrawal that is let pass; see `next_deposit`."""
        self._plans[CallKind.CREATE_PAYOUT].append(_Plan(fate, late, deliveries))

    def next_refund(
        self, fate: Fate = Fate.SUCCEEDS, *, late: timedelta = timedelta(0), deliveries: int = 1
    ) -> None:
        """Say what becomes of the next refund; see `next_deposit`."""
        self._plans[CallKind.REFUND].append(_Plan(fate, late, deliveries))

    def forget_plans(self) -> None:
        """Have all that follows succeed at once."""
        for plans in self._plans.values():
            plans.clear()

    async def tell_late(self) -> None:
        """Tell what is due by the clock."""
        now = self._clock()
        due = sorted((each for each in self._late if each.due_time <= now), key=lambda each: each.due_time)
        self._late = [each for each in self._late if each.due_time > now]
        for each in due:
            await self._deliver(each.tenant_id, each.event, each.deliveries)

    async def until_quiet(self) -> None:
        """Return when nothing is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _committed(self, tenant_id: str, rows: Sequence[JournalRow]) -> None:
        """Take on the calls that a commit owes, and try again the events that wait for a changed payment."""
        is_payment = False
        for row in rows:
            fact = row.fact
            if isinstance(fact, DepositChanged | WithdrawalChanged):
                is_payment = True
                if fact.owed is not None and fact.owed.provider == PROVIDER:
                    self._begin(self._take_on(tenant_id, fact.owed))
        if is_payment and any(self._ledger.tenant(tenant_id).parked):
            self._begin(self._replay(tenant_id))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(_reported(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_on(self, tenant_id: str, owed: OwedCall) -> None:
        plans = self._plans[owed.kind]
        plan = plans.popleft() if plans else _Plan()
        await self._report(tenant_id, owed, CallBegun())
        if plan.fate is Fate.SILENT:
            return
        if plan.fate is Fate.DECLINED:
            await self._report(tenant_id, owed, CallRejected(reason="declined: the test wants it so"))
            return
        tenant = self._ledger.tenant(tenant_id)
        our_id = _our_id(tenant, owed)
        ref = f"{PROVIDER}-{our_id}"
        url = f"https://pay.invalid/{ref}" if owed.kind is CallKind.CREATE_PAYMENT else ""
        await self._report(tenant_id, owed, CallAccepted(provider_ref=ref, payment_url=url))
        event = _event(tenant, owed, _TOLD[owed.kind, plan.fate], ref, self._clock())
        if plan.late:
            self._late.append(_Late(self._clock() + plan.late, tenant_id, event, plan.deliveries))
        else:
            await self._deliver(tenant_id, event, plan.deliveries)

    async def _report(self, tenant_id: str, owed: OwedCall, news: CallNews) -> None:
        command = ReportCall(kind=owed.kind, payment=owed.payment, subject=owed.subject, news=news)
        await self._ledger.submit(tenant_id, [Request(command)])

    async def _deliver(self, tenant_id: str, event: ProviderEvent, deliveries: int) -> None:
        for _ in range(deliveries):
            await self._ledger.submit(tenant_id, [event_request(event)])

    async def _replay(self, tenant_id: str) -> None:
        """Try parked events again whose payment is new or has changed, as the server's sweeper does."""
        tenant = self._ledger.tenant(tenant_id)
        for written in list(tenant.parked):
            stored = written.stored
            payment = stored.payment or stored.event.payment or _named(tenant, stored.event)
            changed_by = tenant.payments[payment].changed_by if payment in tenant.payments else 0
            if changed_by > self._tried[tenant_id, stored.number]:
                self._tried[tenant_id, stored.number] = changed_by
                command = ReplayEvent(provider_event_id="", number=stored.number)
                await self._ledger.submit(tenant_id, [Request(command)])


async def _reported(work: Coroutine[None, None, None]) -> None:
    try:
        await work
    except ShuttingDown:
        pass
    except Exception as error:  # noqa: BLE001  # nobody waits for it, so it is logged
        report(error, "the built-in provider failed")


def _named(tenant: MemoryTenant, event: ProviderEvent) -> int | None:
    refs = (tenant.refs.get((event.provider, name)) for name in told_names(event))
    return next((number for number in refs if number is not None), None)


def _our_id(tenant: MemoryTenant, owed: OwedCall) -> str:
    match owed.kind:
        case CallKind.CREATE_PAYMENT:
            return tenant.ids.deposit_id(owed.subject)
        case CallKind.CREATE_PAYOUT:
            return tenant.ids.withdrawal_id(owed.subject)
        case CallKind.REFUND:
            return tenant.ids.refund_id(owed.subject)
        case _:
            assert_never(owed.kind)


def _event(tenant: MemoryTenant, owed: OwedCall, kind: EventType, ref: str, now: datetime) -> ProviderEvent:
    """Return the event that tells the end of a call's object."""
    payment = tenant.payments[owed.payment].payment
    is_refund = owed.kind is CallKind.REFUND
    amount = payment.amount
    if is_refund:
        assert isinstance(payment, Deposit)
        amount = next(each.amount for each in payment.refunds if each.number == owed.subject)
    is_payout = owed.kind is CallKind.CREATE_PAYOUT
    ids = tenant.ids
    return ProviderEvent(
        provider=PROVIDER,
        event_id=f"{kind.name.lower()}:{ref}",
        type=kind,
        provider_type=kind.name.lower(),
        payment_ref=payment.known_ref if is_refund else ref,
        payment_id=ids.withdrawal_id(owed.payment) if is_payout else ids.deposit_id(owed.payment),
        payment=owed.payment,
        object_ref=ref if is_refund else "",
        object_id=ids.refund_id(owed.subject) if is_refund else "",
        refund=owed.subject if is_refund else None,
        provider_amount=amount,
        amount=amount,
        problem="",
        currency=payment.currency,
        occur_time=now,
        final=kind is EventType.PAYMENT_CAPTURED,
        stage="",
        reason="" if kind in _SUCCESSES else "the test wants it so",
        payload=b"",
        unread=None,
        delivery="",
    )


_SUCCESSES: Final = frozenset({EventType.PAYMENT_CAPTURED, EventType.PAYOUT_PAID, EventType.REFUND_SUCCEEDED})
