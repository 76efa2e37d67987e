"""Refunds as tables: those asked from inside, those made at the provider, and one that is both."""

from __future__ import annotations

import pytest

from ledger_server.domain.errors import (
    DepositNotFound,
    IllegalTransition,
    InsufficientFunds,
    RefundExceedsCaptured,
)
from ledger_server.domain.ledger.holds import HoldState
from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallKind, CallRejected
from ledger_server.domain.payments.commands import RefundDeposit
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent
from ledger_server.domain.payments.knowledge import CallState, RefundState
from tests.support.payments import Balances, PaymentBooks, an_event

PENDING, SUCCEEDED, FAILED = EventType.REFUND_PENDING, EventType.REFUND_SUCCEEDED, EventType.REFUND_FAILED
ALL = Balances(posted=1000, available=1000, clearing=1000)
HELD = Balances(posted=1000, available=700, clearing=1000)
GONE = Balances(posted=700, available=700, clearing=700)


def captured_deposit(amount: int = 1000) -> tuple[PaymentBooks, int]:
    """Return books with a captured deposit, and its number."""
    books = PaymentBooks()
    number = books.initiate(amount)
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, amount, object_ref="cap-1", at=1))
    return books, number


def refund(kind: EventType, amount: int | None = 300, ref: str = "re-1", *, at: int = 5) -> ProviderEvent:
    """Return an event of a refund at the provider."""
    return an_event(kind, amount, object_ref=ref, at=at, event_id=f"{kind.name}-{ref}-{at}")


@pytest.mark.parametrize(
    ("events", "state", "after"),
    [
        ([refund(PENDING)], RefundState.PENDING, ALL),
        ([refund(SUCCEEDED)], RefundState.SUCCEEDED, GONE),
        ([refund(PENDING), refund(SUCCEEDED)], RefundState.SUCCEEDED, GONE),
        ([refund(SUCCEEDED), refund(PENDING)], RefundState.SUCCEEDED, GONE),
        ([refund(FAILED)], RefundState.FAILED, ALL),
        ([refund(SUCCEEDED), refund(FAILED, at=9)], RefundState.FAILED, ALL),
        ([refund(FAILED, at=9), refund(SUCCEEDED)], RefundState.FAILED, ALL),
        ([refund(FAILED, None, at=9), refund(SUCCEEDED)], RefundState.FAILED, ALL),
        ([refund(SUCCEEDED), refund(FAILED, None, at=9)], RefundState.FAILED, ALL),
        ([refund(FAILED), refund(SUCCEEDED, at=9)], RefundState.SUCCEEDED, GONE),
        ([refund(SUCCEEDED, ref=""), refund(PENDING, ref="", at=1)], RefundState.SUCCEEDED, GONE),
        ([refund(PENDING, ref="", at=1), refund(SUCCEEDED, ref="")], RefundState.SUCCEEDED, GONE),
        ([refund(SUCCEEDED, ref=""), refund(FAILED, ref="", at=9)], RefundState.FAILED, ALL),
    ],
)
def test_refund_at_the_provider_takes_the_money_while_it_stands(
    events: list[ProviderEvent], state: RefundState, after: Balances
) -> None:
    """A refund of 300 that nobody asked for from inside, on a captured deposit of 1000."""
    books, number = captured_deposit()
    books.ingest_all(events)
    [known] = books.deposit(number).refunds
    assert known.state is state
    assert books.balances() == after


