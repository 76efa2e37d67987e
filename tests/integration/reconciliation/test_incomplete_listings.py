"""Listings that break off or move: what a run says of the part that it has read, and what it leaves open."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import pytest
from defter.payments.v1 import payment_pb2
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2

from tests.integration.reconciliation import faults
from tests.integration.reconciliation.good_payments import a_dozen
from tests.integration.reconciliation.pages import nothing
from tests.integration.reconciliation.world import World, world_on
from tests.support.clock import FakeClock

COMPLETE = reconciliation_pb2.RUN_STATE_COMPLETE
PARTIAL = reconciliation_pb2.RUN_STATE_PARTIAL
OPEN = finding_pb2.FINDING_STATE_OPEN
AUTO_RESOLVED = finding_pb2.FINDING_STATE_AUTO_RESOLVED
ROWS = 10


class Break(NamedTuple):
    """How a listing breaks off at its second page, and what the run says of it."""

    knobs: Mapping[str, object]
    problem: str


BREAKS = {
    "fails for good": Break({"error_500": 1_000}, "mock answered 500 (internal_error)"),
    "asks for too long a pause": Break(
        {"rate_limit": 1_000, "retry_after_seconds": 600}, "mock answered 429 (rate_limited)"
    ),
    "drops connections": Break({"timeout_before_execute": 1_000}, "mock: RemoteProtocolError"),
}


def break_off(world: World, knobs: Mapping[str, object]) -> None:
    """Let the second page of the next listing fail."""

    async def before(number: int) -> None:
        if number == 2:
            world.psp.knobs.patch({**knobs, "faults_hit": "reads"})

    world.listing.rows = ROWS
    world.listing.before = before


def mend(world: World) -> None:
    """Let everything be listed again."""
    world.psp.knobs.patch(
        {"error_500": 0, "rate_limit": 0, "timeout_before_execute": 0, "faults_hit": "writes"}
    )
    world.listing.before = nothing
    world.listing.circle_after = 0


async def a_repaired_finding(world: World) -> None:
    """Have something found that is as it should be by now."""
    await faults.capture_unheard(world)
    await world.later(hours=1)
    assert (await world.run()).opened_count == 1
    world.psp.webhooks.resend()
    await world.later()


async def some_faults(world: World) -> None:
    """Have a payment that is listed no more, and as the newest record one with another amount."""
    await faults.payout_vanished(world)
    await world.later(hours=1)
    await faults.capture_misstated(world)
    await world.later()


@pytest.mark.parametrize("name", [*BREAKS, "goes in a circle"])
async def test_listing_that_breaks_off_misses_nothing_and_resolves_nothing(world: World, name: str) -> None:
    """What was read is compared; a complete run later says the rest."""
    await a_repaired_finding(world)
    await a_dozen(world)
    await some_faults(world)
    if name in BREAKS:
        break_off(world, BREAKS[name].knobs)
    else:
        world.listing.rows, world.listing.circle_after = 3, 4

    run = await world.run()

    assert (run.state, run.resolved_count, run.opened_count) == (PARTIAL, 0, 1)
    assert run.problem == (BREAKS[name].problem if name in BREAKS else "the listing goes in a circle")
    assert run.fetched_count >= 3
    assert await world.classes() == ["AMOUNT_MISMATCH", "STATUS_MISMATCH"]
    mend(world)
    run = await world.run()
    assert (run.state, run.resolved_count, run.problem) == (COMPLETE, 1, "")
    assert await world.classes() == ["MISSING_AT_PROVIDER", "AMOUNT_MISMATCH"]


async def test_listing_that_breaks_off_leaves_the_facts_of_what_is_known(world: World) -> None:
    """Of two lost fees it shows one; that is no news, and no reason to go back on a word."""
    deposit = await world.deposit(1_000)
    await fee_unheard(world, deposit, 30)
    await a_dozen(world)
    await fee_unheard(world, deposit, 20)
    await world.later(hours=30)
    assert (await world.run()).opened_count == 1
    known = await world.findings()
    break_off(world, BREAKS["fails for good"].knobs)

    run = await world.run()

    assert (run.state, run.classes[0].seen) == (PARTIAL, 1)
    assert await world.findings() == known
    mend(world)
    await fee_unheard(world, deposit, 5)
    await world.later(hours=30)
    assert (await world.run()).state == COMPLETE
    assert [(each.version, each.at_provider.amount_minor) for each in await world.findings()] == [(2, -55)]


async def fee_unheard(world: World, deposit: payment_pb2.Deposit, amount: int) -> None:
    """Have a fee kept for a deposit, and its webhook lost."""
    async with world.unheard():
        world.psp.state.payments.fee(deposit.payment_ref, amount_minor=amount)


async def test_listing_that_breaks_off_at_once_says_nothing_at_all(world: World) -> None:
    """Not one page: no finding is opened, none resolved, and nothing counts as missing."""
    await a_repaired_finding(world)
    await some_faults(world)
    before = await world.findings()
    world.psp.knobs.patch({"error_500": 1_000, "faults_hit": "reads"})

    run = await world.run()

    assert (run.state, run.fetched_count, run.matched_count, run.in_transit_count) == (PARTIAL, 0, 0, 0)
    assert await world.findings() == before


async def test_provider_that_hangs_is_given_up_page_by_page(database_url: str, clock: FakeClock) -> None:
    """A page that is never answered is asked for again a few times, and then the run ends without it."""
    async with world_on(database_url, clock, patience_seconds=2.0) as world:
        await a_dozen(world)
        calls = len(world.psp.state.calls)
        break_off(world, {"timeout_before_execute": 1_000, "hang_seconds": 60.0})

        run = await world.run()

        assert (run.state, run.fetched_count) == (PARTIAL, ROWS)
        assert run.problem == "mock did not answer within 2 s"
        pages = [call for call in world.psp.state.calls[calls:] if call.path == "/v1/records"]
        assert len(pages) == 1 + 6


@pytest.mark.parametrize("knob", ["moving_pages", "shuffle_pages"])
async def test_listing_in_disorder_is_read_like_a_quiet_one(world: World, knob: str) -> None:
    """Rows that come twice or in disorder make no difference to findings or counts."""
    await a_repaired_finding(world)
    await a_dozen(world)
    await some_faults(world)
    world.listing.rows = 7
    quiet = await world.run()
    findings, rows = await world.findings(), await world.row_counts()

    world.psp.knobs.patch({knob: True})
    run = await world.run()

    assert len(quiet.classes) == 2
    assert (run.state, run.classes, run.totals) == (COMPLETE, quiet.classes, quiet.totals)
    assert (run.matched_count, run.in_transit_count) == (quiet.matched_count, quiet.in_transit_count)
    assert (await world.findings(), await world.row_counts()) == (findings, rows)


async def test_movements_that_come_in_while_pages_move_are_all_compared(world: World) -> None:
    """What is captured between two pages neither hides nor repeats anything."""
    await a_dozen(world)
    await world.later(hours=2)
    movements = len(world.psp.state.books.movements)
    world.psp.knobs.patch({"moving_pages": True})
    world.listing.rows = 4

    async def before(_: int) -> None:
        # After the window's end, so that it only moves what is in it.
        world.psp.state.account.correct(currency="EUR", amount_minor=1)

    world.listing.before = before
    until = world.request().to_time
    world.clock.advance(seconds=7_200)
    run = await world.run(to_time=until)

    assert (run.state, run.matched_count) == (COMPLETE, movements)
    assert await world.findings() == []


async def test_provider_that_limits_rates_is_given_its_pauses(world: World) -> None:
    """A page that was refused is asked for again no sooner than the provider said."""
    await a_dozen(world)
    world.psp.knobs.patch({"rate_limit": 2, "retry_after_seconds": 1, "faults_hit": "reads"})
    calls = len(world.psp.state.calls)
    times: list[float] = []

    async def before(_: int) -> None:
        times.append(asyncio.get_running_loop().time())

    world.listing.before = before

    run = await world.run()

    assert run.state == COMPLETE
    asked = [call.status for call in world.psp.state.calls[calls:] if call.path == "/v1/records"]
    assert asked == [429, 429, 200]
    assert all(later - sooner >= 1 for sooner, later in pairwise(times))
