"""Own how large an amount may be that a caller names, at every border that takes one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.support.adjusters import Adjusters
from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import PROVIDER, FakeAdapter
from tests.support.requests import ASSET, transfer
from tests.support.service import Service, serving
from tests.support.wire import refusal

BOUND = 1_000
Ask = Callable[[Cashier, int], Awaitable[object]]

BORDERS: dict[str, Ask] = {
    "post": lambda cashier, amount: cashier.ledger.post("house", "ann", amount),
    "batch": lambda cashier, amount: cashier.ledger.batch(
        cashier.ledger.transfer_item("house", "ann", amount)
    ),
    "adjustment": lambda cashier, amount: Adjusters(cashier.ledger).request(amount_minor=amount),
    "hold": lambda cashier, amount: cashier.ledger.place_hold("house", "ann", amount),
    "deposit": lambda cashier, amount: cashier.initiate(amount),
    "withdrawal": lambda cashier, amount: cashier.request(amount),
}


@pytest.fixture
async def bounded(database_url: str, clock: FakeClock) -> AsyncIterator[Service]:
    """A server that takes up to 1,000 in EUR and its default in all other currencies."""
    providers = {PROVIDER: FakeAdapter()}
    async with serving(database_url, clock=clock, providers=providers, max_amounts={"EUR": BOUND}) as service:
        yield service


@pytest.fixture
async def teller(bounded: Service) -> Cashier:
    """A tenant with a house and `ann`, who has money in her wallet."""
    ledger = await bounded.new_ledger()
    await ledger.open_house()
    await ledger.open("ann")
    cashier = Cashier(ledger)
    await cashier.captured(BOUND)
    await cashier.captured(BOUND)
    return cashier


@pytest.mark.parametrize("border", BORDERS)
async def test_amount_above_its_bound_is_refused_at_every_border(teller: Cashier, border: str) -> None:
    """The bound itself is taken; more is refused with the facts, and changes nothing."""
    head = await teller.ledger.head()

    refused = await refusal(BORDERS[border](teller, 2 * BOUND))

    assert refused.reason == "AMOUNT_TOO_LARGE"
    assert refused.metadata["amount_minor"] == str(2 * BOUND)
    assert refused.metadata["max_amount_minor"] == str(BOUND)
    assert refused.metadata["field"].endswith("amount_minor")
    assert await teller.ledger.head() == head
    await BORDERS[border](teller, BOUND)
    await assert_ledger_coherent(teller.ledger)


async def test_post_in_currency_without_bound_of_its_own_takes_the_default(teller: Cashier) -> None:
    """A bound for one currency leaves the others theirs."""
    move = teller.ledger
    for name in ("house-usd", "ann-usd"):
        await move.open(name, currency_code="USD", kind=ASSET)

    await move.submit(transfer("house-usd", "ann-usd", 10**15, "USD"))

    refused = await refusal(move.submit(transfer("house-usd", "ann-usd", 10**15 + 1, "USD")))
    assert refused.reason == "AMOUNT_TOO_LARGE"


async def test_increase_hold_above_the_bound_is_refused(teller: Cashier) -> None:
    """A hold grows up to what it might have been placed with, whatever the steps."""
    hold = await teller.ledger.place_hold("house", "ann", BOUND - 2)
    await teller.ledger.increase(hold.hold_id, 2)

    refused = await refusal(teller.ledger.increase(hold.hold_id, 1))

    assert refused.reason == "HOLD_TOO_LARGE"
    assert refused.metadata == {
        "hold_id": hold.hold_id,
        "amount_minor": str(BOUND + 1),
        "max_amount_minor": str(BOUND),
    }


async def test_begin_deposits_up_to_the_bound_of_one_player_leaves_room_for_others(teller: Cashier) -> None:
    """What one player has begun is bounded in all, in whatever portions; another player is not concerned."""
    for _ in range(4):
        await teller.initiate(BOUND // 4, player_id="greedy")

    refused = await refusal(teller.initiate(1, player_id="greedy"))

    assert refused.reason == "BEGUN_DEPOSITS_TOO_LARGE"
    await teller.initiate(BOUND, player_id="modest")
    await assert_ledger_coherent(teller.ledger)


async def test_capture_of_more_than_the_bound_is_booked(teller: Cashier) -> None:
    """What has happened at a provider is a fact, whatever its size; more than was asked for is a finding."""
    deposit = await teller.initiate(5, player_id="lucky")

    await teller.ingest(teller.event(CAPTURED, deposit.deposit_id, 10 * BOUND))

    assert await teller.ledger.posted("player:lucky:real:EUR") == 10 * BOUND
    await assert_ledger_coherent(teller.ledger)


async def test_deposit_of_an_expired_hold_is_credited_in_full(teller: Cashier, clock: FakeClock) -> None:
    """After a week nothing is pending any more; what is paid then is credited all the same, once."""
    deposit = await teller.initiate(500, player_id="late")
    clock.advance(seconds=604_800)
    wallet = "player:late:real:EUR"
    assert (await teller.ledger.account(wallet)).balance.pending_credits_minor == 0
    await assert_ledger_coherent(teller.ledger)

    event = teller.event(CAPTURED, deposit.deposit_id, 500)
    await teller.ingest(event)
    await teller.ingest(event)

    assert await teller.ledger.posted(wallet) == 500
    assert (await teller.ledger.verify()).HasField("first_difference") is False
    await assert_ledger_coherent(teller.ledger)
