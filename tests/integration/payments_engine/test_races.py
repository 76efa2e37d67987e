"""Own the proof that payments which race through two processes take effect as often as they should."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from defter.ledger.v1 import error_pb2
from defter.payments.v1 import payment_pb2
from msgspec.structs import replace

from ledger_server.domain.payments.commands import (
    ApproveWithdrawal,
    CancelWithdrawal,
    RefundDeposit,
    RejectWithdrawal,
    SetWithdrawalPolicy,
)
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.payments.withdrawal import Withdrawal, WithdrawalPolicy, WithdrawalState
from ledger_server.domain.state.commands import Method
from ledger_server.domain.state.facts import FactKind
from ledger_server.engine.lane.work import Outcome, Request
from tests.support.clock import FakeClock
from tests.support.engine import (
    IDS,
    Engine,
    asked,
    assert_coherent,
    delivery,
    deposit,
    events_of,
    fund,
    payment_of,
    replay,
    wallet_of,
    withdrawal,
)
from tests.support.payments import an_event

CALLERS = 100
CAPTURE = an_event(EventType.PAYMENT_CAPTURED, 1000, ref="pay-1", object_ref="cap-1", at=1)


async def ask_both(first: Engine, second: Engine, requests: Sequence[Request]) -> list[Outcome]:
    """Submit all at once, every other one to the second process."""
    return await asyncio.gather(
        *((first, second)[number % 2].ask(request) for number, request in enumerate(requests))
    )


def reasons(outcomes: Sequence[Outcome]) -> Counter[str]:
    """Count what the callers were told: a kind of record, or the reason of a recorded refusal."""
    told: Counter[str] = Counter()
    for outcome in outcomes:
        assert outcome.kind is not None, outcome
        if outcome.kind is FactKind.REQUEST_REJECTED:
            refused = error_pb2.Rejection.FromString(outcome.content)
            told[error_pb2.ErrorReason.Name(refused.reason).removeprefix("ERROR_REASON_")] += 1
        else:
            told[outcome.kind.name] += 1
    return told


async def test_deliver_one_event_a_hundred_times_at_once_books_it_once(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """All deliveries are answered with the same stored event."""
    await first.ask(deposit("pay-1"))

    outcomes = await ask_both(first, second, [delivery(CAPTURE)] * CALLERS)

    told = {payment_pb2.RecordedProviderEvent.FromString(each.content).provider_event_id for each in outcomes}
    assert len(told) == 1
    assert sum(not outcome.replayed for outcome in outcomes) == 1
    assert (await wallet_of(database_url)).posted_credits == 1000
    assert (await events_of(first.pool, "mock")).stored_count == 1
    await assert_coherent(database_url, clock)


async def test_deliver_one_thing_as_a_hundred_events_at_once_books_it_once(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """Each event is stored, and the money moves once."""
    await first.ask(deposit("pay-1"))

    events = [replace(CAPTURE, event_id=f"event-{number}") for number in range(CALLERS)]
    await ask_both(first, second, [delivery(event) for event in events])

    assert (await wallet_of(database_url)).posted_credits == 1000
    assert (await events_of(first.pool, "mock")).stored_count == CALLERS
    await assert_coherent(database_url, clock)


async def test_request_a_hundred_withdrawals_at_once_holds_what_is_there(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """Of a hundred requests on a balance that covers thirty, exactly thirty are taken on."""
    await fund(first, 3000)

    outcomes = await ask_both(first, second, [withdrawal(f"w-{number}") for number in range(CALLERS)])

    assert reasons(outcomes) == {"WITHDRAWAL_CHANGED": 30, "INSUFFICIENT_FUNDS": 70}
    wallet = await wallet_of(database_url)
    assert (wallet.posted_credits, wallet.pending_debits) == (3000, 3000)
    await assert_coherent(database_url, clock)


async def test_request_one_withdrawal_a_hundred_times_at_once_holds_once(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """All callers hear of the same withdrawal."""
    await fund(first, 3000)

    outcomes = await ask_both(first, second, [withdrawal("w")] * CALLERS)

    assert {outcome.sequence for outcome in outcomes} == {outcomes[0].sequence}
    assert (await wallet_of(database_url)).pending_debits == 100
    await assert_coherent(database_url, clock)


async def test_ask_for_fifty_refunds_at_once_holds_no_more_than_was_captured(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """No two refunds pass on the same money."""
    number = await fund(first, 1000)
    refund = RefundDeposit(deposit_id=IDS.deposit_id(number), number=number, amount=100)

    outcomes = await ask_both(
        first, second, [asked(refund, Method.RefundDeposit, f"r-{each}") for each in range(50)]
    )

    assert reasons(outcomes) == {"DEPOSIT_CHANGED": 10, "REFUND_EXCEEDS_CAPTURED": 40}
    assert (await wallet_of(database_url)).pending_debits == 1000
    await assert_coherent(database_url, clock)


async def test_review_one_withdrawal_in_three_ways_at_once_lets_one_win(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """Approved, rejected or cancelled: one of them, and the hold ends at most once."""
    await fund(first, 1000)
    policy = SetWithdrawalPolicy(policy=WithdrawalPolicy(player_may_cancel=True, second_review_from={}))
    await first.ask(asked(policy, Method.SetWithdrawalPolicy, "policy"))
    for round_number in range(10):
        number = (await first.ask(withdrawal(f"w-{round_number}"))).sequence
        name = IDS.withdrawal_id(number)
        approve = ApproveWithdrawal(withdrawal_id=name, number=number, reviewer="rita", note="", identity="")
        reject = RejectWithdrawal(withdrawal_id=name, number=number, reviewer="saul", reason="no")
        cancel = CancelWithdrawal(withdrawal_id=name, number=number, reason="oh")

        outcomes = await ask_both(
            first,
            second,
            [
                asked(approve, Method.ApproveWithdrawal, f"approve-{round_number}"),
                asked(reject, Method.RejectWithdrawal, f"reject-{round_number}"),
                asked(cancel, Method.CancelWithdrawal, f"cancel-{round_number}"),
            ],
        )

        assert reasons(outcomes) == {"WITHDRAWAL_CHANGED": 1, "ILLEGAL_TRANSITION": 2}
        stored = await payment_of(first.pool, number)
        assert isinstance(stored, Withdrawal)
        assert stored.state in {
            WithdrawalState.APPROVED,
            WithdrawalState.REJECTED,
            WithdrawalState.CANCELLED,
        }
    await assert_coherent(database_url, clock)


async def test_begin_deposit_while_its_events_come_in_books_all_once_replayed(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """Whatever came first, parked events make up for it, through the other process as well."""
    count = 30
    events = [
        replace(CAPTURE, event_id=f"event-{n}", payment_ref=f"pay-{n}", object_ref=f"cap-{n}")
        for n in range(count)
    ]
    begun = [deposit(f"pay-{n}", player_id="ann") for n in range(count)]

    await ask_both(first, second, [each for n in range(count) for each in (delivery(events[n]), begun[n])])
    parked = (await events_of(first.pool, "mock")).parked
    await ask_both(first, second, [replay(number) for number in [*parked, *parked]])

    assert (await wallet_of(database_url)).posted_credits == 1000 * count
    assert (await events_of(first.pool, "mock")).parked == []
    await assert_coherent(database_url, clock)
