"""Records from before payments and payouts were told apart mean what they meant, and go on."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.payments.calls import CallBegun, CallKind
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.payments.knowledge import CallState, Capture
from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.domain.state.working_set import PaymentEntry
from ledger_server.engine.records.deposits import deposit_message, deposit_of
from ledger_server.engine.records.withdrawals import withdrawal_message, withdrawal_of
from tests.support.payments import PaymentBooks, an_event, minute

AMOUNT = 1000
some_times = st.none() | st.integers(min_value=1, max_value=4).map(minute)


def happened(success: datetime | None, failure: datetime | None) -> bool:
    """Return what was meant by standing when the records were made."""
    return success is not None and (failure is None or success > failure)


@given(paid=st.integers(min_value=1, max_value=AMOUNT), paid_time=some_times, fail_time=some_times)
@pytest.mark.parametrize("ref", ["", "po-1"])
@pytest.mark.parametrize("call_state", [CallState.ACCEPTED, CallState.REJECTED, CallState.UNDER_WAY])
def test_read_older_withdrawal_says_what_it_said(
    ref: str, call_state: CallState, paid: int, paid_time: datetime | None, fail_time: datetime | None
) -> None:
    """State and money follow as before, and the record is made again to the byte."""
    books = PaymentBooks()
    books.fund(AMOUNT)
    number = books.request(AMOUNT)
    books.approve(number)
    ids = books.working_set.ids
    message = withdrawal_message(ids, books.withdrawal(number))
    message.provider_ref = ref
    message.call_state = int(call_state)  # type: ignore[assignment]
    if paid_time is not None:
        message.paid_minor = paid
        message.paid_time.FromDatetime(paid_time)
    if fail_time is not None:
        message.fail_time.FromDatetime(fail_time)
    stands = happened(paid_time, fail_time)
    refused = fail_time is not None or call_state is CallState.REJECTED
    message.debited_minor = paid if stands else 0
    state = WithdrawalState.FAILED if refused else WithdrawalState.APPROVED
    if paid_time is not None:
        state = WithdrawalState.PAID if stands else WithdrawalState.REVERSED
    message.state = int(state)  # type: ignore[assignment]

    withdrawal = withdrawal_of(ids, message)

    assert withdrawal_message(ids, withdrawal) == message
    assert withdrawal.pending == (AMOUNT if state is WithdrawalState.APPROVED else 0)


captures = st.lists(
    st.builds(
        Capture,
        provider_ref=st.sampled_from(["", "cap-1", "cap-2"]),
        amount=st.integers(min_value=1, max_value=AMOUNT),
        payment_ref=st.just(""),
        capture_time=some_times,
        fail_time=some_times,
    ),
    max_size=3,
    unique_by=lambda capture: capture.provider_ref,
)


@given(captures)
def test_read_older_captures_amount_to_what_they_did(known: list[Capture]) -> None:
    """A capture without a ref is the whole, and is never added to the parts."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT)
    deposit = replace(books.deposit(number), captures=tuple(known))
    whole = next((each.fail_time for each in known if not each.provider_ref), None)
    times = [
        max((time for time in (each.fail_time, whole) if time is not None), default=None) for each in known
    ]
    standing = [
        each for each, failed in zip(known, times, strict=True) if happened(each.capture_time, failed)
    ]
    ever = [each for each in known if each.capture_time is not None]

    assert deposit.captured == older_sum(standing)
    assert deposit.taken == older_sum(ever)
    ids = books.working_set.ids
    assert deposit_of(ids, deposit_message(ids, deposit)) == deposit


def older_sum(known: list[Capture]) -> int:
    """Return the larger one of the whole and of its parts."""
    whole = sum(each.amount for each in known if not each.provider_ref)
    return max(whole, sum(each.amount for each in known if each.provider_ref))


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("payment_ref", ["", "pay-1"])
def test_hear_again_of_older_capture_credits_nothing(payment_ref: str, *, by_name: bool) -> None:
    """Now that its payment is named as well, it is the same money."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="link-1")
    event = an_event(EventType.PAYMENT_CAPTURED, AMOUNT, ref="pay-1", payment=number, at=2)
    books.ingest(replace(event, object_ref="cap-1" if by_name else ""))
    forget_payments(books, number)
    for at, object_ref in enumerate(("", "cap-1")):
        again = replace(event, payment_ref=payment_ref, object_ref=object_ref, event_id=f"again-{at}")
        if by_name or not object_ref:
            books.ingest(again)
    assert books.balances().posted == AMOUNT
    assert books.finding_names() == []


@pytest.mark.parametrize("by_name", [True, False])
def test_hear_of_another_payment_after_an_older_capture_is_told_to_somebody(*, by_name: bool) -> None:
    """Which of them the older record means is not known, so at the least a person hears of it."""
    books = PaymentBooks()
    number = books.initiate(AMOUNT, ref="link-1")
    event = an_event(EventType.PAYMENT_CAPTURED, AMOUNT, ref="pay-1", payment=number, at=2)
    books.ingest(replace(event, object_ref="cap-1" if by_name else ""))
    forget_payments(books, number)
    books.ingest(replace(event, payment_ref="pay-2", event_id="other"))
    assert books.findings


@pytest.mark.parametrize(
    ("ref", "kind", "debited"),
    [
        ("po-1", EventType.PAYOUT_FAILED, 0),
        ("po-1", EventType.PAYOUT_PAID, AMOUNT),
        ("po-2", EventType.PAYOUT_FAILED, AMOUNT),
        ("po-2", EventType.PAYOUT_PAID, 2 * AMOUNT),
    ],
)
def test_hear_more_of_older_withdrawal_touches_the_payout_that_is_meant(
    ref: str, kind: EventType, debited: int
) -> None:
    """What was known of it is of the payout whose ref it had."""
    books = PaymentBooks()
    books.fund(2 * AMOUNT)
    number = books.request(AMOUNT)
    books.approve(number)
    books.report(CallKind.CREATE_PAYOUT, number, CallBegun())
    books.ingest(an_event(EventType.PAYOUT_PAID, AMOUNT, ref="", payment=number, at=1))
    older = replace(books.withdrawal(number), provider_ref="po-1", hold_ended=False)
    books.working_set.payments[number] = PaymentEntry(older)

    books.ingest(an_event(kind, AMOUNT, ref=ref, payment=number, at=9))

    assert books.withdrawal(number).debited == debited
    assert books.balances().posted == 2 * AMOUNT - debited
    assert (ref == "po-2") == ("DUPLICATE_AT_PROVIDER" in books.finding_names())


def forget_payments(books: PaymentBooks, number: int) -> None:
    """Let a deposit be as it was recorded before payments were told apart."""
    deposit = books.deposit(number)
    captures = tuple(replace(each, payment_ref="") for each in deposit.captures)
    books.working_set.payments[number] = PaymentEntry(replace(deposit, captures=captures, attempts=()))
