"""What the ledger has booked of a payment, line by line, is what it really has booked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import (
    CannotApply,
    EventType,
    ProviderEvent,
    with_deposit_event,
    with_withdrawal_event,
)
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.ledger_side import Payment, booked_of
from tests.support.payments import an_event
from tests.unit.reconciliation.lives import DEPOSIT_ID, IDS, a_deposit, a_withdrawal, an_asked_refund, hour

EVENTS = st.builds(
    an_event,
    st.sampled_from([each for each in EventType if each is not EventType.UNKNOWN]),
    st.sampled_from([None, 1, 400, 600, 1000]),
    object_ref=st.sampled_from(["", "a", "b"]),
    refund=st.sampled_from([None, None, 20, 21]),
    at=st.integers(min_value=0, max_value=12),
    stage=st.sampled_from(["", "second"]),
)


def heard(payment: Payment, events: list[ProviderEvent]) -> Payment:
    """Return the payment with all events that mean anything to it."""
    for event in events:
        try:
            if isinstance(payment, Deposit):
                payment = with_deposit_event(payment, event)
            else:
                payment = with_withdrawal_event(payment, event)
        except CannotApply:
            continue
    return payment


def sums(payment: Payment) -> dict[ProviderRecordKind, int]:
    """Return what stands of each kind."""
    found: dict[ProviderRecordKind, int] = {}
    for line in booked_of(IDS, payment):
        found[line.kind] = found.get(line.kind, 0) + line.amount
    return found


@settings(max_examples=1500, deadline=None)
@given(st.lists(EVENTS, max_size=14))
def test_book_any_events_of_deposit_adds_up(events: list[ProviderEvent]) -> None:
    """Whatever was heard, the lines of each kind add up to what the deposit has moved."""
    deposit = heard(a_deposit(refunds=(an_asked_refund(20, 400), an_asked_refund(21, 300, "b"))), events)
    assert isinstance(deposit, Deposit)

    found = sums(deposit)

    assert found[ProviderRecordKind.PAYMENT] == deposit.captured
    assert found.get(ProviderRecordKind.REFUND, 0) == -deposit.refunded
    assert found.get(ProviderRecordKind.DISPUTE, 0) == -deposit.disputed
    assert found.get(ProviderRecordKind.FEE, 0) == -deposit.fee


@settings(max_examples=500, deadline=None)
@given(st.lists(EVENTS, max_size=10))
def test_book_any_events_of_withdrawal_adds_up(events: list[ProviderEvent]) -> None:
    """Whatever was heard, the lines add up to what has left the wallet and what the provider has kept."""
    withdrawal = heard(a_withdrawal(), events)
    assert isinstance(withdrawal, Withdrawal)

    found = sums(withdrawal)

    assert found[ProviderRecordKind.PAYOUT] == -withdrawal.debited
    assert found.get(ProviderRecordKind.FEE, 0) == -withdrawal.fee


@pytest.mark.parametrize(
    ("events", "moved"),
    [
        pytest.param([], [()], id="nothing heard: the payment itself, with nothing moved"),
        pytest.param(
            [("a", EventType.PAYMENT_CAPTURED, 600, 1), ("b", EventType.PAYMENT_CAPTURED, 400, 2)],
            [((600, 1),), ((400, 2),)],
            id="parts",
        ),
        pytest.param(
            [("a", EventType.PAYMENT_CAPTURED, 600, 1), ("", EventType.PAYMENT_CAPTURED, 1000, 2)],
            [((600, 1),), ((400, 2),)],
            id="a part, and the whole of which one part was not heard",
        ),
        pytest.param(
            [("a", EventType.PAYMENT_CAPTURED, 1000, 1), ("", EventType.PAYMENT_CAPTURED, 1000, 2)],
            [((1000, 1),)],
            id="told as a whole too: nothing more",
        ),
        pytest.param(
            [("a", EventType.PAYMENT_CAPTURED, 1000, 1), ("", EventType.CAPTURE_FAILED, None, 5)],
            [((1000, 1), (-1000, 5))],
            id="a failure without a ref means all parts",
        ),
        pytest.param(
            [
                ("a", EventType.PAYMENT_CAPTURED, 1000, 1),
                ("a", EventType.CAPTURE_FAILED, None, 5),
                ("a", EventType.PAYMENT_CAPTURED, 1000, 9),
            ],
            [((1000, 9),)],
            id="captured again: the last time is known",
        ),
        pytest.param([("a", EventType.CAPTURE_FAILED, None, 5)], [()], id="failed before it was heard of"),
    ],
)
def test_book_captures_tells_each_line(
    events: list[tuple[str, EventType, int | None, int]], moved: list[tuple[tuple[int, int], ...]]
) -> None:
    """Captures are lines of their own, and what a whole has beyond its parts is one more."""
    told = [an_event(kind, amount, object_ref=ref, at=at * 60) for ref, kind, amount, at in events]

    lines = booked_of(IDS, heard(a_deposit(), told))

    assert [tuple((each.amount, each.time) for each in line.moved) for line in lines] == [
        tuple((amount, hour(at)) for amount, at in each) for each in moved
    ]
    assert {line.our_id for line in lines} == {DEPOSIT_ID}


def test_book_dispute_given_back_first_keeps_to_zero() -> None:
    """What a dispute has given back before it is known to have taken it is not booked."""
    told = [
        an_event(EventType.PAYMENT_CAPTURED, 1000, object_ref="a", at=1),
        an_event(EventType.DISPUTE_FUNDS_REINSTATED, 300, object_ref="dp", at=2),
    ]

    dispute = booked_of(IDS, heard(a_deposit(), told))[-1]

    assert (dispute.kind, dispute.amount) == (ProviderRecordKind.DISPUTE, 0)
    assert [moved.amount for moved in dispute.moved] == [300, -300]


@pytest.mark.parametrize("kind", [EventType.REFUND_SUCCEEDED, EventType.DISPUTE_FUNDS_WITHDRAWN])
def test_book_before_capture_waits(kind: EventType) -> None:
    """Refunds and disputes of a deposit without a known capture are not booked: they wait."""
    line = booked_of(IDS, heard(a_deposit(), [an_event(kind, 300, object_ref="x", at=2)]))[-1]

    assert (line.moved, line.waiting) == ((), True)
