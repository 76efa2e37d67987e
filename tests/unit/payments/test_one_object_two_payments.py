"""One object of the provider is one payment of ours: what is told of it as of two is booked once."""

from __future__ import annotations

from typing import Final

import pytest

from ledger_server.domain.findings.discrepancy import FindingClass, Severity
from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallKind
from ledger_server.domain.payments.events import EventState, EventType
from tests.support.payments import PaymentBooks, an_event

AMOUNT: Final = 1000
OBJECT: Final = "at-provider"
TWICE: Final = FindingClass.DUPLICATE_IN_LEDGER.name

DEPOSIT_EVENTS: Final = [kind for kind in EventType if kind.value in range(1, 15)]
WITHDRAWAL_EVENTS: Final = [EventType.PAYOUT_SUBMITTED, EventType.PAYOUT_PAID, EventType.PAYOUT_FAILED]


@pytest.mark.parametrize("how", ["begun with it", "captured", "answered"])
@pytest.mark.parametrize("kind", DEPOSIT_EVENTS)
def test_tell_of_a_payment_under_the_id_of_another_deposit_books_nothing(kind: EventType, how: str) -> None:
    """Whoever had it first has it; a person says whose it is, and nobody is credited for it twice."""
    books = PaymentBooks()
    first = books.initiate(AMOUNT, ref=OBJECT if how == "begun with it" else "")
    second = books.initiate(AMOUNT, ref="another", player="bob")
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, ref="another", object_ref="c", event_id="x"))
    if how == "captured":
        books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, ref=OBJECT, payment=first, event_id="y"))
    elif how == "answered":
        books.accepted(CallKind.CREATE_PAYMENT, first, OBJECT)
    before, known = books.balances("bob"), books.deposit(second)

    stored = books.ingest(an_event(kind, AMOUNT, ref=OBJECT, object_ref="o", payment=second, event_id="z"))

    assert stored.state is EventState.CONTRADICTED
    assert (books.balances("bob"), books.deposit(second)) == (before, known)
    assert books.findings[TWICE, second].severity is Severity.CRITICAL
    # Told once more it is no more, and under the right id it is booked as ever.
    assert books.replay(stored.number).state is EventState.CONTRADICTED
    captured = an_event(EventType.PAYMENT_CAPTURED, AMOUNT, ref=OBJECT, payment=first, event_id="w")
    assert books.ingest(captured).state is EventState.APPLIED
    assert books.balances().posted == AMOUNT


FIRST_TOLD: Final = {
    "cap": EventType.PAYMENT_CAPTURED,
    "capf": EventType.CAPTURE_FAILED,
    "re": EventType.REFUND_SUCCEEDED,
    "ref": EventType.REFUND_FAILED,
    "dp": EventType.DISPUTE_FUNDS_WITHDRAWN,
    "dpo": EventType.DISPUTE_OPENED,
}


@pytest.mark.parametrize("refs", [("", ""), ("pay-1", "pay-2"), ("", "pay-2")])
@pytest.mark.parametrize("kind", FIRST_TOLD.values())
@pytest.mark.parametrize("again", FIRST_TOLD.values())
def test_tell_of_a_capture_refund_or_dispute_under_two_deposits_books_it_once(
    kind: EventType, again: EventType, refs: tuple[str, str]
) -> None:
    """What has a name belongs to one deposit, whether the payments have names or not."""
    books = PaymentBooks()
    numbers = books.initiate(AMOUNT, ref="pay-1"), books.initiate(AMOUNT, ref="pay-2", player="bob")
    for number in numbers:
        taken = an_event(
            EventType.PAYMENT_CAPTURED,
            AMOUNT,
            ref="",
            object_ref=f"c-{number}",
            payment=number,
            event_id=f"c{number}",
        )
        books.ingest(taken)
    first, second = (
        an_event(each, 100, ref=ref, object_ref=OBJECT, payment=number, at=3, event_id=f"e{number}")
        for each, ref, number in zip((kind, again), refs, numbers, strict=True)
    )
    books.ingest(first)
    before, known = books.balances("bob"), books.deposit(numbers[1])

    stored = books.ingest(second)

    names = {name.name.split("_")[0].replace("PAYMENT", "CAPTURE") for name in (kind, again)}
    if len(names) == 1:
        assert stored.state is EventState.CONTRADICTED
        assert (books.balances("bob"), books.deposit(numbers[1])) == (before, known)
        assert books.findings[TWICE, numbers[1]].severity is Severity.CRITICAL
    else:
        # A refund may be called as a capture is.
        assert stored.state is EventState.APPLIED
        assert TWICE not in books.finding_names()


