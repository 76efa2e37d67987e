"""Own the proof that a crash at any moment loses nothing that was acknowledged and doubles nothing."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from ledger_server.embedded_postgres import EmbeddedPostgres
from tests.support.coherence import assert_ledger_coherent, assert_tables_coherent
from tests.support.ledger import Ledger
from tests.support.load import (
    SETUP,
    Callers,
    assert_never_below_zero,
    assert_outcomes_kept,
    open_players,
)
from tests.support.randomness import SEED
from tests.support.service import ServerProcess, run_defter, serving_process
from tests.support.wire import open_channel

PLAYERS = ("ann", "bob", "cid", "dan")
CALLERS = 16
SERVER_KILLS = 5
DATABASE_KILLS = 4
# Between two kills so many outcomes are waited for: a server that did not resume would time out.
OUTCOMES_BETWEEN_KILLS = 60


async def assert_nothing_lost(port: int, database_url: str, callers: Callers) -> None:
    """Check everything that a crash could have spoilt."""
    async with open_channel(port) as channel:
        ledger = Ledger(channel, "casino")
        await assert_outcomes_kept(ledger, callers)
        await assert_ledger_coherent(ledger)
        await assert_never_below_zero(ledger, PLAYERS)
    await assert_tables_coherent(database_url, "casino")
    verdict = await run_defter("verify", "--tenant", "casino", "--target", f"127.0.0.1:{port}")
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


async def prepare(process: ServerProcess) -> Callers:
    """Open the players and return callers that move money between them."""
    async with open_channel(process.port) as channel:
        ledger = Ledger(channel, "casino", key_prefix=SETUP)
        await ledger.create()
        await open_players(ledger, PLAYERS, each=100)
    randomness = random.Random(SEED)
    return Callers("casino", [process.port], accounts=PLAYERS, randomness=randomness)


async def test_kill_server_again_and_again_loses_and_doubles_nothing(
    database_url: str, tmp_path: Path
) -> None:
    """Every acknowledged outcome is kept, every retried key has one effect."""
    async with serving_process(database_url, log_file=tmp_path / "server.log") as process:
        callers = await prepare(process)
        randomness = random.Random(f"{SEED}-kills")

        async with callers.calling(CALLERS):
            for _ in range(SERVER_KILLS):
                await callers.wait_for(OUTCOMES_BETWEEN_KILLS + randomness.randrange(60))
                process.kill()
                process.spawn()
            await callers.wait_for(OUTCOMES_BETWEEN_KILLS)

        assert callers.retry_count > 0
        await assert_nothing_lost(process.port, database_url, callers)


async def test_kill_database_again_and_again_loses_and_doubles_nothing(
    own_postgres: EmbeddedPostgres, own_database_url: str, tmp_path: Path
) -> None:
    """The server that was cut off finds the database again by itself."""
    async with serving_process(own_database_url, log_file=tmp_path / "server.log") as process:
        callers = await prepare(process)
        randomness = random.Random(f"{SEED}-kills")

        async with callers.calling(CALLERS):
            for _ in range(DATABASE_KILLS):
                await callers.wait_for(OUTCOMES_BETWEEN_KILLS + randomness.randrange(60))
                await asyncio.to_thread(own_postgres.kill)
                await asyncio.to_thread(own_postgres.start)
            await callers.wait_for(OUTCOMES_BETWEEN_KILLS)

        assert process.is_alive
        await assert_nothing_lost(process.port, own_database_url, callers)
