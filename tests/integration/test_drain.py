"""Own the proof that SIGTERM under load loses nothing, and that nothing keeps the server from ending."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
from grpc_health.v1 import health_pb2

from tests.support.coherence import assert_ledger_coherent
from tests.support.health import health
from tests.support.ledger import Ledger
from tests.support.load import SETUP, Callers, assert_outcomes_kept, open_players
from tests.support.randomness import SEED
from tests.support.service import serving, serving_process
from tests.support.tenant_lock import WAIT_SECONDS, head_locked, wait_until_lane_waits
from tests.support.wire import open_channel, refusal

PLAYERS = ("ann", "bob", "cid")
CALLERS = 32


async def test_terminate_under_load_loses_nothing_acknowledged(database_url: str, tmp_path: Path) -> None:
    """What was begun is finished, what was not is turned away, and the exit is clean."""
    randomness = random.Random(SEED)
    async with serving_process(database_url, log_file=tmp_path / "first.log") as process:
        async with open_channel(process.port) as channel:
            ledger = Ledger(channel, "casino", key_prefix=SETUP)
            await ledger.create()
            await open_players(ledger, PLAYERS, each=100)
        callers = Callers("casino", [process.port], accounts=PLAYERS, randomness=randomness, patient=False)
        async with callers.calling(CALLERS):
            await callers.wait_for(200)
            process.terminate()
            exit_code = await process.wait()
            callers.stop()

    assert exit_code == 0
    assert {refusal.reason for refusal in callers.refused.values()} <= {"INSUFFICIENT_FUNDS"}
    async with (
        serving_process(database_url, log_file=tmp_path / "second.log") as process,
        open_channel(process.port) as channel,
    ):
        ledger = Ledger(channel, "casino")
        await callers.ask_again(ledger)
        assert not callers.unanswered
        await assert_outcomes_kept(ledger, callers)
        await assert_ledger_coherent(ledger)


async def test_callers_at_a_drain_are_told_to_come_back(database_url: str, tmp_path: Path) -> None:
    """Nobody's call is cancelled, wherever it was when the server was told to end."""
    codes: Counter[grpc.StatusCode] = Counter()
    calling = asyncio.Event()

    async with (
        serving_process(database_url, log_file=tmp_path / "server.log") as process,
        open_channel(process.port) as channel,
    ):
        ledger = Ledger(channel, "casino", key_prefix=SETUP)
        await ledger.create()
        await open_players(ledger, PLAYERS, each=100_000)

        async def post() -> None:
            await ledger.post("cid", "ann", 1)

        async def read() -> None:
            await ledger.balance("cid")

        async def call_until_refused(once: Callable[[], Awaitable[object]]) -> None:
            while True:
                try:
                    await once()
                except grpc.aio.AioRpcError as error:
                    codes[error.code()] += 1
                    return
                calling.set()

        callers = [asyncio.ensure_future(call_until_refused(once)) for once in [post, read] * CALLERS]
        await calling.wait()
        process.terminate()
        await asyncio.gather(*callers)
        exit_code = await process.wait()

    assert exit_code == 0
    assert codes == {grpc.StatusCode.UNAVAILABLE: 2 * CALLERS}


async def test_drain_ends_grpc_only_when_every_status_is_out(database_url: str) -> None:
    """Whatever gRPC still has of a call when its last grace ends is cancelled, so there must be nothing."""
    async with serving(database_url, drain_seconds=3600) as service:
        ledger = await service.new_ledger()
        await open_players(ledger, PLAYERS, each=100)
        server = service.server
        stop, unsent = server._server.stop, list[int]()

        async def seen(grace: float | None) -> None:
            unsent.append(server._handlers.unsent)
            await stop(grace)

        server._server.stop = seen  # type: ignore[method-assign]
        async with head_locked(database_url, "casino"):
            posts = [asyncio.create_task(ledger.post("cid", "ann", 1)) for _ in range(CALLERS)]
            await wait_until_lane_waits(database_url)
            draining = asyncio.create_task(server.drain())
        answered = await asyncio.gather(*posts)
        await draining

    assert len(answered) == CALLERS
    assert unsent[-1] == 0


