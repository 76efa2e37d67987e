"""Own the proof that a crash at the commit leaves a payment's step undone or done once, never half."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallKind, CallRejected
from ledger_server.domain.payments.commands import (
    ApproveWithdrawal,
    MarkWithdrawalPaid,
    RefundDeposit,
    ReportCall,
)
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.state.commands import Method
from ledger_server.engine.lane.work import Request
from tests.support.clock import FakeClock
from tests.support.engine import (
    IDS,
    KEY,
    TENANT,
    Engine,
    asked,
    assert_coherent,
    delivery,
    deposit,
    engine,
    fund,
    wallet_of,
    withdrawal,
)
from tests.support.payments import an_event
from tests.support.postgres import run_sql
from tests.support.tenant_lock import head_locked, poll, wait_until_lane_waits

CAPTURE = an_event(EventType.PAYMENT_CAPTURED, 1000, ref="pay-1", object_ref="cap-1", at=1)
PAYOUT = CallKind.CREATE_PAYOUT
END_WAITING = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Prepared(NamedTuple):
    """A player with 5000, of which 400 are held for an approved withdrawal, and a deposit on its way."""

    funding: int
    deposit: int
    withdrawal: int


class Wallet(NamedTuple):
    """A wallet's posted money, and what is pending out of it and into it."""

    posted: int
    outgoing: int
    incoming: int


async def prepare(running: Engine) -> Prepared:
    """Bring payments into the states from which the steps begin."""
    funding = await fund(running, 5000)
    begun = (await running.ask(deposit("pay-1"))).sequence
    number = (await running.ask(withdrawal("w", 400))).sequence
    approve = ApproveWithdrawal(
        withdrawal_id=IDS.withdrawal_id(number), number=number, reviewer="rita", note="", identity=""
    )
    await running.ask(asked(approve, Method.ApproveWithdrawal, "approve"))
    return Prepared(funding, begun, number)


def capture(_: Prepared) -> Request:
    """Deliver the capture of the deposit."""
    return delivery(CAPTURE)


def refund(prepared: Prepared) -> Request:
    """Ask for a refund."""
    command = RefundDeposit(deposit_id=IDS.deposit_id(prepared.funding), number=prepared.funding, amount=100)
    return asked(command, Method.RefundDeposit, "refund")


def another(_: Prepared) -> Request:
    """Ask for another withdrawal."""
    return withdrawal("another", 100)


def mark_paid(prepared: Prepared) -> Request:
    """Record by hand that the withdrawal was paid."""
    command = MarkWithdrawalPaid(
        withdrawal_id=IDS.withdrawal_id(prepared.withdrawal),
        number=prepared.withdrawal,
        provider_ref="po-1",
        reviewer="rita",
    )
    return asked(command, Method.MarkWithdrawalPaid, "paid")


def paid(prepared: Prepared) -> Request:
    """Deliver the payout's success."""
    number = prepared.withdrawal
    event = an_event(EventType.PAYOUT_PAID, 400, ref="po-1", payment=number, event_id="paid")
    return delivery(replace(event, payment_id=IDS.withdrawal_id(number)))


def chargeback(_: Prepared) -> Request:
    """Deliver a chargeback of all the money."""
    return delivery(
        an_event(EventType.DISPUTE_FUNDS_WITHDRAWN, 5000, ref="fund", object_ref="dp-1", stage="chargeback")
    )


STEPS = [
    (capture, Wallet(6000, 400, 0)),
    (refund, Wallet(5000, 500, 1000)),
    (another, Wallet(5000, 500, 1000)),
    (mark_paid, Wallet(4600, 0, 1000)),
    (paid, Wallet(4600, 0, 1000)),
    (chargeback, Wallet(0, 400, 1000)),
]


@pytest.mark.parametrize(("step", "after"), STEPS)
async def test_crash_before_commit_and_ask_again_takes_effect_once(
    first: Engine,
    database_url: str,
    clock: FakeClock,
    step: Callable[[Prepared], Request],
    after: Wallet,
) -> None:
    """Nothing was written, and the same request does it all."""
    prepared = await prepare(first)
    request = step(prepared)
    async with head_locked(database_url, TENANT):
        unanswered = first.ledger.enqueue(TENANT, [request])
        await wait_until_lane_waits(database_url)
        crash(first)
        # The database may not have noticed yet that nobody is there any more.
        run_sql(database_url, END_WAITING)
    unanswered.cancel()
    assert await wallet_now(database_url) == Wallet(5000, 400, 1000)

    async with engine(database_url, clock) as again:
        outcomes = [await again.ask(request) for _ in range(2)]

    assert [outcome.replayed for outcome in outcomes] == [False, True]
    assert await wallet_now(database_url) == after
    await assert_coherent(database_url, clock)


@pytest.mark.parametrize(("step", "after"), STEPS)
async def test_crash_after_commit_and_ask_again_takes_effect_once(
    first: Engine,
    database_url: str,
    clock: FakeClock,
    step: Callable[[Prepared], Request],
    after: Wallet,
) -> None:
    """All was written, and the same request is answered with what was decided then."""
    prepared = await prepare(first)
    request = step(prepared)
    head = await first.pool.fetchval("SELECT sequence FROM tenants WHERE tenant_key = $1", KEY)
    async with head_locked(database_url, TENANT):
        unanswered = first.ledger.enqueue(TENANT, [request])
        await wait_until_lane_waits(database_url)
    await poll(database_url, f"SELECT 1 FROM tenants WHERE tenant_key = {KEY} AND sequence > {head}")
    crash(first)
    unanswered.cancel()
    assert await wallet_now(database_url) == after

    async with engine(database_url, clock) as again:
        outcome = await again.ask(request)

    assert outcome.replayed
    assert await wallet_now(database_url) == after
    await assert_coherent(database_url, clock)


@pytest.mark.parametrize("news", [CallAccepted(provider_ref="po-1"), CallRejected(reason="declined")])
async def test_crash_between_call_and_its_answer_keeps_the_call_under_way(
    first: Engine, database_url: str, clock: FakeClock, news: CallAccepted | CallRejected
) -> None:
    """What was begun stays begun; the answer, told twice after the crash, counts once."""
    prepared = await prepare(first)
    number = prepared.withdrawal
    begun = ReportCall(kind=PAYOUT, payment=number, subject=number, news=CallBegun())
    await first.ask(Request(begun))
    crash(first)

    async with engine(database_url, clock) as again:
        assert (await again.ask(mark_paid(prepared))).rejected
        answered = Request(ReportCall(kind=PAYOUT, payment=number, subject=number, news=news))
        told = [await again.ask(answered) for _ in range(2)]

    assert [outcome.kind is None for outcome in told] == [False, True]
    outgoing = 400 if isinstance(news, CallAccepted) else 0
    assert await wallet_now(database_url) == Wallet(5000, outgoing, 1000)
    await assert_coherent(database_url, clock)


async def wallet_now(database_url: str) -> Wallet:
    """Return the player's wallet as it is stored."""
    counters = await wallet_of(database_url)
    return Wallet(
        counters.posted_credits - counters.posted_debits,
        counters.pending_debits,
        counters.pending_credits,
    )


def crash(running: Engine) -> None:
    """Stop as a killed process would."""
    running.ledger.abort()
    running.pool.terminate()
