"""Own the promise of unread events: each is heard of, and none keeps out what it says once it can be read."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from defter.payments.v1 import payment_pb2, provider_event_pb2
from defter.reconciliation.v1 import finding_pb2

from tests.support.cashier import CAPTURED, WALLET, Cashier
from tests.support.coherence import assert_ledger_coherent
from tests.support.findings import Desk
from tests.support.service import Service

UNSPECIFIED = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
UNREAD = payment_pb2.PROVIDER_EVENT_STATE_UNREAD
SUPERSEDED = payment_pb2.PROVIDER_EVENT_STATE_SUPERSEDED
IGNORED = payment_pb2.PROVIDER_EVENT_STATE_IGNORED
REASONS = [number for number in payment_pb2.UnreadReason.values() if number]
FIELD = payment_pb2.UNREAD_REASON_FIELD
OPEN = finding_pb2.FINDING_STATE_OPEN
AUTO_RESOLVED = finding_pb2.FINDING_STATE_AUTO_RESOLVED


class Case(NamedTuple):
    """One way of being unread, told by an edge of any version.

    Attributes:
        own_id: whether the edge gave it an id of its own, as edges of old did not for unknown types.
    """

    reason: payment_pb2.UnreadReason.ValueType
    moves_money: bool
    own_id: bool


CASES = [
    Case(payment_pb2.UnreadReason.ValueType(reason), moves_money, own_id)
    for reason in REASONS[:3]
    for moves_money in (True, False)
    for own_id in (True, False)
]


def unread_event(
    cashier: Cashier, case: Case, payment_id: str, body: bytes = b"{}"
) -> payment_pb2.ProviderEvent:
    """Return the event `evt_1` as it comes where nobody can read it."""
    return cashier.event(
        UNSPECIFIED,
        payment_id,
        event_id=f"evt_1:unread:{body.hex()}" if case.own_id else "evt_1",
        read_event_id="evt_1",
        unread_reason=case.reason,
        moves_money=case.moves_money,
        payload=body,
        currency_code="",
        reason="data.amount is no amount",
    )


async def supersede(cashier: Cashier, unread: str, read: str) -> payment_pb2.RecordedProviderEvent:
    """Say which event an unread one became."""
    request = provider_event_pb2.SupersedeProviderEventRequest(
        tenant_id=cashier.ledger.tenant_id,
        idempotency_key=f"reread:{unread}",
        provider_event_id=unread,
        superseded_by_event_id=read,
    )
    return (await cashier.stubs.events.SupersedeProviderEvent(request)).event


@pytest.mark.parametrize(
    "case", [*CASES, *(Case(reason, moves_money=True, own_id=True) for reason in REASONS[3:])], ids=str
)
async def test_ingest_unread_event_raises_a_finding_where_its_type_moves_money(
    case: Case, cashier: Cashier
) -> None:
    """In the commit in which it is stored, once however often it comes, and nothing is booked."""
    deposit = await cashier.initiate(500)
    for body in (b"{}", b"{}", b"[]"):
        await cashier.ingest(unread_event(cashier, case, deposit.deposit_id, body))

    stored = await cashier.stored_events()
    found = await Desk(cashier.ledger).findings()
    assert {event.state for event in stored} == {UNREAD}
    assert len(stored) == (2 if case.own_id else 1)
    assert [(one.finding_class, one.state) for one in found] == (
        [(finding_pb2.FINDING_CLASS_UNREAD_EVENT, OPEN)] if case.moves_money else []
    )
    assert all(one.evidence["why"] == "data.amount is no amount" for one in found)
    assert await cashier.ledger.posted(WALLET) == 0
    await assert_ledger_coherent(cashier.ledger)


@pytest.mark.parametrize("restarts", [False, True], ids=["at once", "after a restart"])
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_deliver_unread_event_again_mended_books_it_once(
    case: Case, restarts: bool, server: Service, cashier: Cashier
) -> None:
    """The sender keeps the id, as its specification demands; the finding is over in the same commit."""
    deposit = await cashier.initiate(500)
    await cashier.ingest(unread_event(cashier, case, deposit.deposit_id))
    if restarts:
        await server.crash()
        await server.restart()
        cashier = Cashier(server.ledger(key_prefix="after"))

    mended = cashier.event(CAPTURED, deposit.deposit_id, 500, event_id="evt_1")
    answers = [(await cashier.ingest(mended))[0] for _ in range(3)]

    assert [answer.duplicate for answer in answers] == [False, True, True]
    assert len({answer.event.provider_event_id for answer in answers}) == 1
    assert await cashier.ledger.posted(WALLET) == 500
    found = await Desk(cashier.ledger).findings()
    assert [one.state for one in found] == ([AUTO_RESOLVED] if case.moves_money else [])
    await assert_ledger_coherent(cashier.ledger)


async def test_deliver_mended_events_in_one_call_with_their_unread_ones_books_each_once(
    cashier: Cashier,
) -> None:
    """Whatever their order is, and whoever stands beside them."""
    case = Case(FIELD, moves_money=True, own_id=False)
    deposit = await cashier.initiate(500)
    mended = cashier.event(CAPTURED, deposit.deposit_id, 500, event_id="evt_1")
    other = cashier.event(UNSPECIFIED)

    answers = await cashier.ingest(unread_event(cashier, case, deposit.deposit_id), other, mended, mended)

    assert [answer.event.event.event_id for answer in answers] == [
        "evt_1",
        other.event_id,
        "evt_1:read",
        "evt_1:read",
    ]
    assert await cashier.ledger.posted(WALLET) == 500
    assert {one.state for one in await Desk(cashier.ledger).findings()} == {AUTO_RESOLVED}
    await assert_ledger_coherent(cashier.ledger)


async def test_deliver_what_an_older_ledger_ignored_books_it(cashier: Cashier) -> None:
    """A type that nobody knew had a plain id and no mark; known by now, it is no duplicate of that."""
    deposit = await cashier.initiate(500)
    long_id = "e" * 255
    await cashier.ingest(cashier.event(UNSPECIFIED, event_id=long_id))

    [answer] = await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 500, event_id=long_id))

    assert not answer.duplicate
    assert len(answer.event.event.event_id) == 255
    assert await cashier.ledger.posted(WALLET) == 500


async def test_ingest_reason_of_a_newer_edge_is_kept_as_unread(cashier: Cashier) -> None:
    """What has happened is never refused, and what nobody here knows is told so."""
    event = cashier.event(UNSPECIFIED, unread_reason=4_711, moves_money=True)

    [answer] = await cashier.ingest(event)

    assert answer.event.state == UNREAD
    assert answer.event.event.unread_reason == payment_pb2.UNREAD_REASON_OTHER
    assert len(await Desk(cashier.ledger).findings()) == 1


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_supersede_unread_event_says_what_it_became(case: Case, cashier: Cashier) -> None:
    """It does not come back by a replay, its finding is over, and the payload stays."""
    deposit = await cashier.initiate(500)
    [unread] = await cashier.ingest(unread_event(cashier, case, deposit.deposit_id))
    [read] = await cashier.ingest(
        cashier.event(CAPTURED, deposit.deposit_id, 500, event_id="evt_9", currency_code="EUR")
    )
    unread_id, read_id = unread.event.provider_event_id, read.event.provider_event_id

    after = [await supersede(cashier, unread_id, read_id) for _ in range(2)]
    replayed = await cashier.replay(unread_id)

    assert {(one.state, one.superseded_by_event_id) for one in (*after, replayed)} == {(SUPERSEDED, read_id)}
    assert (await cashier.stored_event(unread_id)).event.payload == b"{}"
    found = await Desk(cashier.ledger).findings()
    assert [one.state for one in found] == ([AUTO_RESOLVED] if case.moves_money else [])
    await assert_ledger_coherent(cashier.ledger)


async def test_ingest_unread_event_after_a_person_resolved_it_stays_resolved(cashier: Cashier) -> None:
    """The same bytes are the same event; a person's word stands until other facts come."""
    case = Case(FIELD, moves_money=True, own_id=True)
    desk = Desk(cashier.ledger)
    await cashier.ingest(unread_event(cashier, case, ""))
    [found] = await desk.findings()
    await desk.resolve(found)

    await cashier.ingest(unread_event(cashier, case, ""))
    [same] = await desk.findings()
    await cashier.ingest(unread_event(cashier, case, "", b"[]"))
    [other] = await desk.findings()

    assert same.state == finding_pb2.FINDING_STATE_RESOLVED
    assert other.state == finding_pb2.FINDING_STATE_REOPENED
