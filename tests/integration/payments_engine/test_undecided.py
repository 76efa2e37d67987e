"""Own the proof that an event is never lost, whatever goes wrong with booking it."""

from __future__ import annotations

import asyncio

import pytest
from defter.payments.v1 import payment_pb2

from ledger_server.domain.decisions.payments import from_providers as told_rules
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventType, ProviderEvent, with_deposit_event
from tests.support.clock import FakeClock
from tests.support.engine import (
    IDS,
    Engine,
    assert_coherent,
    delivery,
    deposit,
    events_of,
    replay,
    wallet_of,
)
from tests.support.payments import an_event

PARKED = payment_pb2.PROVIDER_EVENT_STATE_PARKED
CAPTURE = an_event(EventType.PAYMENT_CAPTURED, 1000, ref="pay-1", object_ref="cap-1", at=1)
NEIGHBOURS = 10


def faulty_rule(deposit: Deposit, event: ProviderEvent) -> Deposit:
    """Fail on one event as a rule with a fault would."""
    if event.event_id == CAPTURE.event_id:
        raise ZeroDivisionError
    return with_deposit_event(deposit, event)


async def test_ingest_event_whose_rule_fails_is_parked_and_applied_later(
    first: Engine, database_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored and answered, its neighbours take effect, and a replay books it once it can be."""
    for number in range(NEIGHBOURS):
        await first.ask(deposit(f"other-{number}"))
    await first.ask(deposit("pay-1"))
    others = [
        an_event(
            EventType.PAYMENT_CAPTURED, 10, ref=f"other-{number}", event_id=f"other-{number}", final=True
        )
        for number in range(NEIGHBOURS)
    ]
    monkeypatch.setattr(told_rules, "with_deposit_event", faulty_rule)

    told, *_ = await asyncio.gather(first.deliver(CAPTURE), *(first.deliver(other) for other in others))

    assert told.state == PARKED
    assert (await first.ask(delivery(CAPTURE))).replayed
    wallet = await wallet_of(database_url)
    assert (wallet.posted_credits, wallet.pending_credits) == (10 * NEIGHBOURS, 1000)
    monkeypatch.undo()
    event_number = IDS.event_sequence(told.provider_event_id)
    assert event_number is not None
    for _ in range(2):
        await first.ask(replay(event_number))
    wallet = await wallet_of(database_url)
    assert (wallet.posted_credits, wallet.pending_credits) == (10 * NEIGHBOURS + 1000, 0)
    assert (await events_of(first.pool, "mock")).parked == []
    await assert_coherent(database_url, clock)


async def test_ingest_more_than_an_account_can_count_is_parked(
    first: Engine, database_url: str, clock: FakeClock
) -> None:
    """A sum that no counter holds can't be booked, and is not lost either."""
    await first.ask(deposit("pay-1"))
    await first.ask(deposit("pay-2"))

    told = await first.deliver(
        an_event(EventType.PAYMENT_CAPTURED, 2**63 - 1, ref="pay-1", object_ref="cap-1", event_id="huge")
    )

    assert told.state == PARKED
    wallet = await wallet_of(database_url)
    assert (wallet.posted_credits, wallet.pending_credits) == (0, 2000)
    await first.deliver(CAPTURE)
    assert (await wallet_of(database_url)).posted_credits == 1000
    await assert_coherent(database_url, clock)


async def test_replay_what_still_can_not_be_booked_records_nothing(
    first: Engine, database_url: str, clock: FakeClock
) -> None:
    """The sweeper tries it again and again; the journal must not grow by that."""
    await first.ask(deposit("pay-1"))
    await first.ask(deposit("pay-2"))
    told = await first.deliver(
        an_event(EventType.PAYMENT_CAPTURED, 2**63 - 1, ref="pay-1", object_ref="cap-1", event_id="huge")
    )
    number = IDS.event_sequence(told.provider_event_id)
    assert number is not None
    head = await first.pool.fetchval("SELECT max(sequence) FROM journal")

    for _ in range(3):
        await first.ask(replay(number))

    assert await first.pool.fetchval("SELECT max(sequence) FROM journal") == head
    await assert_coherent(database_url, clock)
