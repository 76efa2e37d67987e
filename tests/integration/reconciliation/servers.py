"""Own server processes that tests may kill, what is asked of them, and what is seen of their runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from defter.reconciliation.v1 import reconciliation_pb2
from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceStub

from tests.integration.reconciliation.world import World
from tests.support.service import ServerProcess
from tests.support.wire import open_channel

CONFIGURATION = """
[providers.mock]
adapter = "mock"
tenants = ["casino"]
base_address = "{url}"
api_key_env = "MOCK_KEY"
"""


class Servers:
    """Server processes on one database, and what callers ask of them."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self._started: list[ServerProcess] = []

    async def start(self) -> ServerProcess:
        """Start one more."""
        configuration = self._folder / "providers.toml"
        configuration.write_text(CONFIGURATION.format(url=self._world.psp.url))
        process = ServerProcess(
            self._world.service.database_url,
            log_file=self._folder / f"server-{len(self._started)}.log",
            environment={
                "DEFTER_PROVIDERS_FILE": str(configuration),
                "MOCK_KEY": "secret",
                "DEFTER_LISTING_PAUSE_SECONDS": "0.05",
            },
        )
        self._started.append(process)
        await process.start()
        return process

    def end(self) -> None:
        """Kill what is left."""
        for process in self._started:
            if process.is_alive:
                process.kill()


async def ask(
    process: ServerProcess, request: reconciliation_pb2.RunReconciliationRequest
) -> reconciliation_pb2.Run:
    """Run to the end and return how it ended."""
    run = reconciliation_pb2.Run()
    async with open_channel(process.port) as channel:
        async for response in ReconciliationServiceStub(channel).RunReconciliation(request):
            run = response.run
    return run


@asynccontextmanager
async def asking(
    process: ServerProcess, request: reconciliation_pb2.RunReconciliationRequest
) -> AsyncIterator[asyncio.Task[reconciliation_pb2.Run]]:
    """Ask for a run whose server may die."""
    task = asyncio.create_task(ask(process, request))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def runs(world: World) -> list[reconciliation_pb2.Run]:
    """Return all runs as the database has them, the oldest first."""
    rows = await fetch(world, "SELECT body FROM reconciliation_runs ORDER BY begin_time, run_number")
    return [reconciliation_pb2.Run.FromString(row["body"]) for row in rows]


async def fetch(world: World, statement: str) -> list[asyncpg.Record]:
    """Execute a statement and return its rows."""
    connection = await asyncpg.connect(world.service.database_url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(statement)
    finally:
        await connection.close()
    return rows


async def end_leases(world: World) -> None:
    """Let the time pass after which whoever works on a run is taken for dead."""
    await fetch(
        world, "UPDATE reconciliation_runs SET lease_until = now() - interval '1 second' WHERE state = 1"
    )


def pages_asked(world: World) -> list[str]:
    """Return the calls for pages that are still to be answered."""
    return [call.path for call in world.psp.state.calls if call.path == "/v1/records" and not call.status]


async def logged(process: ServerProcess, text: str) -> bool | None:
    """Return True once a process has logged something."""
    return True if text in process.log_file.read_text() else None
