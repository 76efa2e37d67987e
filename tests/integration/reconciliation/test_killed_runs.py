"""Whole servers killed, stopped or drained in the middle of a run: the next one ends it; nothing doubles."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import asyncpg
import grpc
import pytest
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2

from ledger_server.domain.clock import system_clock
from ledger_server.embedded_postgres import EmbeddedPostgres
from tests.edge.harness import TENANT
from tests.integration.reconciliation import faults
from tests.integration.reconciliation.good_payments import everything
from tests.integration.reconciliation.pages import nothing
from tests.integration.reconciliation.servers import (
    Servers,
    ask,
    asking,
    end_leases,
    fetch,
    logged,
    pages_asked,
    runs,
)
from tests.integration.reconciliation.test_incomplete_listings import a_repaired_finding
from tests.integration.reconciliation.world import World, until, world_on
from tests.support.clock import FakeClock
from tests.support.service import ServerProcess
from tests.support.tenant_lock import head_locked

COMPLETE = reconciliation_pb2.RUN_STATE_COMPLETE
INTERRUPTED = reconciliation_pb2.RUN_STATE_INTERRUPTED
FETCHING = reconciliation_pb2.RUN_STAGE_FETCHING
COMPARING = reconciliation_pb2.RUN_STAGE_COMPARING
SEEKING = reconciliation_pb2.RUN_STAGE_SEEKING_MISSING
RESOLVING = reconciliation_pb2.RUN_STAGE_RESOLVING
TAKEN_OVER = "a run was taken over by another process"


class Middle(NamedTuple):
    """A stage in which a run is held up, and the faults that are left for it and the stages behind it."""

    stage: reconciliation_pb2.RunStage.ValueType
    faults: tuple[Callable[[World], Awaitable[str]], ...]


# With the lane held up, a run stands still at the first thing that it has to say.
MIDDLES = {
    "fetching": Middle(FETCHING, (faults.capture_misstated, faults.payout_vanished)),
    "comparing": Middle(COMPARING, (faults.capture_misstated, faults.payout_vanished)),
    "seeking": Middle(SEEKING, (faults.payout_vanished, faults.payment_of_nobody)),
    "resolving": Middle(RESOLVING, ()),
}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A world of yesterday, for servers with clocks of their own."""
    async with world_on(database_url, yesterday()) as opened:
        yield opened


@pytest.fixture
def servers(world: World, tmp_path: Path) -> Iterator[Servers]:
    """The servers of that world."""
    found = Servers(world, tmp_path)
    yield found
    found.end()


def yesterday() -> FakeClock:
    """Return a clock that is behind."""
    return FakeClock(system_clock() - timedelta(hours=30))


async def until_under_way(world: World, stage: reconciliation_pb2.RunStage.ValueType) -> None:
    """Wait until the newest run stands in a stage, and in fetching until the provider was asked."""

    async def there() -> bool | None:
        newest = (await runs(world))[-1:]
        asked = stage != FETCHING or bool(pages_asked(world))
        return True if asked and [run.stage for run in newest] == [stage] else None

    await until(there)


@asynccontextmanager
async def held_up(world: World, stage: reconciliation_pb2.RunStage.ValueType) -> AsyncIterator[None]:
    """Hold a run up in a stage: by the provider, or by the lane."""
    if stage == FETCHING:
        world.psp.knobs.patch({"faults_hit": "reads", "delay_seconds": 3.0})
        try:
            yield
        finally:
            world.psp.knobs.patch({"delay_seconds": 0.0})
    else:
        async with head_locked(world.service.database_url, TENANT):
            yield


async def prepare(world: World, middle: Middle) -> None:
    """Have good payments, faults, and a finding that is over."""
    await a_repaired_finding(world)
    await everything(world)
    for fault in middle.faults:
        await fault(world)
    await world.later(hours=2)


async def assert_as_if_undisturbed(world: World, server: ServerProcess, middle: Middle) -> None:
    """Check that each fault is found once, the old finding is over, and a run has nothing to add."""
    before = await world.findings()
    run = await ask(server, world.request())
    assert (run.state, run.opened_count, run.reopened_count, run.resolved_count) == (COMPLETE, 0, 0, 0)
    assert await world.findings() == before
    states = Counter((finding.state, finding.version) for finding in before)
    expected = {(finding_pb2.FINDING_STATE_AUTO_RESOLVED, 2): 1}
    if middle.faults:
        expected[finding_pb2.FINDING_STATE_OPEN, 1] = len(middle.faults)
    assert states == expected
    await world.assert_verified()


@pytest.mark.parametrize("same_key", [True, False], ids=["same key", "new key"])
@pytest.mark.parametrize("name", MIDDLES)
async def test_kill_in_the_middle_of_a_run_loses_and_doubles_nothing(
    world: World, servers: Servers, name: str, same_key: bool
) -> None:
    """The same key takes the dead run up; another one declares it interrupted and begins its own."""
    middle = MIDDLES[name]
    await prepare(world, middle)
    first, request = await servers.start(), world.request()
    async with held_up(world, middle.stage), asking(first, request):
        await until_under_way(world, middle.stage)
        first.kill()
    await end_leases(world)
    second = await servers.start()

    run = await ask(second, request if same_key else world.request())

    assert run.state == COMPLETE
    dead = [run for run in await runs(world) if run.idempotency_key == request.idempotency_key]
    assert [each.state for each in dead] == [COMPLETE if same_key else INTERRUPTED]
    assert same_key or dead[0].problem == "the process that worked on it has ended"
    await assert_as_if_undisturbed(world, second, middle)


