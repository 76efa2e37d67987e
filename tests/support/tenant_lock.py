"""Own the lock on a tenant's head row, by which tests make the tenant's lane wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg

WAIT_SECONDS = 180


@asynccontextmanager
async def head_locked(database_url: str, tenant_id: str) -> AsyncIterator[None]:
    """Keep the tenant's head row locked; its lane can begin a commit but not finish it."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM tenants WHERE tenant_id = $1 FOR UPDATE", tenant_id)
            yield
    finally:
        await connection.close()


async def wait_until_lane_waits(database_url: str, *, unless: Callable[[], bool] = lambda: False) -> None:
    """Wait until somebody in this database waits for a lock, or until `unless` is true."""
    await poll(
        database_url,
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        unless=unless,
    )


async def poll(database_url: str, statement: str, *, unless: Callable[[], bool] = lambda: False) -> None:
    """Wait until a statement returns a row, or until `unless` is true."""
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while await connection.fetchval(statement) is None and not unless():
                # Every look is a round trip, in which all other work goes on.
                pass
    finally:
        await connection.close()


async def cut_connections(database_url: str) -> None:
    """End every other session of this database, as a failing network would."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
