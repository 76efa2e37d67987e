"""A payment is what its provider's objects say, each by itself: the sum of the last word on each.

The model knows nothing of the rules: of every object it keeps what was told of it, and adds up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.findings.discrepancy import Severity
from ledger_server.domain.ledger.holds import HoldState
from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallKind, CallRejected
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent
from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.engine.records.deposits import deposit_message, deposit_of
from ledger_server.engine.records.withdrawals import withdrawal_message, withdrawal_of
from tests.support.payments import Balances, PaymentBooks, an_event

AMOUNT: Final = 1000
FUNDS: Final = 50_000
PAYOUT: Final = CallKind.CREATE_PAYOUT
DUPLICATE: Final = "DUPLICATE_AT_PROVIDER"


@dataclass(frozen=True)
class Word:
    """What is told of one object: that it succeeded with an amount, or that it failed, at a minute."""

    ref: str
    success: bool
    amount: int
    at: int


def words(refs: str) -> st.SearchStrategy[list[Word]]:
    """Return lists of words on objects with these names; each object always has one amount."""
    word = st.builds(
        lambda ref, success, at: Word(ref, success, 100 * (ord(ref) - ord("a") + 1), at),
        st.sampled_from(refs),
        st.booleans(),
        st.integers(min_value=1, max_value=9),
    )
    return st.lists(word, min_size=1, max_size=8).flatmap(
        # Again and in any order.
        lambda told: st.permutations([*told, *told[:2]])
    )


def standing(told: list[Word]) -> int:
    """Return what stands: of each object the last word counts, and at one moment the failure."""
    total = 0
    for ref in {word.ref for word in told}:
        own = [word for word in told if word.ref == ref]
        last = max(own, key=lambda word: (word.at, not word.success))
        total += last.amount if last.success else 0
    return total


@given(words("abc"), st.booleans())
def test_hear_of_captures_of_three_payments_adds_up_what_stands(told: list[Word], named: bool) -> None:
    """Whether its captures are named or each payment is told as a whole, one payment touches no other."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT)
    for at, word in enumerate(told):
        kind = EventType.PAYMENT_CAPTURED if word.success else EventType.CAPTURE_FAILED
        event = an_event(
            kind,
            word.amount if word.success else None,
            ref=f"pay-{word.ref}",
            object_ref=f"cap-{word.ref}" if named else "",
            payment=number,
            at=word.at,
            event_id=f"event-{at}",
        )
        assert books.ingest(event).state in (EventState.APPLIED, EventState.PARKED)

    deposit = books.deposit(number)
    assert deposit.captured == standing(told)
    assert books.balances().posted == standing(told)
    assert deposit_of(books.working_set.ids, deposit_message(books.working_set.ids, deposit)) == deposit
    for word in told:
        if word.success:
            assert books.working_set.payment_by_ref("mock", f"pay-{word.ref}") == number


@given(words("abc"), st.sampled_from(["", "po-a", "po-b"]))
def test_hear_of_three_payouts_adds_up_what_stands(told: list[Word], answered: str) -> None:
    """Each payout is paid and comes back by itself; a second one is a finding of the highest kind."""
    books = PaymentBooks()
    books.fund(FUNDS)
    number = books.request(AMOUNT)
    books.approve(number)
    books.report(PAYOUT, number, CallBegun())
    if answered:
        books.report(PAYOUT, number, CallAccepted(provider_ref=answered))
    for at, word in enumerate(told):
        kind = EventType.PAYOUT_PAID if word.success else EventType.PAYOUT_FAILED
        event = an_event(
            kind, word.amount, ref=f"po-{word.ref}", payment=number, at=word.at, event_id=f"event-{at}"
        )
        assert books.ingest(event).state is EventState.APPLIED

    withdrawal = books.withdrawal(number)
    assert withdrawal.debited == standing(told)
    assert books.balances().posted == FUNDS - standing(told)
    ids = books.working_set.ids
    assert withdrawal_of(ids, withdrawal_message(ids, withdrawal)) == withdrawal
    refs = {f"po-{word.ref}" for word in told} | ({answered} if answered else set())
    assert (DUPLICATE in books.finding_names()) == (len(refs) > 1)
    assert all(books.working_set.payment_by_ref("mock", ref) == number for ref in refs)


