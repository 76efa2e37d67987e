"""Own the proof that SIGTERM under load loses nothing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import Ledger
from tests.support.load import SETUP, Callers, assert_outcomes_kept, open_players
from tests.support.randomness import SEED
from tests.support.service import serving_process
from tests.support.wire import open_channel

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
