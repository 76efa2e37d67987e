"""Own the promise of mended events: what came to nothing keeps no id from what its sender says instead."""

from __future__ import annotations

from typing import Any

import pytest
from defter.payments.v1 import payment_pb2

from tests.support.cashier import CAPTURED, WALLET, Cashier
from tests.support.coherence import assert_ledger_coherent
from tests.support.service import Service

APPLIED = payment_pb2.PROVIDER_EVENT_STATE_APPLIED
CONTRADICTED = payment_pb2.PROVIDER_EVENT_STATE_CONTRADICTED
PARKED = payment_pb2.PROVIDER_EVENT_STATE_PARKED
SUPERSEDED = payment_pb2.PROVIDER_EVENT_STATE_SUPERSEDED
GOOD = {"event_id": "evt_1", "payment_ref": "pay_1", "object_ref": "cap_1", "currency_code": "EUR"}
# What may be wrong with a capture that can be read, and what becomes of it when it comes.
WRONG: dict[str, tuple[dict[str, Any], int]] = {
    "no currency": ({"currency_code": ""}, CONTRADICTED),
    "another currency": ({"currency_code": "USD"}, CONTRADICTED),
    "no currency of ours": ({"currency_code": "ZZZ"}, CONTRADICTED),
    "nothing": ({"provider_amount_minor": 0}, CONTRADICTED),
    "less than nothing": ({"provider_amount_minor": -500}, CONTRADICTED),
    "of a withdrawal": ({"type": payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID}, CONTRADICTED),
    "more than converts": ({"provider_amount_minor": 2**63 - 1}, CONTRADICTED),
    "no payment of ours": ({"payment_id": ""}, PARKED),
    "another payment": ({"payment_id": "dep_nobody"}, PARKED),
    "no payment at all": ({"payment_id": "", "payment_ref": ""}, PARKED),
    "another amount, of no payment": ({"payment_id": "", "provider_amount_minor": 900}, PARKED),
}


def capture(cashier: Cashier, payment_id: str, fields: dict[str, Any]) -> payment_pb2.ProviderEvent:
    """Return the capture of 500 as it should be, but for these fields."""
    event = cashier.event(CAPTURED, payment_id, 500, **GOOD)
    for name, value in fields.items():
        setattr(event, name, value)
    return event


@pytest.mark.parametrize("restarts", [False, True], ids=["at once", "after a restart"])
@pytest.mark.parametrize("wrong", WRONG)
async def test_deliver_mended_event_under_the_same_id_books_it_once(
    wrong: str, restarts: bool, server: Service, cashier: Cashier
) -> None:
    """Whatever was wrong with it, and however often either of them comes in whichever order afterwards."""
    fields, state = WRONG[wrong]
    deposit = await cashier.initiate(500)
    [first] = await cashier.ingest(capture(cashier, deposit.deposit_id, fields))
    if restarts:
        await server.crash()
        await server.restart()
        cashier = Cashier(server.ledger(key_prefix="after"))
    good = capture(cashier, deposit.deposit_id, {})

    answers = [
        (await cashier.ingest(event))[0]
        for event in (good, good, capture(cashier, deposit.deposit_id, fields), good)
    ]

    assert first.event.state == state
    assert [answer.duplicate for answer in answers] == [False, True, True, True]
    assert len({answers[place].event.provider_event_id for place in (0, 1, 3)}) == 1
    assert await cashier.ledger.posted(WALLET) == 500
    stored = await cashier.stored_event(first.event.provider_event_id)
    assert (stored.state, stored.superseded_by_event_id) == (
        SUPERSEDED,
        answers[0].event.provider_event_id,
    )
    replayed = await cashier.replay(first.event.provider_event_id)
    assert replayed.state == SUPERSEDED
    assert await cashier.ledger.posted(WALLET) == 500
    await assert_ledger_coherent(cashier.ledger)


async def test_deliver_wrong_and_mended_event_in_one_call_books_the_mended_one(cashier: Cashier) -> None:
    """Each of several is told apart, and neighbours are not disturbed."""
    deposit = await cashier.initiate(500)
    wrong = [capture(cashier, deposit.deposit_id, fields) for fields, _ in WRONG.values()]
    good = capture(cashier, deposit.deposit_id, {})

    answers = await cashier.ingest(wrong[0], good, good, wrong[0])

    assert [answer.event.state for answer in answers] == [CONTRADICTED, APPLIED, APPLIED, CONTRADICTED]
    assert await cashier.ledger.posted(WALLET) == 500
    await assert_ledger_coherent(cashier.ledger)


async def test_deliver_event_mended_several_times_books_what_fits(cashier: Cashier) -> None:
    """A mended event that is wrong in another way keeps nothing from the next one."""
    deposit = await cashier.initiate(500)
    for fields, _ in WRONG.values():
        # Of one capture under two amounts the larger would count: it was told, and it fits.
        if fields.get("provider_amount_minor", 0) < 1:
            await cashier.ingest(capture(cashier, deposit.deposit_id, fields))

    await cashier.ingest(capture(cashier, deposit.deposit_id, {}))

    assert await cashier.ledger.posted(WALLET) == 500
    await assert_ledger_coherent(cashier.ledger)


async def test_deliver_other_words_after_the_event_took_effect_is_a_duplicate(cashier: Cashier) -> None:
    """What has been booked under an id stays what that id means."""
    deposit = await cashier.initiate(500)
    await cashier.ingest(capture(cashier, deposit.deposit_id, {}))

    [answer] = await cashier.ingest(capture(cashier, deposit.deposit_id, {"provider_amount_minor": 900}))

    assert answer.duplicate
    assert await cashier.ledger.posted(WALLET) == 500
    await assert_ledger_coherent(cashier.ledger)


async def test_deliver_parked_event_again_in_the_same_words_is_a_duplicate(cashier: Cashier) -> None:
    """Its time, its bytes and its reason may differ: senders write them anew."""
    first, second = (
        capture(cashier, "", {"reason": reason, "payload": reason.encode()}) for reason in ("one", "two")
    )

    answers = [(await cashier.ingest(event))[0] for event in (first, second)]

    assert [answer.duplicate for answer in answers] == [False, True]
    assert len(await cashier.stored_events()) == 1