@given(words("abc"), st.sampled_from(["", "re-a", "re-c"]))
def test_hear_of_three_refunds_for_one_of_ours_adds_up_what_stands(told: list[Word], answered: str) -> None:
    """Each refund succeeds and comes back by itself, whichever of them our call was answered with."""
    books = PaymentBooks()
    number = books.initiate(FUNDS)
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, FUNDS, object_ref="cap-1"))
    subject = books.ask_refund(number, AMOUNT)
    books.report(CallKind.REFUND, number, CallBegun(), subject=subject)
    if answered:
        books.report(CallKind.REFUND, number, CallAccepted(provider_ref=answered), subject=subject)
    for at, word in enumerate(told):
        kind = EventType.REFUND_SUCCEEDED if word.success else EventType.REFUND_FAILED
        event = an_event(
            kind, word.amount, object_ref=f"re-{word.ref}", refund=subject, at=word.at, event_id=f"event-{at}"
        )
        assert books.ingest(event).state is EventState.APPLIED

    deposit = books.deposit(number)
    assert deposit.refunded == standing(told)
    assert books.balances().posted == FUNDS - standing(told)
    ids = books.working_set.ids
    assert deposit_of(ids, deposit_message(ids, deposit)) == deposit
    refs = {word.ref for word in told} | ({answered[-1]} if answered else set())
    assert (DUPLICATE in books.finding_names()) == (len(refs) > 1)


UNNAMED: Final = {
    EventType.FEE_CHARGED: lambda books: books.balances().fees,
    EventType.REFUND_SUCCEEDED: lambda books: AMOUNT - books.balances().posted,
    EventType.DISPUTE_FUNDS_WITHDRAWN: lambda books: AMOUNT - books.balances().posted,
}


@pytest.mark.parametrize("kind", UNNAMED)
@given(
    facts=st.lists(
        st.tuples(st.integers(min_value=1, max_value=9), st.integers(min_value=1, max_value=3)), max_size=6
    ),
    again=st.integers(min_value=0, max_value=6),
)
def test_hear_of_things_without_names_books_each_amount_and_time_once(
    kind: EventType, facts: list[tuple[int, int]], again: int
) -> None:
    """Different facts are added up; the same one told under another id of its event is none."""
    books = PaymentBooks()
    books.initiate(AMOUNT)
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, object_ref="cap-1"))
    for place, (amount, at) in enumerate([*facts, *facts[:again]]):
        books.ingest(an_event(kind, amount, at=at, event_id=f"event-{place}"))

    assert UNNAMED[kind](books) == sum(amount for amount, _ in set(facts))


