"""Own the proof that a process which knows less than the journal never answers by what it knows."""

from __future__ import annotations

from ledger_server.domain.payments.calls import CallBegun, CallKind
from ledger_server.domain.payments.commands import ApproveWithdrawal, ReportCall
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.payments.knowledge import CallState
from ledger_server.domain.state.commands import Method
from ledger_server.engine.lane.work import Request
from tests.support.clock import FakeClock
from tests.support.engine import (
    IDS,
    Engine,
    asked,
    assert_coherent,
    deposit,
    events_of,
    fund,
    payment_of,
    replay,
    wallet_of,
    withdrawal,
)
from tests.support.payments import an_event

CAPTURE = an_event(EventType.PAYMENT_CAPTURED, 1000, ref="pay-1", object_ref="cap-1", at=1)


async def test_report_call_through_process_that_missed_the_approval_is_recorded(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """It must not be taken for old news, or the call would be closed and the payout never made."""
    await fund(first, 1000)
    number = (await first.ask(withdrawal("w"))).sequence
    approve = ApproveWithdrawal(
        withdrawal_id=IDS.withdrawal_id(number), number=number, reviewer="rita", note="", identity=""
    )
    await second.ask(asked(approve, Method.ApproveWithdrawal, "approve"))

    report = ReportCall(kind=CallKind.CREATE_PAYOUT, payment=number, subject=number, news=CallBegun())
    await first.ask(Request(report))

    assert (await payment_of(first.pool, number)).call_state is CallState.UNDER_WAY
    await assert_coherent(database_url, clock)


async def test_replay_event_through_process_that_missed_the_deposit_books_it(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """It parked the event because there was no deposit; that has changed since."""
    early = await first.deliver(CAPTURE)
    number = IDS.event_sequence(early.provider_event_id)
    assert number is not None
    await second.ask(deposit("pay-1"))

    await first.ask(replay(number))

    assert (await events_of(first.pool, "mock")).parked == []
    assert (await wallet_of(database_url)).posted_credits == 1000
    await assert_coherent(database_url, clock)