async def test_dead_run_keeps_others_out_until_its_lease_has_ended(world: World, servers: Servers) -> None:
    """Nobody can know yet that its server is dead."""
    await prepare(world, MIDDLES["fetching"])
    first, request = await servers.start(), world.request()
    async with held_up(world, FETCHING), asking(first, request):
        await until_under_way(world, FETCHING)
        first.kill()
    second = await servers.start()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(second, world.request())
    assert caught.value.code() == grpc.StatusCode.ABORTED
    async with asking(second, request) as waiting:
        await end_leases(world)
        assert (await waiting).state == COMPLETE


async def test_caller_that_waits_for_a_dead_run_has_it_taken_up(world: World, servers: Servers) -> None:
    """A caller of another server follows the run; when its worker dies, that server ends it."""
    middle = MIDDLES["comparing"]
    await prepare(world, middle)
    first, second, request = await servers.start(), await servers.start(), world.request()
    async with AsyncExitStack() as stack:
        async with held_up(world, middle.stage):
            await stack.enter_async_context(asking(first, request))
            await until_under_way(world, middle.stage)
            waiting = await stack.enter_async_context(asking(second, request))
            first.kill()
        await end_leases(world)
        assert (await waiting).state == COMPLETE
    await assert_as_if_undisturbed(world, second, middle)


@pytest.mark.parametrize("same_key", [True, False], ids=["same key", "new key"])
@pytest.mark.parametrize("name", ["fetching", "seeking"])
async def test_worker_that_wakes_up_after_its_lease_leaves_the_new_one_alone(
    world: World, servers: Servers, name: str, same_key: bool
) -> None:
    """It finds out before it writes anything, and neither ends nor revives a run."""
    middle = MIDDLES[name]
    await prepare(world, middle)
    first, second, request = await servers.start(), await servers.start(), world.request()
    async with asking(first, request):
        async with held_up(world, middle.stage):
            await until_under_way(world, middle.stage)
            first.send_signal(signal.SIGSTOP)
        await end_leases(world)
        assert (await ask(second, request if same_key else world.request())).state == COMPLETE
        known = await world.findings(), await runs(world), await marks(world)

        first.send_signal(signal.SIGCONT)
        await until(lambda: logged(first, TAKEN_OVER))

    assert (await world.findings(), await runs(world), await marks(world)) == known
    await assert_as_if_undisturbed(world, second, middle)


async def marks(world: World) -> list[asyncpg.Record]:
    """Return which run has read each record and seen each finding last, and what it made of it."""
    return await fetch(
        world,
        "SELECT kind, record_id, run_number, verdict FROM provider_records"
        " UNION ALL SELECT 0, encode(fingerprint, 'hex'), run_number, 0 FROM finding_sightings"
        " ORDER BY 1, 2",
    )


@pytest.mark.parametrize("name", ["fetching", "comparing"])
async def test_drain_in_the_middle_of_a_run_interrupts_it_and_its_key_goes_on(
    world: World, servers: Servers, name: str
) -> None:
    """The caller hears of it, the exit is clean, and nobody has to wait for a lease."""
    middle = MIDDLES[name]
    await prepare(world, middle)
    first, request = await servers.start(), world.request()
    async with held_up(world, middle.stage), asking(first, request) as caller:
        await until_under_way(world, middle.stage)
        first.terminate()
        interrupted = await caller
    assert await first.wait() == 0

    assert (interrupted.state, interrupted.problem) == (INTERRUPTED, "the server was stopped")
    second = await servers.start()
    assert (await ask(second, request)).state == COMPLETE
    await assert_as_if_undisturbed(world, second, middle)


async def test_run_that_is_taken_up_forgets_what_is_listed_no_more(world: World) -> None:
    """What the first try has read proves nothing to the second one."""
    await prepare(world, MIDDLES["resolving"])
    withdrawal = await world.withdrawal(400)
    await world.later(hours=2)
    request = world.request()
    world.listing.rows = 10

    async def before(number: int) -> None:
        if number == 2:
            await asyncio.Event().wait()

    world.listing.before = before
    call = world.stub.RunReconciliation(request)
    await until(lambda: fetched(world, request.idempotency_key))
    await world.service.crash()
    call.cancel()
    world.psp.state.books.listing.vanish(world.movement(withdrawal.provider_ref).id)
    world.listing.before = nothing
    await world.service.restart()

    run = await world.run(idempotency_key=request.idempotency_key, to_time=request.to_time)

    assert run.state == COMPLETE
    assert await world.classes() == ["MISSING_AT_PROVIDER"]


async def fetched(world: World, key: str) -> bool | None:
    """Return True once a run has written down that it has read something."""
    found = [run for run in await runs(world) if run.idempotency_key == key]
    return True if found and found[0].fetched_count else None


async def test_database_killed_in_the_middle_of_a_run_loses_and_doubles_nothing(
    own_postgres: EmbeddedPostgres, own_database_url: str, tmp_path: Path
) -> None:
    """The run is interrupted or left to its lease; the same key ends it once the database is back."""
    middle = MIDDLES["fetching"]
    async with world_on(own_database_url, yesterday()) as world:
        servers = Servers(world, tmp_path)
        try:
            await prepare(world, middle)
            server, request = await servers.start(), world.request()
            async with held_up(world, middle.stage), asking(server, request) as caller:
                await until_under_way(world, middle.stage)
                await asyncio.to_thread(own_postgres.kill)
                await asyncio.to_thread(own_postgres.start)
                await asyncio.wait({caller})
            await end_leases(world)

            assert (await ask(server, request)).state == COMPLETE

            await assert_as_if_undisturbed(world, server, middle)
        finally:
            servers.end()
