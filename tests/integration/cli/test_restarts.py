"""`defter reconcile` while its server goes away and comes back: the same command sees the run to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from defter.reconciliation.v1 import reconciliation_pb2 as pb

from mock_psp.server import MockPsp, serve
from tests.integration.cli.conftest import PROVIDER, TENANT, TOKEN, CommandLine, ended
from tests.integration.cli.test_reconcile import runs
from tests.support.ledger import ENFORCED, Ledger
from tests.support.service import START_TIMEOUT_SECONDS, ServerProcess, serving_process
from tests.support.wire import open_channel

WINDOW = ("--from", "2026-01-01", "--to", "2026-01-02")


@pytest.fixture
async def silent_psp() -> AsyncIterator[MockPsp]:
    """A MockPSP that does not answer the first call at all."""
    async with serve(token=TOKEN, seed=1) as running:
        knobs = running.knobs
        knobs.faults_hit, knobs.timeout_before_execute, knobs.hang_seconds = "all", 1, 3600
        yield running


@pytest.fixture
async def process(database_url: str, silent_psp: MockPsp, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """`defter serve` before that MockPSP, with a tenant."""
    providers = tmp_path / "providers.toml"
    providers.write_text(
        f'[providers.{PROVIDER}]\nadapter = "mock"\napi_key_env = "MOCK_KEY"\n'
        f'base_address = "{silent_psp.url}"\n'
    )
    environment = {"DEFTER_PROVIDERS_FILE": str(providers), "MOCK_KEY": TOKEN}
    async with serving_process(
        database_url, log_file=tmp_path / "serve.log", environment=environment
    ) as server:
        async with open_channel(server.port) as channel:
            await Ledger(channel, TENANT).create(ENFORCED)
        yield server


async def until_running(port: int) -> None:
    """Wait until a run is under way."""
    async with asyncio.timeout(START_TIMEOUT_SECONDS), open_channel(port) as channel:
        while not any(run.state == pb.RUN_STATE_RUNNING for run in await runs(channel)):
            # Every look is a round trip, in which the server goes on.
            pass


async def test_reconcile_while_server_is_replaced_ends_complete(process: ServerProcess) -> None:
    """A server that is stopped gives the run up; the next one takes it up again under the same key."""
    command = await CommandLine(process.port).begin("reconcile", "--provider", PROVIDER, *WINDOW, "--json")
    await until_running(process.port)

    process.terminate()
    assert await process.wait() == 0
    await process.start()
    ran = await ended(command)

    assert ran.code == 0, ran
    assert ran.json["state"] == "RUN_STATE_COMPLETE"
    assert "trying again" in ran.errors
    async with open_channel(process.port) as channel:
        assert len(await runs(channel)) == 1


async def test_reconcile_while_server_is_killed_ends_complete(
    process: ServerProcess, database_url: str
) -> None:
    """A server that dies leaves its lease; when that has ended, whoever follows the run takes it up."""
    command = await CommandLine(process.port).begin("reconcile", "--provider", PROVIDER, *WINDOW, "--json")
    await until_running(process.port)

    process.kill()
    await end_leases(database_url)
    await process.start()
    ran = await ended(command)

    assert ran.code == 0, ran
    assert ran.json["state"] == "RUN_STATE_COMPLETE"


async def end_leases(database_url: str) -> None:
    """Let all leases be over, as if half a minute had passed."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("UPDATE reconciliation_runs SET lease_until = begin_time")
    finally:
        await connection.close()