@pytest.mark.parametrize(
    ("events", "refund_state", "hold_state", "state", "after"),
    [
        ([], RefundState.PENDING, HoldState.OPEN, DepositState.CAPTURED, HELD),
        ([SUCCEEDED], RefundState.SUCCEEDED, HoldState.CAPTURED, DepositState.PARTIALLY_REFUNDED, GONE),
        ([FAILED], RefundState.FAILED, HoldState.RELEASED, DepositState.CAPTURED, ALL),
        ([SUCCEEDED, FAILED], RefundState.FAILED, HoldState.CAPTURED, DepositState.CAPTURED, ALL),
        (
            [FAILED, SUCCEEDED],
            RefundState.SUCCEEDED,
            HoldState.RELEASED,
            DepositState.PARTIALLY_REFUNDED,
            GONE,
        ),
        ([PENDING], RefundState.PENDING, HoldState.OPEN, DepositState.CAPTURED, HELD),
    ],
)
def test_refund_asked_from_inside_is_held_until_the_provider_has_spoken(
    events: list[EventType],
    refund_state: RefundState,
    hold_state: HoldState,
    state: DepositState,
    after: Balances,
) -> None:
    """Of a captured 1000, 300 are asked back; the provider echoes our id of the refund."""
    books, number = captured_deposit()
    asked = books.ask_refund(number, 300)
    books.accepted(CallKind.REFUND, number, "re-1", subject=asked)
    for at, kind in enumerate(events, 10):
        books.ingest(an_event(kind, 300, object_ref="re-1", refund=asked, at=at))
    [known] = books.deposit(number).refunds
    assert (known.state, books.hold(known.hold).state) == (refund_state, hold_state)
    assert books.deposit(number).state is state
    assert books.balances() == after


def test_refund_asked_from_inside_owes_one_call_for_the_refund() -> None:
    """The provider is asked to refund, with the refund's own number."""
    books, number = captured_deposit()
    asked = books.ask_refund(number, 300)
    [call] = books.owed
    assert (call.kind, call.payment, call.subject) == (CallKind.REFUND, number, asked)


@pytest.mark.parametrize("echoed", [True, False])
def test_hear_of_our_refund_before_the_call_is_answered_books_it_once(echoed: bool) -> None:
    """Whether or not the event echoes our id, it becomes one refund when the call is answered."""
    books, number = captured_deposit()
    asked = books.ask_refund(number, 300)
    books.report(CallKind.REFUND, number, CallBegun(), subject=asked)
    books.ingest(an_event(SUCCEEDED, 300, object_ref="re-1", refund=asked if echoed else None, at=5))
    books.report(CallKind.REFUND, number, CallAccepted(provider_ref="re-1"), subject=asked)
    [known] = books.deposit(number).refunds
    assert (known.number, known.provider_ref, known.state) == (asked, "re-1", RefundState.SUCCEEDED)
    # What was booked before it was known as ours is not booked again out of the hold.
    assert books.hold(known.hold).state is (HoldState.CAPTURED if echoed else HoldState.RELEASED)
    assert books.balances() == GONE


def test_refuse_refund_call_releases_the_hold() -> None:
    """A refused call did nothing, so the money is the player's again."""
    books, number = captured_deposit()
    asked = books.ask_refund(number, 300)
    books.rejected(CallKind.REFUND, number, subject=asked)
    [known] = books.deposit(number).refunds
    assert (known.state, known.call_state) == (RefundState.FAILED, CallState.REJECTED)
    assert books.hold(known.hold).state is HoldState.RELEASED
    assert books.balances() == ALL


def test_succeed_after_refused_refund_call_takes_the_money_all_the_same() -> None:
    """What the provider reports to have happened has happened."""
    books, number = captured_deposit()
    asked = books.ask_refund(number, 300)
    books.rejected(CallKind.REFUND, number, subject=asked)
    books.ingest(an_event(SUCCEEDED, 300, object_ref="re-1", refund=asked, at=9))
    assert books.balances() == GONE


@pytest.mark.parametrize("news", [CallAccepted(provider_ref="re-1"), CallRejected(reason="no"), CallBegun()])
def test_report_refund_call_twice_changes_nothing(news: CallAccepted | CallRejected | CallBegun) -> None:
    """What the provider has answered first is its answer for ever."""
    books, number = captured_deposit()
    asked = books.ask_refund(number, 300)
    books.accepted(CallKind.REFUND, number, "re-1", subject=asked)
    before = books.snapshot()
    books.report(CallKind.REFUND, number, news, subject=asked)
    assert books.snapshot() == before


