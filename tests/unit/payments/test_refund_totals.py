"""A total over refunds books nothing, and waits until the refunds that are known amount to it."""

from __future__ import annotations

from itertools import permutations

import pytest

from ledger_server.domain.payments.calls import CallKind
from ledger_server.domain.payments.commands import ReplayEvent
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent
from tests.support.payments import PaymentBooks, an_event

CAPTURED = an_event(EventType.PAYMENT_CAPTURED, 1000, object_ref="cap-1", at=1)


def refund(ref: str, amount: int) -> ProviderEvent:
    """Return one refund that has left."""
    return an_event(EventType.REFUND_SUCCEEDED, amount, object_ref=ref, at=2)


def total(amount: int | None) -> ProviderEvent:
    """Return a total over all refunds."""
    return an_event(EventType.REFUND_TOTAL, amount, object_ref="ch-1", at=3)


@pytest.mark.parametrize(
    ("refunds", "told", "state"),
    [
        ([], 300, EventState.PARKED),
        ([100], 300, EventState.PARKED),
        ([100, 199], 300, EventState.PARKED),
        ([300], 300, EventState.APPLIED),
        ([100, 200], 300, EventState.APPLIED),
        # A later refund came first.
        ([100, 200, 50], 300, EventState.APPLIED),
        ([], 0, EventState.APPLIED),
        ([300], None, EventState.CONTRADICTED),
    ],
)
def test_ingest_total_in_any_order_waits_for_its_refunds(
    refunds: list[int], told: int | None, state: EventState
) -> None:
    """Whatever comes first, the refunds alone are booked, and what the total waits for is known."""
    events = [CAPTURED, *(refund(f"re-{at}", amount) for at, amount in enumerate(refunds)), total(told)]
    posted = set()
    for order in permutations(events):
        books = PaymentBooks()
        books.initiate(1000)
        for number in [each.number for each in books.ingest_all(order)]:
            books.do(ReplayEvent(provider_event_id="", number=number))
        stored = [
            entry.stored
            for entry in books.working_set.events.values()
            if entry.stored is not None and entry.stored.event.type is EventType.REFUND_TOTAL
        ]
        assert [each.state for each in stored] == [state]
        posted.add(books.balances().posted)

    assert posted == {1000 - sum(refunds)}


@pytest.mark.parametrize(
    ("told", "state"), [(600, EventState.APPLIED), (900, EventState.PARKED), (300, EventState.APPLIED)]
)
def test_ingest_total_counts_each_refund_at_the_provider_for_one_of_ours(
    told: int, state: EventState
) -> None:
    """Two that were made for one of ours are two; one that only our call was told of is none."""
    books = PaymentBooks()
    number = books.initiate(1000)
    books.ingest(CAPTURED)
    subject = books.ask_refund(number, 300)
    for ref in ("re-1", "re-2"):
        books.ingest(
            an_event(EventType.REFUND_SUCCEEDED, 300, object_ref=ref, refund=subject, at=2, event_id=ref)
        )
    books.accepted(CallKind.REFUND, number, "re-3", subject=subject)

    assert books.ingest(total(told)).state is state
