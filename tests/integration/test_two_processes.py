"""Own the proof that several server processes write one tenant's ledger as one."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import Ledger
from tests.support.load import (
    SETUP,
    Callers,
    assert_never_below_zero,
    assert_outcomes_kept,
    open_players,
)
from tests.support.randomness import SEED
from tests.support.service import ServerProcess, serving_process
from tests.support.wire import open_channel

PLAYERS = ("ann", "bob", "cid")
WRITERS = 100
STOP_ATTEMPTS = 500


@pytest.fixture
async def first(database_url: str, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server process."""
    async with serving_process(database_url, log_file=tmp_path / "first.log") as process:
        yield process


@pytest.fixture
async def second(database_url: str, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """Another one on the same database."""
    async with serving_process(database_url, log_file=tmp_path / "second.log") as process:
        yield process


@pytest.fixture
async def casino(first: ServerProcess) -> AsyncIterator[Ledger]:
    """A tenant with three players who have 100 each, seen through the first process."""
    async with open_channel(first.port) as channel:
        ledger = Ledger(channel, "casino", key_prefix=SETUP)
        await ledger.create()
        await open_players(ledger, PLAYERS, each=100)
        yield ledger


def callers_of(*processes: ServerProcess, name: str = "caller") -> Callers:
    """Return callers that move money between the players through these processes."""
    return Callers(
        "casino",
        [process.port for process in processes],
        accounts=PLAYERS,
        randomness=random.Random(SEED),
        name=name,
    )


async def assert_sums_exact(ledger: Ledger, callers: Callers) -> None:
    """Money was moved, none was made, and nobody spent what they did not have."""
    assert {refusal.reason for refusal in callers.refused.values()} <= {"INSUFFICIENT_FUNDS"}
    assert sum([await ledger.posted(name) for name in PLAYERS]) == 100 * len(PLAYERS)
    await assert_never_below_zero(ledger, PLAYERS)
    await assert_outcomes_kept(ledger, callers)
    await assert_ledger_coherent(ledger)


async def test_write_from_many_callers_through_two_processes_keeps_sums(
    casino: Ledger, first: ServerProcess, second: ServerProcess
) -> None:
    """A hundred writers over three accounts: no deadlock, no lost update, no overdraft."""
    callers = callers_of(first, second)

    await callers.run(WRITERS, each=15)

    assert callers.retry_count == 0
    assert callers.answered_count == WRITERS * 15
    await assert_sums_exact(casino, callers)


async def test_send_one_key_to_two_processes_at_once_has_one_effect(
    casino: Ledger, second: ServerProcess
) -> None:
    """Both callers hear of the same transaction."""
    async with open_channel(second.port) as channel:
        both = [casino, casino.over(channel, key_prefix="unused")]

        rounds = await asyncio.gather(
            *(side.post("house", "ann", 1, key=f"key-{n}") for n in range(50) for side in both)
        )

    for n in range(50):
        assert rounds[2 * n] == rounds[2 * n + 1]
    assert await casino.posted("ann") == 150
    await assert_ledger_coherent(casino)


async def test_stall_process_that_holds_the_head_does_not_stop_the_tenant(
    database_url: str, casino: Ledger, first: ServerProcess, second: ServerProcess
) -> None:
    """A process that stands still in the middle of a commit is cut off by the database."""
    stalled = callers_of(second, name="stalled")
    others = callers_of(first)
    async with stalled.calling(8), others.calling(8):
        await stop_while_holding_head(second, database_url, stalled)

        await others.wait_for(50)

        second.send_signal(signal.SIGCONT)
        await stalled.wait_for(20)
    others.posted.update(stalled.posted)
    others.refused.update(stalled.refused)
    await assert_sums_exact(casino, others)


async def stop_while_holding_head(process: ServerProcess, database_url: str, callers: Callers) -> None:
    """Stop a process, again and again, until it stands still within a database transaction."""
    connection = await asyncpg.connect(database_url)
    for _ in range(STOP_ATTEMPTS):
        process.send_signal(signal.SIGSTOP)
        sockets = psutil.Process(process.process_id).net_connections(kind="tcp")
        held = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE state = 'idle in transaction' AND client_port = ANY($1)",
            [one.laddr.port for one in sockets],
        )
        if held:
            break
        process.send_signal(signal.SIGCONT)
        await callers.wait_for(1)
    else:
        pytest.fail("the process never stood still within a database transaction")
    await connection.close()


async def test_serve_with_two_workers_writes_as_one(database_url: str, tmp_path: Path) -> None:
    """Two workers share a port; the kernel deals out connections, the ledger is one."""
    async with serving_process(
        database_url, log_file=tmp_path / "workers.log", arguments=("--workers", "2")
    ) as process:
        async with open_channel(process.port) as channel:
            ledger = Ledger(channel, "casino", key_prefix=SETUP)
            await ledger.create()
            await open_players(ledger, PLAYERS, each=100)
            callers = callers_of(process)

            await callers.run(24, each=15)

            assert len(worker_ids(process)) == 2
            await assert_sums_exact(ledger, callers)
        process.terminate()
        assert await process.wait() == 0


async def test_lose_a_worker_ends_the_whole_server(database_url: str, tmp_path: Path) -> None:
    """Whoever runs the server hears of it, and no worker is left behind."""
    async with serving_process(
        database_url, log_file=tmp_path / "workers.log", arguments=("--workers", "2")
    ) as process:
        workers = worker_ids(process)
        os.kill(workers[0], signal.SIGKILL)

        assert await process.wait() != 0

    assert not any(psutil.pid_exists(worker) for worker in workers)


def worker_ids(process: ServerProcess) -> list[int]:
    """Return the process ids of the workers."""
    return [child.pid for child in psutil.Process(process.process_id).children()]
