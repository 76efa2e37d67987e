"""Own the promise of provider events: each is stored and takes effect once, however it is delivered."""

from __future__ import annotations

import asyncio
import hashlib

from defter.payments.v1 import payment_pb2

from tests.support.cashier import CAPTURED, WALLET, Cashier
from tests.support.clock import START, FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import PROVIDER, SILENT_PROVIDER, fake_providers
from tests.support.postgres import alter
from tests.support.requests import timestamp
from tests.support.service import Service, serving
from tests.support.wire import refusal

APPLIED = payment_pb2.PROVIDER_EVENT_STATE_APPLIED
PARKED = payment_pb2.PROVIDER_EVENT_STATE_PARKED
IGNORED = payment_pb2.PROVIDER_EVENT_STATE_IGNORED
CONTRADICTED = payment_pb2.PROVIDER_EVENT_STATE_CONTRADICTED
UNKNOWN_TYPE = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
FAILED = payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_FAILED


async def test_ingest_event_stores_it_with_its_payload(cashier: Cashier, clock: FakeClock) -> None:
    """The journal's message carries the digest; the payload is read by id alone."""
    deposit = await cashier.initiate(500)
    event = cashier.event(CAPTURED, deposit.deposit_id, 500, payload=b"\x00raw\xff")

    [ingested] = await cashier.ingest(event)
    stored = await cashier.stored_event(ingested.event.provider_event_id)

    assert not ingested.duplicate
    assert (stored.event, ingested.event.event.payload) == (event, b"")
    assert (stored.state, stored.payment_id, stored.amount_minor) == (APPLIED, deposit.deposit_id, 500)
    assert stored.payload_digest == hashlib.sha256(b"\x00raw\xff").digest()
    assert stored.receive_time == timestamp(clock.now)
    assert [one.event.payload for one in await cashier.stored_events()] == [b""]


async def test_deliver_one_event_a_hundred_times_at_once_has_one_effect(cashier: Cashier) -> None:
    """All deliveries are answered with the same event, and all but one are told that they are duplicates."""
    deposit = await cashier.initiate(500)
    event = cashier.event(CAPTURED, deposit.deposit_id, 500)

    answers = await asyncio.gather(*(cashier.ingest(event) for _ in range(100)))

    assert sorted(answer[0].duplicate for answer in answers) == [False] + [True] * 99
    assert len({answer[0].event.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert await cashier.ledger.posted(WALLET) == 500
    assert len(await cashier.ledger.records("provider_event_recorded")) == 1
    await assert_ledger_coherent(cashier.ledger)


async def test_deliver_events_at_once_to_two_servers_has_one_effect(
    database_url: str, server: Service, cashier: Cashier
) -> None:
    """Two servers share a database and nothing else; of each event one delivery is no duplicate."""
    deposits = [await cashier.initiate(5) for _ in range(10)]
    events = [cashier.event(CAPTURED, deposit.deposit_id, 5) for deposit in deposits]
    async with serving(database_url, providers=fake_providers()) as second:
        both = [cashier, Cashier(second.ledger())]

        answers = await asyncio.gather(
            *(side.ingest(event) for event in events for side in both for _ in range(3))
        )

    assert sum(not answer[0].duplicate for answer in answers) == len(events)
    assert await cashier.ledger.posted(WALLET) == 50
    await assert_ledger_coherent(cashier.ledger)


async def test_deliver_event_again_with_other_body_is_duplicate(cashier: Cashier) -> None:
    """A provider's id is what makes an event; the first body counts."""
    deposit = await cashier.initiate(500)
    first = cashier.event(CAPTURED, deposit.deposit_id, 500, event_id="same")
    other = cashier.event(CAPTURED, deposit.deposit_id, 499, event_id="same", reason="again")

    [stored] = await cashier.ingest(first)
    within_one_call = await cashier.ingest(other, other)

    assert [one.duplicate for one in within_one_call] == [True, True]
    assert all(one.event == stored.event for one in within_one_call)
    assert await cashier.ledger.posted(WALLET) == 500


async def test_deliver_one_event_id_from_two_providers_makes_two_events(cashier: Cashier) -> None:
    """An event's id is its provider's own."""
    one = cashier.event(UNKNOWN_TYPE, event_id="same")
    other = cashier.event(UNKNOWN_TYPE, event_id="same", provider=SILENT_PROVIDER)

    answers = await cashier.ingest(one, other)

    assert [answer.duplicate for answer in answers] == [False, False]
    assert [answer.event.state for answer in answers] == [IGNORED, IGNORED]


async def test_deliver_events_in_one_call_answers_each_in_order(cashier: Cashier) -> None:
    """One that can't be booked doesn't disturb its neighbours."""
    deposit = await cashier.initiate(500)
    events = [
        cashier.event(UNKNOWN_TYPE, provider_type="ping"),
        cashier.event(CAPTURED, "dep_unknown_1", 100),
        cashier.event(CAPTURED, deposit.deposit_id, 0),
        cashier.event(CAPTURED, deposit.deposit_id, 500),
        # A type that a newer edge knows and this server does not.
        cashier.event(99, deposit.deposit_id),  # type: ignore[arg-type]  # that is the point
    ]

    answers = await cashier.ingest(*events)

    assert [one.event.event.event_id for one in answers] == [event.event_id for event in events]
    assert [one.event.state for one in answers] == [IGNORED, PARKED, CONTRADICTED, APPLIED, IGNORED]
    assert await cashier.ledger.posted(WALLET) == 500


async def test_ingest_amount_that_does_not_convert_is_kept_with_problem(cashier: Cashier) -> None:
    """Nothing is booked by a guess: the event is stored as it came, and says what is wrong."""
    deposit = await cashier.initiate(500)
    wrong = {
        "no currency": cashier.event(CAPTURED, deposit.deposit_id, 500, currency_code=""),
        "unknown currency": cashier.event(CAPTURED, deposit.deposit_id, 500, currency_code="ZZZ"),
        "too much": cashier.event(CAPTURED, deposit.deposit_id, 2**62),
    }

    answers = await cashier.ingest(*wrong.values())

    for answer in answers:
        assert answer.event.problem
        assert not answer.event.HasField("amount_minor")
        assert answer.event.event.HasField("provider_amount_minor")
        assert answer.event.state == CONTRADICTED
    assert await cashier.ledger.posted(WALLET) == 0
    await assert_ledger_coherent(cashier.ledger)


async def test_ingest_event_that_database_refuses_fails_call(database_url: str, cashier: Cashier) -> None:
    """What was not stored is not acknowledged; its neighbours are duplicates when it comes again."""
    good, bad = cashier.event(UNKNOWN_TYPE), cashier.event(UNKNOWN_TYPE, event_id="guilty")
    await alter(
        database_url,
        "ALTER TABLE provider_events ADD CONSTRAINT guilty CHECK (event_id <> 'guilty') NOT VALID",
    )

    refused = await refusal(cashier.ingest(bad))
    await cashier.ingest(good)
    await alter(database_url, "ALTER TABLE provider_events DROP CONSTRAINT guilty")
    again = await cashier.ingest(good, bad)

    assert refused.reason == "INTERNAL"
    assert [one.duplicate for one in again] == [True, False]


async def test_ingest_parked_event_takes_effect_once_payment_appears(cashier: Cashier) -> None:
    """A capture that overtakes its deposit is not lost."""
    [parked] = await cashier.ingest(cashier.event(CAPTURED, amount_minor=500, payment_ref="early"))
    deposit = await cashier.initiate(500, provider_ref="early")

    replayed = await cashier.replay(parked.event.provider_event_id)

    assert parked.event.state == PARKED
    assert (replayed.state, replayed.payment_id) == (APPLIED, deposit.deposit_id)
    assert await cashier.ledger.posted(WALLET) == 500
    await assert_ledger_coherent(cashier.ledger)


async def test_replay_event_twice_changes_no_balance(cashier: Cashier) -> None:
    """What it says is known already."""
    deposit = await cashier.initiate(500)
    [ingested] = await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 500))

    for _ in range(2):
        replayed = await cashier.replay(ingested.event.provider_event_id)
        assert replayed.state == APPLIED

    assert await cashier.ledger.posted(WALLET) == 500
    await assert_ledger_coherent(cashier.ledger)