@given(
    facts=st.lists(
        st.tuples(
            st.sampled_from([EventType.REFUND_SUCCEEDED, EventType.REFUND_FAILED]),
            st.integers(min_value=1, max_value=2),
            st.integers(min_value=1, max_value=6),
        ),
        min_size=1,
        max_size=7,
    ),
    data=st.data(),
)
def test_hear_of_refunds_without_names_in_any_order_gives_back_no_more_than_was_taken(
    facts: list[tuple[EventType, int, int]], data: st.DataObject
) -> None:
    """Each failure undoes at most one success of its own amount before it, whatever is heard first."""
    ended = []
    for order in (facts, data.draw(st.permutations([*facts, *facts[:2]]))):
        books = PaymentBooks()
        number = books.initiate(AMOUNT)
        books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, object_ref="cap-1"))
        for place, (kind, amount, at) in enumerate(order):
            books.ingest(an_event(kind, amount, at=at, event_id=f"event-{place}"))
        ended.append((books.balances(), books.deposit(number).refunds))
    assert ended[0] == ended[1]
    taken = sum(amount for kind, amount, _ in set(facts) if kind is EventType.REFUND_SUCCEEDED)
    back = sum(amount for kind, amount, _ in set(facts) if kind is EventType.REFUND_FAILED)
    assert max(0, taken - back) <= AMOUNT - ended[0][0].posted <= taken


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([(EventType.PAYMENT_CAPTURED, 300, ""), (EventType.PAYMENT_CAPTURED, 700, "")], "two amounts"),
        (
            [
                (EventType.DISPUTE_FUNDS_WITHDRAWN, 300, "dp-1"),
                (EventType.DISPUTE_FUNDS_WITHDRAWN, 200, "dp-1"),
            ],
            "no stage",
        ),
    ],
)
@pytest.mark.parametrize("backwards", [True, False])
def test_hear_of_two_amounts_under_one_name_books_the_larger_and_tells_somebody(
    events: list[tuple[EventType, int, str]], why: str, *, backwards: bool
) -> None:
    """Nothing is guessed: which was meant, one thing or two, is for a person."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT)
    if events[0][0] is not EventType.PAYMENT_CAPTURED:
        books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, object_ref="cap-1"))
    before = books.balances().posted
    for at, (kind, amount, ref) in enumerate(reversed(events) if backwards else events):
        books.ingest(an_event(kind, amount, object_ref=ref, at=at + 1))

    assert abs(books.balances().posted - before) == max(amount for _, amount, _ in events)
    found = books.findings["AMOUNT_MISMATCH", number]
    assert why in found.evidence["why"]


def test_pay_by_gift_card_and_card_is_an_ordinary_deposit() -> None:
    """Two payments that take together what was asked for are no finding, and both lead to the deposit."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="link-1")
    books.ingest(captured("gift-1", 300, number))
    books.ingest(captured("card-1", 700, number))
    books.ingest(an_event(EventType.REFUND_SUCCEEDED, 300, ref="gift-1", object_ref="re-1", at=5))
    books.ingest(an_event(EventType.REFUND_SUCCEEDED, 100, ref="card-1", object_ref="re-2", at=6))
    assert books.balances() == Balances(posted=600, available=600, clearing=600)
    assert books.finding_names() == []


@pytest.mark.parametrize("own", ["pay-a", "pay-b", "link-1", "ref-of-the-caller"])
@pytest.mark.parametrize("named", [True, False])
def test_pay_twice_credits_twice_and_says_so_at_once(own: str, *, named: bool) -> None:
    """What happened is booked, and the commit that learns of it tells a person."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref=own)
    for at, ref in enumerate(("pay-a", "pay-b")):
        event = captured(ref, AMOUNT, number, at=at)
        books.ingest(replace(event, object_ref=f"cap-{ref}") if named else event)
    assert books.balances().posted == 2 * AMOUNT
    found = books.findings[DUPLICATE, number]
    assert found.severity is Severity.CRITICAL
    assert found.evidence["provider_refs"] == "pay-a pay-b"


ENDS: Final = [
    an_event(EventType.PAYMENT_FAILED, ref="pay-b", at=2, reason="offer closed"),
    an_event(EventType.PAYMENT_FAILED, ref="pay-b", at=9, reason="expired"),
    an_event(EventType.PAYMENT_ATTEMPT_FAILED, ref="pay-b", at=2),
    an_event(EventType.PAYMENT_ATTEMPT_FAILED, ref="link-1", at=2),
]


@pytest.mark.parametrize("ended", ENDS, ids=lambda event: f"{event.type.name} of {event.payment_ref}")
@pytest.mark.parametrize("first", [True, False])
def test_end_one_payment_of_several_leaves_the_deposit_as_it_is(ended: ProviderEvent, *, first: bool) -> None:
    """A try in vain, closed or cancelled, fails no deposit and contradicts no other payment of it."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="link-1")
    if first:
        books.ingest(replace(ended, payment=number))
        assert books.deposit(number).state is DepositState.INITIATED
        assert books.hold(books.deposit(number).hold).state is HoldState.OPEN
    books.ingest(captured("pay-a", AMOUNT, number, at=5))
    books.ingest(replace(ended, payment=number, event_id="again"))
    assert books.deposit(number).state is DepositState.CAPTURED
    assert books.balances() == Balances(posted=AMOUNT, available=AMOUNT, clearing=AMOUNT)
    assert books.finding_names() == []


