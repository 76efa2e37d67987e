"""Callers of runs: who goes away, comes back, comes twice, comes too early, or asks for nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from defter.reconciliation.v1 import reconciliation_pb2
from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceStub
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ledger_server.process.bootstrap import start_server
from ledger_server.process.settings import Settings
from tests.edge.harness import TENANT
from tests.integration.reconciliation import faults
from tests.integration.reconciliation.world import PROVIDER, World, until
from tests.support.requests import timestamp
from tests.support.tenant_lock import poll
from tests.support.wire import REPLAYED, Refusal, open_channel, read_refusal

COMPLETE = reconciliation_pb2.RUN_STATE_COMPLETE
RUNNING = reconciliation_pb2.RUN_STATE_RUNNING


@asynccontextmanager
async def held(world: World) -> AsyncIterator[asyncio.Event]:
    """Hold the provider's listing up until the event that this yields is set, or the context ends."""
    go_on = asyncio.Event()

    async def before(_: int) -> None:
        await go_on.wait()

    world.listing.before = before
    try:
        yield go_on
    finally:
        go_on.set()


async def a_vanished_payout(world: World) -> None:
    """Have one fault between the two sides that is old enough to be found."""
    await world.deposit()
    await faults.payout_vanished(world)
    await world.later(hours=2)


async def begun(stub: Any, request: reconciliation_pb2.RunReconciliationRequest) -> Any:
    """Ask for a run and return the call once the run was begun."""
    call = stub.RunReconciliation(request)
    first = await call.read()
    assert first.run.state == RUNNING
    return call


async def ended(call: Any) -> tuple[reconciliation_pb2.Run, bool]:
    """Follow a call to its end; return the run and whether it was replayed."""
    run = reconciliation_pb2.Run()
    while (response := await call.read()) is not grpc.aio.EOF:
        run = response.run
    return run, REPLAYED in tuple(await call.trailing_metadata())


