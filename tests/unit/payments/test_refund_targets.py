"""Which of a deposit's payments a refund of ours is of: fixed when its call is begun, and never another."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallKind
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent
from ledger_server.domain.payments.knowledge import CallState, RefundState
from ledger_server.engine.records.deposits import deposit_message, deposit_of
from tests.support.payments import PaymentBooks, an_event

REFS: Final = ("pay-a", "pay-b", "pay-c")


def captured(ref: str, amount: int, *, named: bool = True) -> ProviderEvent:
    """Return that a payment was captured, by a capture with a name or as a whole."""
    object_ref = f"cap-{ref}" if named else ""
    return an_event(EventType.PAYMENT_CAPTURED, amount, ref=ref, object_ref=object_ref, event_id=f"cap-{ref}")


def under_our_id(number: int, *events: ProviderEvent) -> list[ProviderEvent]:
    """Return the events as a provider tells them that echoes our id."""
    return [replace(event, payment=number) for event in events]


LATER: Final = st.lists(
    st.one_of(
        st.sampled_from(["pay-a", "pay-b", "pay-c", "pay-z"]).map(
            lambda ref: an_event(EventType.PAYMENT_AUTHORIZED, 100, ref=ref, event_id=f"auth-{ref}")
        ),
        st.sampled_from(["pay-y", "pay-z"]).map(lambda ref: captured(ref, 5000)),
        st.sampled_from(REFS).map(
            lambda ref: an_event(EventType.PAYMENT_FAILED, ref=ref, at=9, event_id=f"end-{ref}")
        ),
        st.sampled_from(REFS).map(
            lambda ref: an_event(
                EventType.REFUND_SUCCEEDED, 10, ref=ref, object_ref=f"re-{ref}", event_id=f"re-{ref}"
            )
        ),
    ),
    max_size=4,
)


@given(
    st.lists(st.sampled_from([100, 300, 700]), min_size=1, max_size=3),
    st.lists(st.sampled_from([50, 100, 300, 700]), min_size=1, max_size=3),
    LATER,
    LATER,
    st.booleans(),
)
def test_begin_refund_fixes_a_payment_with_room_for_ever(
    parts: list[int], asked: list[int], before: list[ProviderEvent], after: list[ProviderEvent], named: bool
) -> None:
    """It is of a payment that was captured and has enough left; what becomes known later changes nothing."""
    books = PaymentBooks()
    number = books.initiate(sum(parts), ref="link")
    rooms = dict(zip(REFS, parts, strict=False))
    books.ingest_all(
        under_our_id(number, *(captured(ref, amount, named=named) for ref, amount in rooms.items()))
    )
    books.ingest_all(under_our_id(number, *before))
    for event in before:
        # What was taken or given back meanwhile by others counts as well.
        if event.type is EventType.PAYMENT_CAPTURED:
            rooms[event.payment_ref] = 5000
    given = {event.payment_ref for event in before if event.type is EventType.REFUND_SUCCEEDED}
    for ref in given & set(rooms):
        rooms[ref] -= 10
    fixed = {}
    for amount in asked:
        if amount > books.deposit(number).refundable:
            continue
        subject = books.ask_refund(number, amount)
        books.report(CallKind.REFUND, number, CallBegun(), subject=subject)
        refund = next(each for each in books.deposit(number).refunds if each.number == subject)
        fixed[subject] = refund.payment_ref
        assert refund.payment_ref in rooms
        if max(rooms.values()) >= amount:
            assert rooms[refund.payment_ref] >= amount
            enough = [room for room in rooms.values() if room >= amount]
            assert rooms[refund.payment_ref] == min(enough), "what is left can still be refunded as a whole"
        rooms[refund.payment_ref] -= amount

    for event in under_our_id(number, *after):
        books.ingest(event)
        for subject in fixed:
            books.report(CallKind.REFUND, number, CallBegun(), subject=subject)
    for at, subject in enumerate(fixed):
        books.report(CallKind.REFUND, number, CallAccepted(provider_ref=f"own-{at}"), subject=subject)

    deposit = books.deposit(number)
    assert {each.number: each.payment_ref for each in deposit.refunds if each.number is not None} == fixed
    assert deposit_of(books.working_set.ids, deposit_message(books.working_set.ids, deposit)) == deposit


@pytest.mark.parametrize("others", [(), ("pay-0", "pay-z")])
def test_begin_refund_passes_over_payments_that_took_nothing(others: tuple[str, ...]) -> None:
    """A try that was reserved and cancelled, or failed after it was taken, is not what is refunded."""
    books = PaymentBooks()
    number = books.initiate(1000, ref="")
    for ref in others:
        books.ingest(an_event(EventType.PAYMENT_AUTHORIZED, 1000, ref=ref, payment=number, event_id=ref))
        books.ingest(an_event(EventType.PAYMENT_CAPTURED, 1000, ref=ref, payment=number, event_id=f"c{ref}"))
        books.ingest(an_event(EventType.CAPTURE_FAILED, ref=ref, payment=number, at=1, event_id=f"f{ref}"))
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, 1000, ref="pay-m", payment=number, event_id="m"))

    subject = books.ask_refund(number, 1000)
    books.report(CallKind.REFUND, number, CallBegun(), subject=subject)

    [refund] = books.deposit(number).refunds
    assert (refund.call_state, refund.payment_ref) == (CallState.UNDER_WAY, "pay-m")


def test_begin_refund_of_a_payment_that_nobody_named_is_of_what_the_deposit_was_begun_with() -> None:
    """The one ref that there is, is the payment."""
    books = PaymentBooks()
    number = books.initiate(1000, ref="pay-1")
    books.ingest(an_event(EventType.PAYMENT_CAPTURED, 1000, ref="", object_ref="cap-1", payment=number))

    subject = books.ask_refund(number, 400)
    books.report(CallKind.REFUND, number, CallBegun(), subject=subject)

    [refund] = books.deposit(number).refunds
    assert refund.payment_ref == "pay-1"


def test_end_of_a_refund_gives_its_room_back() -> None:
    """What failed took nothing of its payment."""
    books = PaymentBooks()
    number = books.initiate(1000, ref="link")
    books.ingest_all(under_our_id(number, captured("pay-a", 300), captured("pay-b", 700)))
    first = books.ask_refund(number, 300)
    books.rejected(CallKind.REFUND, number, subject=first)
    second = books.ask_refund(number, 300)
    books.report(CallKind.REFUND, number, CallBegun(), subject=second)

    failed, begun = books.deposit(number).refunds
    assert (failed.state, failed.payment_ref) == (RefundState.FAILED, "pay-a")
    assert begun.payment_ref == "pay-a"


@pytest.mark.parametrize(
    ("refunds", "of", "told", "state"),
    [
        ({"pay-a": 100}, "pay-a", 100, EventState.APPLIED),
        ({"pay-a": 100}, "pay-b", 100, EventState.PARKED),
        ({"pay-a": 100, "pay-b": 100}, "pay-b", 100, EventState.APPLIED),
        ({"pay-a": 100, "pay-b": 100}, "pay-b", 200, EventState.PARKED),
        # A refund of nobody knows which payment may be of this one, and a total that names none is of all.
        ({"": 100}, "pay-b", 100, EventState.APPLIED),
        ({"pay-a": 100, "pay-b": 100}, "", 200, EventState.APPLIED),
        ({"pay-a": 100}, "", 200, EventState.PARKED),
    ],
)
@pytest.mark.parametrize("total_first", [True, False])
def test_ingest_total_of_one_payment_waits_for_refunds_of_that_one(
    refunds: dict[str, int], of: str, told: int, state: EventState, total_first: bool
) -> None:
    """What was refunded of one means says nothing of another one."""
    books = PaymentBooks()
    number = books.initiate(1000, ref="link")
    books.ingest_all(under_our_id(number, captured("pay-a", 300), captured("pay-b", 700)))
    events = [
        an_event(
            EventType.REFUND_SUCCEEDED, amount, ref=ref, object_ref=f"re-{ref}", payment=number, event_id=ref
        )
        for ref, amount in refunds.items()
    ]
    total = an_event(EventType.REFUND_TOTAL, told, ref=of, payment=number, at=3)
    stored = books.ingest_all([total, *events] if total_first else [*events, total])
    number = stored[0 if total_first else -1].number

    assert books.replay(number).state is state


@pytest.mark.parametrize(
    ("own", "of", "state"), [(300, "pay-a", EventState.APPLIED), (300, "pay-b", EventState.PARKED)]
)
def test_ingest_total_counts_ours_for_its_payment_alone(own: int, of: str, state: EventState) -> None:
    """Of a refund that we asked for, the payment that it was asked of is the one."""
    books = PaymentBooks()
    number = books.initiate(1000, ref="link")
    books.ingest_all(under_our_id(number, captured("pay-a", 300), captured("pay-b", 700)))
    subject = books.ask_refund(number, own)
    books.accepted(CallKind.REFUND, number, "re-1", subject=subject)

    total = an_event(EventType.REFUND_TOTAL, own, ref=of, payment=number, at=3)
    assert books.ingest(total).state is state