async def test_deliver_event_after_restart_is_duplicate(server: Service, cashier: Cashier) -> None:
    """What was stored is stored for ever, whoever asks."""
    deposit = await cashier.initiate(500)
    event = cashier.event(CAPTURED, deposit.deposit_id, 500)
    [first] = await cashier.ingest(event)
    await server.crash()
    await server.restart()
    after = Cashier(server.ledger())

    [second] = await after.ingest(event)

    assert second.duplicate
    assert second.event == first.event
    assert await after.ledger.posted(WALLET) == 500


async def test_read_unknown_event_is_refused(cashier: Cashier) -> None:
    """An id that is none of this tenant's, and one that is too high."""
    [ingested] = await cashier.ingest(cashier.event(UNKNOWN_TYPE))
    beyond = ingested.event.provider_event_id + "9"

    for wrong in ("evt_nothing", beyond):
        read = await refusal(cashier.stored_event(wrong))
        replay = await refusal(cashier.replay(wrong))
        assert read.reason == replay.reason == "PROVIDER_EVENT_NOT_FOUND"


async def test_ingest_deliveries_of_failed_and_captured_in_any_order_end_alike(cashier: Cashier) -> None:
    """A late failure never downgrades a capture."""
    states = []
    for order in (1, -1):
        deposit = await cashier.initiate(500)
        events = [
            cashier.event(CAPTURED, deposit.deposit_id, 500),
            cashier.event(FAILED, deposit.deposit_id, occur_time=timestamp(START)),
        ]
        await cashier.ingest(*events[::order])
        states.append((await cashier.deposit(deposit.deposit_id)).state)

    assert states == [payment_pb2.DEPOSIT_STATE_CAPTURED] * 2
    assert await cashier.ledger.posted(WALLET) == 1_000
    assert {one.event.provider for one in await cashier.stored_events()} == {PROVIDER}