@pytest.mark.parametrize(
    ("refunds", "amount"),
    [([], 1001), ([300], 701), ([300, 700], 1)],
)
def test_ask_for_more_than_refundable_is_refused(refunds: list[int], amount: int) -> None:
    """What is refunded or being refunded can't be asked back again."""
    books, number = captured_deposit()
    for refunded in refunds:
        books.ask_refund(number, refunded)
    before = books.snapshot()
    with pytest.raises(RefundExceedsCaptured):
        books.ask_refund(number, amount)
    assert books.snapshot() == before


def test_ask_for_refund_of_disputed_money_is_refused() -> None:
    """What a dispute has taken can't be sent back as well."""
    books, number = captured_deposit()
    books.ingest(an_event(EventType.DISPUTE_FUNDS_WITHDRAWN, 600, object_ref="dp-1", at=4))
    with pytest.raises(RefundExceedsCaptured):
        books.ask_refund(number, 401)
    books.ask_refund(number, 400)


def test_ask_for_refund_after_a_failed_one_may_take_all_again() -> None:
    """A refund that failed no longer counts."""
    books, number = captured_deposit()
    asked = books.ask_refund(number, 1000)
    books.rejected(CallKind.REFUND, number, subject=asked)
    books.ask_refund(number, 1000)
    assert books.balances() == Balances(posted=1000, available=0, clearing=1000)


@pytest.mark.parametrize(
    "events",
    [
        [],
        [an_event(EventType.PAYMENT_AUTHORIZED)],
        [an_event(EventType.PAYMENT_FAILED)],
        [
            an_event(EventType.PAYMENT_CAPTURED, at=1),
            an_event(SUCCEEDED, 1000, object_ref="re-1", at=2),
        ],
    ],
)
def test_ask_for_refund_in_wrong_state_is_refused(events: list[ProviderEvent]) -> None:
    """There is nothing to send back before a capture or after a full refund."""
    books = PaymentBooks()
    number = books.initiate()
    books.ingest_all(events)
    with pytest.raises(IllegalTransition):
        books.ask_refund(number, 1)


@pytest.mark.parametrize("number", [None, 7])
def test_ask_for_refund_of_unknown_deposit_is_refused(number: int | None) -> None:
    """An id of nobody's deposit is named as such."""
    with pytest.raises(DepositNotFound):
        PaymentBooks().do(RefundDeposit(deposit_id="dep_x", number=number, amount=1))


def test_ask_for_refund_of_spent_money_is_refused() -> None:
    """A refund from inside needs the money to be there; one at the provider does not."""
    books, number = captured_deposit()
    books.open_house()
    books.spend(800)
    with pytest.raises(InsufficientFunds):
        books.ask_refund(number, 300)
    assert books.balances().available == 200


def test_refund_at_the_provider_of_spent_money_overdraws_the_wallet() -> None:
    """The money has left; the wallet is short and a finding says so."""
    books, _ = captured_deposit()
    books.open_house()
    books.spend(800)
    assert books.ingest(refund(SUCCEEDED)).state is EventState.APPLIED
    assert books.balances().available == -100
    assert books.finding_names() == ["WALLET_OVERDRAWN"]


def test_refund_before_capture_moves_money_only_with_the_capture() -> None:
    """It is known and parked; the capture brings both, and replaying it then changes nothing."""
    books = PaymentBooks()
    number = books.initiate()
    early = books.ingest(refund(SUCCEEDED))
    assert early.state is EventState.PARKED
    assert books.balances() == Balances(incoming=1000)
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, 1000, object_ref="cap-1", at=1))
    assert books.deposit(number).state is DepositState.PARTIALLY_REFUNDED
    assert books.balances() == GONE
    assert books.replay(early.number).state is EventState.APPLIED
    assert books.balances() == GONE
