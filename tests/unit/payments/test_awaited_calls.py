"""A call is made only while its payment waits for it: what was told of already is not asked for."""

from __future__ import annotations

from typing import Final

import pytest

from ledger_server.domain.payments.calls import CallBegun, CallKind, CallRejected
from ledger_server.domain.payments.events import EventType, ProviderEvent
from ledger_server.domain.payments.knowledge import CallState, RefundState
from tests.support.payments import PaymentBooks, an_event

AMOUNT: Final = 1000
SAME: Final = ("", "at-provider")


def told(kind: EventType, payment: int, *, ref: str, refund: int | None = None) -> ProviderEvent:
    """Return what a provider tells under our id, with a name of its own or without."""
    of_refund = kind.name.startswith("REFUND")
    return an_event(
        kind,
        AMOUNT,
        ref="" if of_refund else ref,
        object_ref=ref if of_refund else "",
        payment=payment,
        refund=refund,
        at=5,
    )


@pytest.mark.parametrize("ref", SAME)
@pytest.mark.parametrize(
    ("kind", "awaited"),
    [
        (None, True),
        # A fee alone, under our id, names no payout.
        (EventType.FEE_CHARGED, True),
        (EventType.PAYOUT_SUBMITTED, True),
        (EventType.PAYOUT_PAID, False),
        (EventType.PAYOUT_FAILED, False),
    ],
)
def test_begin_payout_after_something_was_told_drops_it(
    kind: EventType | None, awaited: bool, ref: str
) -> None:
    """A payout that is paid, has failed or is at the provider under a name is never asked for."""
    books = PaymentBooks()
    books.fund(AMOUNT)
    number = books.request(AMOUNT)
    books.approve(number)
    if kind is not None:
        books.ingest(told(kind, number, ref=ref))
    before = books.balances()

    books.report(CallKind.CREATE_PAYOUT, number, CallBegun())

    begun = awaited and (kind is None or not ref)
    state = CallState.UNDER_WAY if begun else CallState.DROPPED
    assert books.withdrawal(number).call_state is state
    assert books.balances() == before


@pytest.mark.parametrize("ref", SAME)
@pytest.mark.parametrize(
    ("kind", "awaited"),
    [
        (None, True),
        (EventType.PAYMENT_ATTEMPT_FAILED, True),
        (EventType.PAYMENT_AUTHORIZED, False),
        (EventType.PAYMENT_CAPTURED, False),
        # Without a name it is the deposit that ended; with one it is a try of the player.
        (EventType.PAYMENT_FAILED, False),
    ],
)
def test_begin_payment_after_something_was_told_drops_it(
    kind: EventType | None, awaited: bool, ref: str
) -> None:
    """No page to pay on is made for a deposit that was paid or has failed."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="")
    if kind is not None:
        books.ingest(told(kind, number, ref=ref))

    books.report(CallKind.CREATE_PAYMENT, number, CallBegun())

    begun = awaited or (kind is EventType.PAYMENT_FAILED and bool(ref))
    state = CallState.UNDER_WAY if begun else CallState.DROPPED
    assert books.deposit(number).call_state is state


@pytest.mark.parametrize("ref", SAME)
@pytest.mark.parametrize(
    ("kind", "left"),
    [
        (None, RefundState.PENDING),
        (EventType.REFUND_PENDING, RefundState.PENDING),
        (EventType.REFUND_SUCCEEDED, RefundState.SUCCEEDED),
        (EventType.REFUND_FAILED, RefundState.FAILED),
    ],
)
def test_begin_refund_after_something_was_told_drops_it(
    kind: EventType | None, left: RefundState, ref: str
) -> None:
    """A refund that the provider tells of under our id is not asked for once more."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT)
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, object_ref="cap-1"))
    subject = books.ask_refund(number, AMOUNT)
    if kind is not None:
        books.ingest(told(kind, number, ref=ref, refund=subject))
    before = books.balances()

    books.report(CallKind.REFUND, number, CallBegun(), subject=subject)

    [refund] = books.deposit(number).refunds
    assert (refund.call_state is CallState.UNDER_WAY) == (not refund.heard)
    assert refund.call_state in {CallState.UNDER_WAY, CallState.DROPPED}
    assert refund.state is left
    assert books.balances() == before


LOSSES: Final = {
    "a dispute": an_event(EventType.DISPUTE_FUNDS_WITHDRAWN, 600, object_ref="dp-1", at=2),
    "a refund at the provider": an_event(EventType.REFUND_SUCCEEDED, 600, object_ref="re-9", at=2),
    "the capture failed": an_event(EventType.CAPTURE_FAILED, object_ref="cap-1", at=2),
}


@pytest.mark.parametrize("asked", [(500,), (300, 200), (200, 200)])
@pytest.mark.parametrize("loss", LOSSES)
def test_begin_refund_of_money_that_is_gone_drops_it(loss: str, asked: tuple[int, ...]) -> None:
    """What a dispute has taken meanwhile is not sent back as well; its hold ends, and the player has it."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT)
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, object_ref="cap-1"))
    subjects = [books.ask_refund(number, amount) for amount in asked]
    books.ingest(LOSSES[loss])

    for subject in subjects:
        books.report(CallKind.REFUND, number, CallBegun(), subject=subject)

    deposit = books.deposit(number)
    sent = [each for each in deposit.refunds if each.call_state is CallState.UNDER_WAY]
    dropped = [each for each in deposit.refunds if each.call_state is CallState.DROPPED]
    assert sum(each.amount for each in sent) <= deposit.captured - deposit.refunded - deposit.disputed
    assert len(sent) + len(dropped) == len(asked)
    assert all(each.state is RefundState.FAILED for each in dropped)
    held = sum(each.amount for each in sent)
    assert books.balances().available == books.balances().posted - held


def test_begin_once_more_after_a_refusal_is_no_news() -> None:
    """What has an end is neither begun nor dropped."""
    books = PaymentBooks()
    books.fund(AMOUNT)
    number = books.request(AMOUNT)
    books.approve(number)
    books.report(CallKind.CREATE_PAYOUT, number, CallBegun())
    books.report(CallKind.CREATE_PAYOUT, number, CallRejected(reason="no"))
    books.report(CallKind.CREATE_PAYOUT, number, CallBegun())

    assert books.withdrawal(number).call_state is CallState.REJECTED