@pytest.mark.parametrize("ref", ["", "link-1"])
def test_end_the_payment_itself_fails_the_deposit(ref: str) -> None:
    """What the provider says of what the deposit was begun with, or by our id alone, is about all of it."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="link-1")
    books.ingest(an_event(EventType.PAYMENT_FAILED, ref=ref, payment=number, at=2, reason="expired"))
    assert books.deposit(number).state is DepositState.FAILED
    assert books.deposit(number).failure_reason == "expired"
    assert books.balances() == Balances()


def test_end_the_payment_before_our_call_is_answered_fails_the_deposit_with_the_answer() -> None:
    """Which payment is the deposit's own is known by the answer alone."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="")
    books.report(CallKind.CREATE_PAYMENT, number, CallBegun())
    books.ingest(an_event(EventType.PAYMENT_FAILED, ref="pay-9", payment=number, at=2))
    assert books.deposit(number).state is DepositState.INITIATED
    books.report(CallKind.CREATE_PAYMENT, number, CallAccepted(provider_ref="pay-9"))
    assert books.deposit(number).state is DepositState.FAILED
    assert books.balances() == Balances()


def test_cancel_the_only_reserved_payment_takes_the_reservation_back() -> None:
    """The deposit waits for the next try."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="link-1")
    for ref in ("pay-a", "pay-b"):
        books.ingest(an_event(EventType.PAYMENT_AUTHORIZED, AMOUNT, ref=ref, payment=number, at=1))
    books.ingest(an_event(EventType.PAYMENT_FAILED, ref="pay-a", at=2))
    assert books.deposit(number).state is DepositState.AUTHORIZED
    books.ingest(an_event(EventType.PAYMENT_FAILED, ref="pay-b", at=3))
    assert books.deposit(number).state is DepositState.INITIATED


@pytest.mark.parametrize("last", [EventType.PAYOUT_FAILED, EventType.PAYOUT_PAID])
def test_mark_paid_by_other_means_stands_whatever_becomes_of_the_providers_own(last: EventType) -> None:
    """What a person has paid is a payout of its own."""
    books, number = approved()
    books.report(PAYOUT, number, CallBegun(), CallAccepted(provider_ref="po-1"))
    books.mark_paid(number, "bank-transfer-77")
    books.ingest(an_event(last, AMOUNT, ref="po-1", payment=number, at=9))
    withdrawal = books.withdrawal(number)
    assert withdrawal.state is WithdrawalState.PAID
    assert withdrawal.debited == AMOUNT * (2 if last is EventType.PAYOUT_PAID else 1)
    assert books.balances().posted == FUNDS - withdrawal.debited
    assert DUPLICATE in books.finding_names()


@pytest.mark.parametrize("ref", ["", "po-1"])
@pytest.mark.parametrize("answered", [True, False])
def test_fail_our_payout_after_payment_by_hand_gives_nothing_back(ref: str, *, answered: bool) -> None:
    """A failure that names no payout is the provider's own one, known or not."""
    books, number = approved()
    if answered:
        books.report(PAYOUT, number, CallBegun(), CallAccepted(provider_ref="po-1"))
    books.mark_paid(number, "bank-transfer-77")
    assert books.withdrawal(number).provider_ref == "bank-transfer-77"
    books.ingest(an_event(EventType.PAYOUT_FAILED, AMOUNT, ref=ref, payment=number, at=9))
    assert books.withdrawal(number).state is WithdrawalState.PAID
    assert books.balances().posted == FUNDS - AMOUNT


def test_fail_another_payout_keeps_the_hold_of_ours() -> None:
    """The failure of one payout says nothing of another one, which may still pay."""
    books, number = approved()
    books.report(PAYOUT, number, CallBegun(), CallAccepted(provider_ref="po-1"))
    books.ingest(an_event(EventType.PAYOUT_FAILED, AMOUNT, ref="po-2", payment=number, at=5))
    withdrawal = books.withdrawal(number)
    assert withdrawal.state is WithdrawalState.APPROVED
    assert books.hold(withdrawal.hold).state is HoldState.OPEN


