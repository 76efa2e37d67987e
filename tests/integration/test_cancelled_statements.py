"""Test that whoever is cancelled in the middle of a statement ends, so that a server can stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ledger_server.store.connections import Connections, LedgerPool
from ledger_server.store.migrate import APPLICATION_ROLE


async def fetch(pool: LedgerPool) -> None:
    """Read over the pool."""
    await pool.fetch("SELECT pg_sleep(600)")


async def read(pool: LedgerPool) -> None:
    """Read over a connection that proves what it read."""
    async with pool.acquire() as connection:
        await connection.fetch("SELECT pg_sleep(600)")


async def read_unproven(pool: LedgerPool) -> None:
    """Read over a connection that proves nothing."""
    async with pool.unproven() as connection:
        await connection.execute("SELECT pg_sleep(600)")


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 50, 200])
@pytest.mark.parametrize("statement", [fetch, read, read_unproven])
async def test_cancel_at_any_turn_of_a_statement_ends_it_cancelled(
    database_url: str, statement: Callable[[LedgerPool], Awaitable[None]], turns: int, *, tells: bool
) -> None:
    """A loop that takes lost connections for a reason to go on must not take its own end for one."""
    pool = await Connections(database_url, role=APPLICATION_ROLE).open_pool(size=2, tells=tells)
    try:
        task = asyncio.ensure_future(statement(pool))
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns > 100:  # by then it is under way
            while not any(holder._con and holder._con.since for holder in pool._holders):  # type: ignore[attr-defined]  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        pool.terminate()
