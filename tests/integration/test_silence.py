"""Own the proof that connections which fell silent are found together, and that the rest is left alone.

A proxy before PostgreSQL falls silent, as a network does that drops everything. No statement is ended by its
own time-out here, so whatever comes back was found by other means.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from ledger_server.store import connections
from ledger_server.store.connections import Connections
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.migrate import APPLICATION_ROLE
from tests.support.coherence import assert_ledger_coherent
from tests.support.database_proxy import DatabaseProxy, proxied
from tests.support.ledger import Ledger
from tests.support.service import Service, serving

TENANTS = 6
POOLS = 3
SIZE = 4
HANG_SECONDS = 100
"""Far less than the time-outs of all dead connections, one after the other."""


@pytest.fixture(autouse=True)
def no_time_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements have all the time in the world."""
    monkeypatch.setattr(connections, "_STATEMENT_SECONDS", 1e6)


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[DatabaseProxy]:
    """The network to the database."""
    async with proxied(database_url) as found:
        yield found


async def insist(ledger: Ledger, key: str) -> None:
    """Post until it is answered, and read it."""
    while True:
        try:
            await ledger.post("house", "ann", 1, key=key)
            assert await ledger.posted("ann") >= 1
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        else:
            return


async def ledgers_of(service: Service) -> list[Ledger]:
    """Return tenants that have been used, all at once, so that all connections are there."""
    ledgers = [await service.new_ledger(f"casino-{number}") for number in range(TENANTS)]
    for ledger in ledgers:
        await ledger.open_house()
        await ledger.open("ann")
    await asyncio.gather(*(ledger.post("house", "ann", 1) for ledger in ledgers))
    return ledgers


@pytest.mark.parametrize("way", ["network", "connections", "questions", "answers"])
async def test_service_is_back_after_silence(proxy: DatabaseProxy, way: str) -> None:
    """Every tenant posts and reads again, each posting is there once, and no statement was cancelled."""
    async with serving(proxy.url) as service, asyncio.timeout(HANG_SECONDS):
        ledgers = await ledgers_of(service)
        match way:
            case "network":
                proxy.fall_silent()
            case "connections":
                proxy.lose_old()
            case "questions":
                proxy.lose_old(answers=False)
            case "answers":
                proxy.lose_old(questions=False)
        insisting = [
            asyncio.create_task(insist(ledger, f"{turn}")) for ledger in ledgers for turn in range(2)
        ]
        if way == "network":
            await asyncio.wait(insisting, timeout=3)
            assert not any(task.done() for task in insisting)
            proxy.speak()

        await asyncio.gather(*insisting)

        for ledger in ledgers:
            assert await ledger.posted("ann") == 3
            await assert_ledger_coherent(ledger)
        assert proxy.cancel_count == 0


async def warm(pool: Pool) -> None:
    """Have all connections of a pool made and given back."""
    held = [await pool.acquire() for _ in range(SIZE)]
    for connection in held:
        await pool.release(connection)


async def test_one_lost_statement_condemns_the_idle_of_its_age_in_all_pools(proxy: DatabaseProxy) -> None:
    """Nobody has to run into the others one by one, whichever pool finds out first."""
    shared = Connections(proxy.url, role=APPLICATION_ROLE)
    async with asyncio.timeout(HANG_SECONDS):
        pools = [await shared.open_pool(size=SIZE, tells=False) for _ in range(POOLS)]
        for pool in pools:
            await warm(pool)
        proxy.lose_old()

        with pytest.raises(CONNECTION_ERRORS):
            await pools[0].fetchval("SELECT 1")

        begun = proxy.connection_count
        assert await asyncio.gather(*(pool.fetchval("SELECT 1") for pool in pools)) == [1] * POOLS
        assert proxy.connection_count > begun
        for pool in pools:
            pool.terminate()


async def test_statement_that_takes_long_is_left_alone(proxy: DatabaseProxy) -> None:
    """PostgreSQL is at work on it, as on a commit that waits for its standby; it is asked about, and ends."""
    shared = Connections(proxy.url, role=APPLICATION_ROLE)
    pool = await shared.open_pool(size=1, tells=False)
    begun = proxy.connection_count
    async with asyncio.timeout(HANG_SECONDS), pool.acquire() as connection:
        while proxy.connection_count == begun:
            await connection.fetchval("SELECT pg_sleep(2.5)")  # until it was asked about
        assert await connection.fetchval("SELECT 1") == 1
    pool.terminate()