@asynccontextmanager
async def frozen(database_url: str) -> AsyncIterator[None]:
    """Keep the sessions of a database from answering, with their connections open."""
    connection = await asyncpg.connect(database_url)
    try:
        sessions = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
    for session in sessions:
        os.kill(session["pid"], signal.SIGSTOP)
    try:
        yield
    finally:
        for session in sessions:
            os.kill(session["pid"], signal.SIGCONT)


async def test_terminate_while_database_is_frozen_ends_by_name(database_url: str, tmp_path: Path) -> None:
    """Calls that wait for the database are told that it is away, and the exit is clean."""
    environment = {"DEFTER_DRAIN_SECONDS": "2", "DEFTER_STORE_PATIENCE_SECONDS": "1"}
    log_file = tmp_path / "server.log"
    async with (
        serving_process(database_url, log_file=log_file, environment=environment) as process,
        open_channel(process.port) as channel,
    ):
        ledger = Ledger(channel, "casino", key_prefix=SETUP)
        await ledger.create()
        await open_players(ledger, PLAYERS, each=100)
        async with frozen(database_url):
            calls = [ledger.post("cid", "ann", 1), ledger.balance("cid")]
            refusals = [asyncio.ensure_future(refusal(call)) for call in calls]
            await asyncio.sleep(0)  # they go first
            # Health needs no database: when it answers, the calls before it have arrived.
            for _ in range(3):
                await health(channel).Check(health_pb2.HealthCheckRequest())
            process.terminate()
            exit_code = await process.wait()
            reasons = {(await refused).reason for refused in refusals}

    assert exit_code == 0, log_file.read_text()
    assert reasons == {"STORE_UNAVAILABLE"}
    assert "Traceback" not in log_file.read_text()


async def test_terminate_idle_server_while_database_is_frozen_ends_cleanly(
    database_url: str, tmp_path: Path
) -> None:
    """Connections that don't answer are cut, of both pools."""
    log_file = tmp_path / "server.log"
    environment = {"DEFTER_DRAIN_SECONDS": "2"}
    async with (
        serving_process(database_url, log_file=log_file, environment=environment) as process,
        frozen(database_url),
    ):
        process.terminate()
        exit_code = await process.wait()

    assert exit_code == 0, log_file.read_text()
    assert "Traceback" not in log_file.read_text()


async def test_drain_under_watch_of_health_does_not_wait_for_it(database_url: str) -> None:
    """A watcher of health is told once that the server ends, and kept no longer."""
    async with serving(database_url, drain_seconds=3600) as service:
        watch = aiter(health(service.channel).Watch(health_pb2.HealthCheckRequest()))
        states = [(await anext(watch)).status]

        async with asyncio.timeout(WAIT_SECONDS):
            await service.server.drain()

        states.append((await anext(watch)).status)
    assert states == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]


class _StuckJob:
    """Can't be stopped, as one whose database does not answer."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.gate = asyncio.Event()

    def start(self) -> None:
        """Begin nothing."""

    async def stop(self) -> None:
        """Return when the gate is open."""
        self.stopping.set()
        await self.gate.wait()


async def test_drain_with_stuck_job_turns_calls_away_and_ends(database_url: str) -> None:
    """New calls are not taken while the jobs are stopped, and a job does not keep the server."""
    async with serving(database_url, drain_seconds=2) as service:
        ledger = await service.new_ledger()
        stuck = _StuckJob()
        service.server._jobs = (stuck, *service.server._jobs)

        draining = asyncio.ensure_future(service.server.drain())
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await stuck.stopping.wait()
                refused = await refusal(ledger.tenant())
                await draining
        finally:
            stuck.gate.set()

    assert refused.reason == "SHUTTING_DOWN"
