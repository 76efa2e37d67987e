"""Own the proof that a finding which a second event tells of is seen again, wherever the event meets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from defter.payments.v1 import payment_pb2
from msgspec.structs import replace

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.payments.events import EventType, ProviderEvent, Unread, UnreadReason
from tests.support.clock import FakeClock
from tests.support.engine import IDS, KEY, TENANT, Engine, assert_coherent, delivery, deposit, replay
from tests.support.payments import an_event

OTHER: Final = "zzzzzzz1"
REF: Final = "ch-1"


def foreign(our_id: str) -> str:
    """Return an id as it stands in another history."""
    prefix, _, number = our_id.rpartition("_")
    return f"{prefix}_{OTHER}_{number}"


def of_lost_payment(number: int) -> ProviderEvent:
    """Return an event that names a lost payment."""
    event = an_event(EventType.PAYMENT_CAPTURED, 100, ref="lost", object_ref=f"c{number}", at=number)
    return replace(event, payment_id=foreign(IDS.deposit_id(77)))


def of_lost_refund(number: int) -> ProviderEvent:
    """Return an event that names a lost refund, and a payment that is there."""
    event = an_event(EventType.REFUND_SUCCEEDED, 100, ref=REF, object_ref=f"r{number}", at=number)
    return replace(event, object_id=foreign(IDS.refund_id(78)))


def in_another_currency(number: int) -> ProviderEvent:
    """Return an event in a currency that is not the payment's."""
    return an_event(
        EventType.PAYMENT_CAPTURED, 100, ref=REF, object_ref=f"c{number}", at=number, currency="USD"
    )


def without_an_exact_amount(number: int) -> ProviderEvent:
    """Return an event whose amount has no exact value here."""
    event = an_event(
        EventType.PAYMENT_CAPTURED, None, ref=REF, object_ref=f"c{number}", at=number, problem="a half cent"
    )
    return replace(event, provider_amount=1)


def unread(number: int) -> ProviderEvent:
    """Return a delivery of one event that nobody can read."""
    event = an_event(EventType.UNKNOWN, event_id=f"evt:{number}", at=number, ref="", currency="")
    return replace(event, unread=Unread(reason=UnreadReason.FIELD, moves_money=True, read_event_id="evt"))


EVENTS: Final = {
    FindingClass.UNKNOWN_HISTORY: (of_lost_payment, of_lost_refund),
    FindingClass.CURRENCY_MISMATCH: (in_another_currency,),
    FindingClass.AMOUNT_MISMATCH: (without_an_exact_amount,),
    FindingClass.UNREAD_EVENT: (unread,),
}


@pytest.mark.parametrize("how", ["in one call", "in the next one", "elsewhere", "tried again elsewhere"])
@pytest.mark.parametrize(
    ("kind", "event"), [(kind, event) for kind, events in EVENTS.items() for event in events]
)
async def test_tell_twice_of_one_finding_keeps_both_events(
    first: Engine,
    second: Engine,
    database_url: str,
    clock: FakeClock,
    kind: FindingClass,
    event: Callable[[int], ProviderEvent],
    how: str,
) -> None:
    """Both events are stored, neither disturbs its neighbours, and they share the finding."""
    await first.ask(deposit(REF))
    events = [delivery(event(number)) for number in (1, 2)]
    good = delivery(an_event(EventType.PAYMENT_CAPTURED, 1000, ref=REF, event_id="good", at=3))
    if how == "in one call":
        outcomes = await first.ledger.submit(TENANT, [*events, good])
    else:
        outcomes = await first.ledger.submit(TENANT, events[:1])
        last = first if how == "in the next one" else second
        if how == "tried again elsewhere":
            outcomes += await last.ledger.submit(TENANT, [replay(outcomes[0].sequence)])
        outcomes += await last.ledger.submit(TENANT, [*events[1:], good])

    assert [each.refused for each in outcomes] == [None] * len(outcomes)
    both = (outcomes[0], outcomes[-2])
    told = [payment_pb2.RecordedProviderEvent.FromString(each.content) for each in both]
    assert told[0].state == told[1].state
    rows = await first.pool.fetch(
        "SELECT class, version FROM reconciliation_findings WHERE tenant_key = $1", KEY
    )
    assert [row["class"] for row in rows] == [kind]
    assert rows[0]["version"] >= 2
    await assert_coherent(database_url, clock)