ANSWERS: Final = {
    "accepted": (CallBegun(), CallAccepted(provider_ref="po-1")),
    "heard of, call under way": (CallBegun(),),
    "refused": (CallBegun(), CallRejected(reason="no")),
}


@pytest.mark.parametrize("news", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("paid", [True, False])
def test_answer_of_a_payout_call_that_names_another_object_is_a_finding_at_once(
    news: tuple[CallBegun | CallAccepted | CallRejected, ...], *, paid: bool
) -> None:
    """The provider has two, and in whatever state the withdrawal is, that is not swallowed."""
    books, number = approved()
    books.report(PAYOUT, number, *news)
    if paid:
        books.ingest(an_event(EventType.PAYOUT_PAID, AMOUNT, ref="po-1", payment=number, at=5))
    elif len(news) == 1:
        books.ingest(an_event(EventType.PAYOUT_SUBMITTED, None, ref="po-1", payment=number, at=5))
    books.report(PAYOUT, number, CallAccepted(provider_ref="po-2"))
    expected = {DUPLICATE} if "po-1" in books.withdrawal(number).refs else {"STATUS_MISMATCH"}
    assert expected <= set(books.finding_names())
    assert "po-2" in books.withdrawal(number).refs
    before = books.snapshot()
    books.report(PAYOUT, number, CallAccepted(provider_ref="po-2"))
    assert books.snapshot() == before


def test_answers_of_other_calls_that_name_another_object_are_findings_at_once() -> None:
    """As for payouts: a second payment page, and a second refund."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="")
    books.report(CallKind.CREATE_PAYMENT, number, CallBegun(), CallAccepted(provider_ref="link-1"))
    books.report(CallKind.CREATE_PAYMENT, number, CallAccepted(provider_ref="link-2"))
    assert books.finding_names() == [DUPLICATE]
    assert books.working_set.payment_by_ref("mock", "link-2") == number

    other = books.initiate(AMOUNT, ref="pay-1")
    books.ingest(captured("pay-1", AMOUNT, other))
    subject = books.ask_refund(other, 300)
    books.report(CallKind.REFUND, other, CallBegun(), CallAccepted(provider_ref="re-1"), subject=subject)
    books.report(CallKind.REFUND, other, CallAccepted(provider_ref="re-2"), subject=subject)
    assert books.finding_names() == [DUPLICATE, DUPLICATE]


def test_answers_of_refused_calls_are_findings_at_once() -> None:
    """Nothing should have been made, and something was."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="")
    books.report(CallKind.CREATE_PAYMENT, number, CallBegun(), CallRejected(reason="no"))
    books.report(CallKind.CREATE_PAYMENT, number, CallAccepted(provider_ref="link-1"))
    assert books.finding_names() == ["STATUS_MISMATCH"]
    assert books.working_set.payment_by_ref("mock", "link-1") == number

    other = books.initiate(AMOUNT, ref="pay-1")
    books.ingest(captured("pay-1", AMOUNT, other))
    subject = books.ask_refund(other, 300)
    books.report(CallKind.REFUND, other, CallBegun(), CallRejected(reason="no"), subject=subject)
    books.report(CallKind.REFUND, other, CallAccepted(provider_ref="re-1"), subject=subject)
    assert books.finding_names() == ["STATUS_MISMATCH", "STATUS_MISMATCH"]


def captured(ref: str, amount: int, number: int, *, at: int = 3) -> ProviderEvent:
    """Return the capture of a payment as a whole, which echoes our id."""
    return an_event(EventType.PAYMENT_CAPTURED, amount, ref=ref, payment=number, at=at)


def approved() -> tuple[PaymentBooks, int]:
    """Return books with an approved withdrawal, and its number."""
    books = PaymentBooks()
    books.fund(FUNDS)
    number = books.request(AMOUNT)
    books.approve(number)
    return books, number
