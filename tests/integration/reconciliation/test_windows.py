"""Runs over other windows: none touches what lies outside its own, and those that overlap agree."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2
from google.protobuf.duration_pb2 import Duration

from ledger_server.domain.findings.discrepancy import FindingClass
from tests.integration.reconciliation import faults
from tests.integration.reconciliation.good_payments import everything
from tests.integration.reconciliation.test_faults import TABLE, Fault
from tests.integration.reconciliation.world import World
from tests.support.requests import timestamp

COMPLETE = reconciliation_pb2.RUN_STATE_COMPLETE
AUTO_RESOLVED = finding_pb2.FINDING_STATE_AUTO_RESOLVED
# How old something is matters whenever it began, so it is found by any window.
OF_A_TIME = [fault for fault in TABLE if fault.found[0].kind is not FindingClass.STALE_PENDING]


async def run(
    world: World, *, since: datetime | None = None, until: datetime | None = None
) -> reconciliation_pb2.Run:
    """Run over a window, as impatiently as can be."""
    return await world.run(
        from_time=timestamp(since or world.begun - timedelta(hours=1)),
        to_time=timestamp(until or world.clock()),
        grace=Duration(),
    )


@pytest.mark.parametrize("fault", OF_A_TIME, ids=lambda fault: fault.make.__name__)
async def test_run_over_another_window_leaves_what_is_outside_alone(world: World, fault: Fault) -> None:
    """Neither what came just before it nor what comes just after is found by it, nor resolved."""
    await world.deposit()
    await world.later(minutes=10)
    before = world.clock()
    await fault.make(world)
    await world.later(minutes=10)
    after = world.clock()
    await world.later(minutes=30)

    for found in (False, True):
        if found:
            assert (await run(world)).opened_count > 0
        known = await world.findings()
        assert (await run(world, until=before)).state == COMPLETE
        assert (await run(world, since=after)).state == COMPLETE
        assert await world.findings() == known


async def test_overlapping_windows_agree_with_one_over_everything(world: World) -> None:
    """However time is cut into runs, the same is found, and nothing is opened, reopened or resolved twice."""
    times = [world.clock()]
    for fault in OF_A_TIME[:12]:
        await fault.make(world)
        await world.later(minutes=20)
        times.append(world.clock())
    for since, until in zip(times, times[2:], strict=False):
        await run(world, since=since, until=until)
    found = await world.findings()

    whole = await run(world)

    assert len(found) == 12
    assert (whole.opened_count, whole.reopened_count, whole.resolved_count) == (0, 0, 0)
    assert await world.findings() == found


async def test_adjacent_windows_cut_at_a_movement_count_it_once(world: World) -> None:
    """The end of a window is not part of it: sums and matches of both halves make up the whole."""
    await everything(world)
    cut = world.psp.state.books.movements[7].created_at
    await world.later(hours=2)

    halves = [await run(world, until=cut), await run(world, since=cut)]
    whole = await run(world)

    for side in ("ledger_minor", "provider_minor"):
        assert sum(getattr(half.totals[0], side) for half in halves) == getattr(whole.totals[0], side)
    assert await world.findings() == []


async def test_payout_that_came_back_long_after_is_found_where_it_came_back(world: World) -> None:
    """A run over the day of the payout, when all was well, does not call it settled."""
    await world.deposit()
    withdrawal = await world.withdrawal(400)
    await world.later(hours=24)
    async with world.unheard():
        world.psp.state.payouts.return_(withdrawal.provider_ref)
    await world.later(hours=24)
    await run(world)
    [found] = await world.findings()

    await run(world, until=world.begun + timedelta(hours=12))

    assert await world.findings() == [found]
    assert found.finding_class == finding_pb2.FINDING_CLASS_STATUS_MISMATCH
    assert found.subject_time == timestamp(world.begun + timedelta(hours=24, minutes=1))


async def test_stale_payment_is_found_by_any_window_and_over_when_it_ends(world: World) -> None:
    """Its age makes it a finding: a window that it did not begin in resolves it too, but only at its end."""
    deposit_id = await faults.deposit_left(world)
    await world.later(hours=48)
    late = world.clock() - timedelta(minutes=30)
    assert (await run(world, since=late)).opened_count == 1
    assert (await run(world, since=late)).resolved_count == 0

    deposit = await world.cashier.deposit(deposit_id)
    world.psp.state.payments.capture(deposit.provider_ref)
    await world.later()

    assert (await run(world, since=late)).resolved_count == 1
    assert [finding.state for finding in await world.findings()] == [AUTO_RESOLVED]
