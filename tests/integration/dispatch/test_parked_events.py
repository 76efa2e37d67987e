"""Parked events: applied by themselves once their payment is there, and reported when it never comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from defter.payments.v1 import payment_pb2

from ledger_server.domain.clock import system_clock
from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.payments.commands import InitiateDeposit
from ledger_server.domain.payments.events import EventState, EventType
from ledger_server.domain.state.commands import Method
from ledger_server.jobs.parked_events import ParkedEvents
from tests.integration.dispatch.engine_cashier import OPENING, PLAYER, TENANT, EngineCashier
from tests.support.patience import HANG_SECONDS


@asynccontextmanager
async def looking_after(
    cashier: EngineCashier, *, grace_seconds: float = 3_600.0
) -> AsyncIterator[ParkedEvents]:
    """Run the job until the context ends."""
    job = ParkedEvents(
        cashier.ledger, cashier.pool, system_clock, pause_seconds=30.0, grace_seconds=grace_seconds
    )
    cashier.ledger.on_commit(job.committed)
    job.start()
    try:
        yield job
    finally:
        await job.stop()


async def initiated(cashier: EngineCashier, provider_ref: str) -> int:
    """Begin a deposit that exists at the provider already; return its number."""
    command = InitiateDeposit(
        player_id=PLAYER,
        provider="mock",
        amount=5_000,
        currency="EUR",
        provider_ref=provider_ref,
        reference="",
        metadata={},
    )
    return (await cashier.ask(command, Method.InitiateDeposit)).sequence


async def applied(cashier: EngineCashier, event: int) -> None:
    """Wait until an event has had its effect."""
    async with asyncio.timeout(HANG_SECONDS):
        while await cashier.event_state(event) != EventState.APPLIED:  # noqa: ASYNC110  # the job applies it
            await asyncio.sleep(0.02)


async def test_initiate_after_the_capture_came_applies_it(cashier: EngineCashier) -> None:
    """An event of an unknown payment waits, and takes effect by itself when the payment appears."""
    async with looking_after(cashier):
        event = await cashier.tell(EventType.PAYMENT_CAPTURED, "pay_1", amount=5_000, final=True)
        assert await cashier.event_state(event) == EventState.PARKED
        number = await initiated(cashier, "pay_1")
        await applied(cashier, event)
    assert (await cashier.deposit(number)).state == payment_pb2.DEPOSIT_STATE_CAPTURED
    assert await cashier.player_money() == (OPENING + 5_000, 0)
    assert await cashier.finding_classes() == []
    await cashier.assert_sound()


async def test_capture_after_the_refund_came_applies_both(cashier: EngineCashier) -> None:
    """A refund that overtakes its capture waits for it, and both are booked."""
    async with looking_after(cashier):
        number = await initiated(cashier, "pay_1")
        refund = await cashier.tell(EventType.REFUND_SUCCEEDED, "pay_1", amount=2_000, object_ref="re_1")
        assert await cashier.event_state(refund) == EventState.PARKED
        assert await cashier.player_money() == (OPENING, 0)
        await cashier.tell(EventType.PAYMENT_CAPTURED, "pay_1", amount=5_000, final=True)
        await applied(cashier, refund)
    assert (await cashier.deposit(number)).state == payment_pb2.DEPOSIT_STATE_PARTIALLY_REFUNDED
    assert await cashier.player_money() == (OPENING + 3_000, 0)
    await cashier.assert_sound()


async def test_look_after_events_without_a_payment_past_the_grace_reports_each_once(
    cashier: EngineCashier,
) -> None:
    """What nobody claims becomes one finding for each payment, however often it is looked at."""
    await cashier.tell(EventType.PAYMENT_CAPTURED, "nobodys_payment", amount=5_000)
    await cashier.tell(EventType.REFUND_SUCCEEDED, "nobodys_refund", amount=2_000, object_ref="re_1")
    job = ParkedEvents(cashier.ledger, cashier.pool, system_clock, pause_seconds=30.0, grace_seconds=0.0)
    assert await job.report_overdue(TENANT) == 2
    assert await job.report_overdue(TENANT) == 0
    assert await cashier.finding_classes() == [FindingClass.MISSING_IN_LEDGER, FindingClass.ORPHAN_REFUND]


async def test_look_after_several_events_of_one_missing_payment_reports_it_once(
    cashier: EngineCashier,
) -> None:
    """The oldest tells the facts; if each of them did, they would change the finding round after round."""
    await cashier.tell(EventType.PAYMENT_AUTHORIZED, "nobodys_payment", amount=5_000)
    await cashier.tell(EventType.PAYMENT_CAPTURED, "nobodys_payment", amount=5_000)
    await cashier.tell(EventType.PAYMENT_CAPTURED, "another_payment", amount=5_000)
    job = ParkedEvents(cashier.ledger, cashier.pool, system_clock, pause_seconds=30.0, grace_seconds=0.0)
    assert await job.report_overdue(TENANT) == 2
    assert await job.report_overdue(TENANT) == 0
    assert await cashier.finding_classes() == [FindingClass.MISSING_IN_LEDGER] * 2


async def test_look_after_events_that_still_wait_writes_nothing(cashier: EngineCashier) -> None:
    """Trying a parked event again without news leaves no record."""
    await cashier.tell(EventType.PAYMENT_CAPTURED, "nobodys_payment", amount=5_000)
    before = await cashier.pool.fetchval(
        "SELECT max(sequence) FROM journal WHERE tenant_key = $1", cashier.key
    )
    job = ParkedEvents(cashier.ledger, cashier.pool, system_clock, pause_seconds=30.0, grace_seconds=3_600.0)
    assert await job.replay(TENANT) == 0
    after = await cashier.pool.fetchval(
        "SELECT max(sequence) FROM journal WHERE tenant_key = $1", cashier.key
    )
    assert before == after
