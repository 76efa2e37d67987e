"""Own the proof that a payment is found by every ref that it is known by, in every process."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ledger_server.domain.payments.events import EventType
from ledger_server.domain.state.facts import FactKind
from tests.support.clock import FakeClock
from tests.support.engine import IDS, Engine, assert_coherent, deposit, events_of, wallet_of
from tests.support.payments import an_event

PAYMENT = "ch-1"
LINK = "link-1"


async def captured_under_another_ref(running: Engine) -> None:
    """Begin a deposit by one ref, and let its capture echo our id and name another ref."""
    number = (await running.ask(deposit(LINK))).sequence
    capture = an_event(EventType.PAYMENT_CAPTURED, 1000, ref=PAYMENT, object_ref="cap-1", payment=number)
    await running.deliver(replace(capture, payment_id=IDS.deposit_id(number)))


@pytest.mark.parametrize("ref", [PAYMENT, LINK])
async def test_hear_by_either_ref_through_another_process_finds_the_payment(
    first: Engine, second: Engine, database_url: str, clock: FakeClock, ref: str
) -> None:
    """A process that loads the payment anew knows both, as the one that has learned them does."""
    await captured_under_another_ref(first)

    await second.deliver(an_event(EventType.REFUND_SUCCEEDED, 400, ref=ref, object_ref="re-1", at=5))

    assert (await events_of(first.pool, "mock")).parked == []
    assert (await wallet_of(database_url)).posted_debits == 400
    await assert_coherent(database_url, clock)


async def test_begin_deposit_with_taken_ref_through_another_process_is_refused(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """A ref stays taken when the payment becomes known by another one as well."""
    await captured_under_another_ref(first)

    again = await second.ask(deposit(LINK, player_id="bob"))

    assert again.kind is FactKind.REQUEST_REJECTED
    await assert_coherent(database_url, clock)