async def refused(world: World, request: reconciliation_pb2.RunReconciliationRequest) -> Refusal:
    """Ask for a run that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ended(world.stub.RunReconciliation(request))
    return read_refusal(caught.value)


async def run_count(world: World) -> int:
    """Return how many runs there are."""
    connection = await asyncpg.connect(world.service.database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM reconciliation_runs"))
    finally:
        await connection.close()


@asynccontextmanager
async def no_run_begins(world: World, *, claims: int) -> AsyncIterator[None]:
    """Let no run be written until so many servers have found that there is none and want to begin it."""
    connection = await asyncpg.connect(world.service.database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE reconciliation_runs IN SHARE MODE")
            yield
            await poll(
                world.service.database_url,
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                f" AND wait_event_type = 'Lock' HAVING count(*) >= {claims}",
            )
    finally:
        await connection.close()


@asynccontextmanager
async def second_server(world: World) -> AsyncIterator[Any]:
    """Run another server on the same database and yield the stub of its runs."""
    settings = Settings(database_url=world.service.database_url, port=0)
    server = await start_server(settings, clock=world.clock, providers={PROVIDER: world.listing})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.abort)
        channel = await stack.enter_async_context(open_channel(server.port))
        yield ReconciliationServiceStub(channel)


async def test_caller_that_goes_away_leaves_the_run_and_its_key_hears_the_end(world: World) -> None:
    """The run ends all the same; whoever asks again with the key hears how, marked as replayed."""
    await a_vanished_payout(world)
    request = world.request()
    async with held(world) as go_on:
        call = await begun(world.stub, request)
        call.cancel()
        go_on.set()

        async def is_over() -> reconciliation_pb2.Run | None:
            run = (await world.stub.ListRuns(reconciliation_pb2.ListRunsRequest(tenant_id=TENANT))).runs[0]
            return run if run.state != RUNNING else None

        over = await until(is_over)

    assert await ended(world.stub.RunReconciliation(request)) == (over, True)
    assert (over.state, over.opened_count) == (COMPLETE, 1)
    assert await run_count(world) == 1


async def test_caller_that_comes_back_follows_the_run_under_way(world: World) -> None:
    """The same key while it runs begins nothing: both callers hear the same end, neither as replayed."""
    await world.deposit()
    await world.later()
    request = world.request()
    async with held(world) as go_on:
        first = await begun(world.stub, request)
        second = await begun(world.stub, request)
        go_on.set()
        ends = await asyncio.gather(ended(first), ended(second))

    assert ends[0] == ends[1]
    assert (ends[0][0].state, ends[0][1]) == (COMPLETE, False)


async def test_one_key_on_two_servers_at_once_is_one_run(world: World) -> None:
    """However close they come, one server works, the provider is read once, and both callers hear one end."""
    await a_vanished_payout(world)
    async with second_server(world) as other:
        request, calls = world.request(), len(world.psp.state.calls)
        async with no_run_begins(world, claims=2):
            asking = [
                asyncio.create_task(ended(stub.RunReconciliation(request))) for stub in (world.stub, other)
            ]
        ends = await asyncio.gather(*asking)

    assert ends[0][0] == ends[1][0]
    assert ends[0][0].state == COMPLETE
    assert len(world.psp.state.calls) == calls + 1
    assert await run_count(world) == 1
    assert len(await world.findings()) == 1
    await world.assert_verified()


async def test_another_key_meanwhile_is_told_which_run_is_under_way(world: World) -> None:
    """One run at a time of a provider account, on whatever server; nothing is written for the other."""
    await world.deposit()
    await world.later()
    request = world.request()
    async with held(world) as go_on, second_server(world) as other:
        call = await begun(world.stub, request)
        [run] = (await world.stub.ListRuns(reconciliation_pb2.ListRunsRequest(tenant_id=TENANT))).runs
        for stub in (world.stub, other):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ended(stub.RunReconciliation(world.request()))
            refusal = read_refusal(caught.value)
            assert (refusal.code, refusal.reason) == (
                grpc.StatusCode.ABORTED,
                "RECONCILIATION_UNDER_WAY",
            )
            assert refusal.metadata == {"provider": PROVIDER, "run_id": run.run_id}
        go_on.set()
        assert (await ended(call))[0].state == COMPLETE

    assert await run_count(world) == 1


async def test_used_key_with_another_window_is_refused(world: World) -> None:
    """While the run is under way and after it has ended."""
    await world.deposit()
    await world.later()
    request = world.request()
    changed = reconciliation_pb2.RunReconciliationRequest()
    changed.CopyFrom(request)
    changed.grace.CopyFrom(Duration(seconds=1))
    async with held(world) as go_on:
        call = await begun(world.stub, request)
        assert (await refused(world, changed)).reason == "IDEMPOTENCY_KEY_REUSED"
        go_on.set()
        await ended(call)

    assert (await refused(world, changed)).reason == "IDEMPOTENCY_KEY_REUSED"
    assert await run_count(world) == 1


async def test_two_provider_accounts_are_compared_side_by_side(two_accounts: World) -> None:
    """A run of one account neither waits for one of another nor touches its findings."""
    world = two_accounts
    await a_vanished_payout(world)
    assert (await world.run()).opened_count == 1
    known = await world.findings()
    async with held(world) as go_on:
        call = await begun(world.stub, world.request())
        other = await world.run(provider="other")
        assert (other.state, other.opened_count, other.resolved_count) == (COMPLETE, 0, 0)
        assert (other.fetched_count, other.matched_count) == (0, 0)
        go_on.set()
        assert (await ended(call))[0].state == COMPLETE

    assert await world.findings() == known


HOUR = timedelta(hours=1)
BAD: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "no tenant": ({"tenant_id": ""}, "FIELD_MISSING", ("tenant_id",)),
    "no key": ({"idempotency_key": ""}, "IDEMPOTENCY_KEY_MISSING", ("idempotency_key",)),
    "a NUL in the key": ({"idempotency_key": "a\0b"}, "IDEMPOTENCY_KEY_MALFORMED", ("idempotency_key",)),
    "no provider": ({"provider": ""}, "FIELD_MISSING", ("provider",)),
    "a NUL in the provider": ({"provider": "mo\0ck"}, "FIELD_MALFORMED", ("provider",)),
    "an unknown provider": ({"provider": "nobody"}, "PROVIDER_UNKNOWN", ("provider",)),
    "another tenant's provider": ({"provider": "foreign"}, "PROVIDER_UNKNOWN", ("provider",)),
    "no start": ({"from_time": None}, "FIELD_MISSING", ("from_time",)),
    "no end": ({"to_time": None}, "FIELD_MISSING", ("to_time",)),
    "an end in the future": ({"to_time": HOUR}, "FIELD_OUT_OF_RANGE", ("to_time",)),
    "an end before the start": (
        {"from_time": -HOUR, "to_time": -2 * HOUR},
        "FIELD_OUT_OF_RANGE",
        ("to_time",),
    ),
    "an empty window": ({"from_time": -HOUR, "to_time": -HOUR}, "FIELD_OUT_OF_RANGE", ("to_time",)),
    "more than a year": ({"from_time": -timedelta(days=367)}, "FIELD_OUT_OF_RANGE", ("to_time",)),
    "a start before all time": (
        {"from_time": Timestamp(seconds=-(2**62))},
        "FIELD_OUT_OF_RANGE",
        ("from_time",),
    ),
    "a start on the first day": (
        {"from_time": Timestamp(seconds=-62_135_596_800), "to_time": Timestamp(seconds=-62_135_596_000)},
        "FIELD_OUT_OF_RANGE",
        ("from_time", "to_time"),
    ),
    "a negative grace": ({"grace": Duration(seconds=-1)}, "FIELD_OUT_OF_RANGE", ("grace",)),
    "a grace beyond a year": ({"grace": Duration(seconds=367 * 86_400)}, "FIELD_OUT_OF_RANGE", ("grace",)),
    "a grace of no kind": ({"grace": Duration(nanos=-1)}, "FIELD_OUT_OF_RANGE", ("grace",)),
    "a negative age": ({"stale_after": Duration(nanos=10**9)}, "FIELD_OUT_OF_RANGE", ("stale_after",)),
    "an unknown tenant": ({"tenant_id": "nobody"}, "TENANT_NOT_FOUND", ()),
}


@pytest.mark.parametrize("name", BAD)
async def test_nonsense_is_refused_by_name_and_writes_nothing(two_accounts: World, name: str) -> None:
    """Each mistake has its own reason and names its field."""
    world = two_accounts
    changes, reason, fields = BAD[name]
    request = world.request()
    for field, value in changes.items():
        if isinstance(value, str):
            setattr(request, field, value)
        elif isinstance(value, timedelta):
            getattr(request, field).CopyFrom(timestamp(world.clock() + value))
        elif value is None:
            request.ClearField(field)  # type: ignore[arg-type]  # it is one of its fields
        else:
            getattr(request, field).CopyFrom(value)

    refusal = await refused(world, request)

    assert (refusal.reason, refusal.violated_fields) == (reason, fields)
    assert await run_count(world) == 0


async def test_window_of_a_year_is_allowed(world: World) -> None:
    """So is one that ends at this very moment."""
    await world.deposit()

    run = await world.run(from_time=timestamp(world.clock() - timedelta(days=366)))

    assert run.state == COMPLETE