def test_answer_with_the_refund_of_another_deposit_is_found_at_once() -> None:
    """Two refunds of ours that are one at the provider gave the money back once."""
    books = PaymentBooks()
    numbers = [books.initiate(AMOUNT, ref=ref) for ref in ("pay-1", "pay-2")]
    for number, ref in zip(numbers, ("pay-1", "pay-2"), strict=True):
        books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, ref=ref, event_id=ref))
        subject = books.ask_refund(number, AMOUNT)
        books.accepted(CallKind.REFUND, number, OBJECT, subject=subject)

    assert books.findings[TWICE, numbers[1]].severity is Severity.CRITICAL
    assert books.finding_names() == [TWICE]


@pytest.mark.parametrize("kind", WITHDRAWAL_EVENTS)
@pytest.mark.parametrize("how", ["answered", "paid"])
def test_tell_of_a_payout_under_the_id_of_another_withdrawal_books_nothing(kind: EventType, how: str) -> None:
    """One payout debits one withdrawal, and ends the hold of no other one."""
    books = PaymentBooks()
    books.fund(2 * AMOUNT)
    first, second = books.request(AMOUNT), books.request(AMOUNT)
    for number in (first, second):
        books.approve(number)
    if how == "answered":
        books.accepted(CallKind.CREATE_PAYOUT, first, OBJECT)
    else:
        books.ingest(an_event(EventType.PAYOUT_PAID, AMOUNT, ref=OBJECT, payment=first, event_id="x"))
    before, known = books.balances(), books.withdrawal(second)

    stored = books.ingest(an_event(kind, AMOUNT, ref=OBJECT, payment=second, at=1, event_id="y"))

    assert stored.state is EventState.CONTRADICTED
    assert (books.balances(), books.withdrawal(second)) == (before, known)
    assert books.findings[TWICE, second].severity is Severity.CRITICAL


@pytest.mark.parametrize("by_id", [True, False])
def test_answer_with_the_payout_of_another_withdrawal_is_found_at_once(by_id: bool) -> None:
    """Two calls that are answered with one payout paid one of them: the other one's money stays held."""
    books = PaymentBooks()
    books.fund(2 * AMOUNT)
    first, second = books.request(AMOUNT), books.request(AMOUNT)
    for number in (first, second):
        books.approve(number)
        books.accepted(CallKind.CREATE_PAYOUT, number, OBJECT)

    assert books.findings[TWICE, second].severity is Severity.CRITICAL
    assert (TWICE, first) not in books.findings
    for at, number in enumerate((first, second)):
        payment = number if by_id else None
        books.ingest(an_event(EventType.PAYOUT_PAID, AMOUNT, ref=OBJECT, payment=payment, event_id=f"p{at}"))
    assert (books.withdrawal(first).debited, books.withdrawal(second).debited) == (AMOUNT, 0)
    assert books.balances().posted == AMOUNT
    assert books.withdrawal(second).pending == AMOUNT


def test_answer_with_the_payment_of_another_deposit_is_found_at_once() -> None:
    """Two deposits that are one payment at the provider are credited once."""
    books = PaymentBooks()
    first, second = books.initiate(AMOUNT, ref=OBJECT), books.initiate(AMOUNT, ref="")
    books.report(CallKind.CREATE_PAYMENT, second, CallBegun(), CallAccepted(provider_ref=OBJECT))

    assert books.findings[TWICE, second].severity is Severity.CRITICAL
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, ref=OBJECT, event_id="x"))
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, ref=OBJECT, payment=second, event_id="y"))
    assert (books.deposit(first).captured, books.deposit(second).captured) == (AMOUNT, 0)
