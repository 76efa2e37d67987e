"""Own the proof that a process which stands still in the middle of a COPY does not stop its tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ledger_server.process.settings import Settings
from ledger_server.store.database import AnyConnection, open_pool
from ledger_server.store.stalled_writer import end_stalled_writer
from tests.integration.test_due_holds import opening
from tests.support.clock import FakeClock
from tests.support.engine import KEY, TENANT, engine
from tests.support.tenant_lock import head_locked, poll

HANG_SECONDS = 60
IN_COPY = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'ClientRead'"


async def write_and_stall(connection: AnyConnection) -> None:
    """Move the head, begin to write journal records, and hand over none."""

    async def rows() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    await connection.execute("BEGIN")
    await connection.execute("UPDATE tenants SET sequence = sequence WHERE tenant_key = $1", KEY)
    await connection.copy_to_table("journal", source=rows(), timeout=10 * HANG_SECONDS)


async def test_stalled_copy_is_ended_by_the_next_who_wants_the_head(
    database_url: str, clock: FakeClock
) -> None:
    """No time-out of the database reaches a session that waits for a COPY's rows; another process does."""
    role = Settings(database_url=database_url).application_role
    async with engine(database_url, clock) as running, asyncio.timeout(HANG_SECONDS):
        await running.create_tenant()
        pool = await open_pool(database_url, role=role, size=1)
        stalled = asyncio.create_task(write_and_stall(await pool.acquire()))
        await poll(database_url, IN_COPY)

        outcome = await running.ask(opening("house"))

        assert not outcome.rejected
        stalled.cancel()
        await asyncio.wait({stalled})
        pool.terminate()


async def test_writer_who_is_at_work_is_left_alone(database_url: str, clock: FakeClock) -> None:
    """Whoever holds the head and waits for nothing of his client's, or has only begun, goes on."""
    role = Settings(database_url=database_url).application_role
    async with engine(database_url, clock) as running:
        await running.create_tenant()
        async with head_locked(database_url, TENANT), running.pool.acquire() as connection:
            assert not await end_stalled_writer(connection, KEY)

        pool = await open_pool(database_url, role=role, size=1)
        begun = asyncio.create_task(write_and_stall(await pool.acquire()))
        await poll(database_url, IN_COPY)
        async with running.pool.acquire() as connection:
            assert not await end_stalled_writer(connection, KEY)
            assert await connection.fetchval("SELECT current_user") == role
        assert not begun.done()
        begun.cancel()
        await asyncio.wait({begun})
        pool.terminate()


async def test_free_head_has_no_stalled_writer(database_url: str, clock: FakeClock) -> None:
    """Nobody is looked for where nobody holds the head, nor of a tenant that there is not."""
    async with engine(database_url, clock) as running:
        await running.create_tenant()
        async with running.pool.acquire() as connection:
            assert not await end_stalled_writer(connection, KEY)
            assert not await end_stalled_writer(connection, type(KEY)(1))
