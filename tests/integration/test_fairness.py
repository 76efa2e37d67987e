"""One tenant at full tilt, or at a standstill, leaves the others their share of a process."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from defter.ledger.v1 import posting_pb2

from ledger_server.domain.clock import system_clock
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.engine.reads.ledger import Reads
from ledger_server.rpc.shares import Shares
from ledger_server.store.database import AnyConnection, open_pool
from ledger_server.store.migrate import APPLICATION_ROLE
from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import Ledger
from tests.support.requests import transfer
from tests.support.service import Service, serving
from tests.support.tenant_lock import head_locked, wait_until_lane_waits
from tests.support.wire import refusal

FLOOD = 60
SHARE = 4


def shares_of(service: Service) -> Shares:
    """Return the gates and quotas of a running server."""
    shares = service.server._handlers._under_way.shares
    assert isinstance(shares, Shares)
    return shares


async def two(service: Service) -> tuple[Ledger, Ledger]:
    """Return two tenants with two accounts each, which have both called."""
    flood, quiet = await service.new_ledger("flood"), await service.new_ledger("quiet")
    for ledger in (flood, quiet):
        await ledger.open_house()
        await ledger.open("ann")
    return flood, quiet


async def settled(*tasks: asyncio.Task[Any]) -> None:
    """Wait until all are done, whatever they came to."""
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_tenant_that_stands_still_keeps_nobody_waiting(database_url: str) -> None:
    """Neither other tenants nor its own reads; its calls wait before its lane, and each is decided once."""
    async with serving(database_url, share=SHARE) as service:
        flood, quiet = await two(service)
        async with head_locked(database_url, "flood"):
            first = asyncio.ensure_future(flood.post("house", "ann", 1))
            await wait_until_lane_waits(database_url)
            await quiet.head()  # there is company
            waiting = [asyncio.ensure_future(flood.post("house", "ann", 1)) for _ in range(FLOOD)]
            for number in range(5):
                await quiet.post("house", "ann", 1)
                assert await quiet.posted("ann") == number + 1
                assert await flood.posted("ann") == 0
                assert len(await flood.accounts()) == 2
            assert (await quiet.verify()).sequence == await quiet.head()
            shares = shares_of(service)
            assert shares.writes.in_work <= SHARE + 1
            assert shares.writes.waiting
            assert not any(task.done() for task in waiting)
        await asyncio.gather(first, *waiting)
        assert await flood.posted("ann") == FLOOD + 1
        assert (shares.writes.waiting, shares.writes.in_work, shares.writes.known) == (0, 0, 0)
        for ledger in (flood, quiet):
            await assert_ledger_coherent(ledger)


async def test_calls_that_are_given_up_while_they_wait_leave_nothing(database_url: str) -> None:
    """Their keys are unused, and neither gate nor quota counts them any more."""
    async with serving(database_url, share=SHARE, quota_calls=FLOOD) as service:
        flood, quiet = await two(service)
        async with head_locked(database_url, "flood"):
            first = asyncio.ensure_future(flood.post("house", "ann", 1, key="first"))
            await wait_until_lane_waits(database_url)
            await quiet.head()
            for _ in range(3):
                given_up = [asyncio.ensure_future(flood.post("house", "ann", 1)) for _ in range(FLOOD // 2)]
                while shares_of(service).writes.waiting < FLOOD // 2 - SHARE:
                    await quiet.head()
                for task in given_up:
                    task.cancel()
                await settled(*given_up)
                while shares_of(service).writes.waiting:
                    await quiet.head()
        await first
        await flood.post("house", "ann", 1)
        assert shares_of(service).writes.known == 0
        await assert_ledger_coherent(flood)


async def test_reads_of_one_tenant_leave_connections_to_others(database_url: str) -> None:
    """Though more of them stand still than there are connections."""
    pool = await open_pool(database_url, role=APPLICATION_ROLE, size=4)
    try:
        reads, stuck = Reads(pool, system_clock), asyncio.Event()

        async def stand_still(_: AnyConnection) -> None:
            await stuck.wait()

        async def read(connection: AnyConnection) -> int:
            found: int = await connection.fetchval("SELECT 7")
            return found

        flood, quiet = (tenant_key(TenantId(name)) for name in ("flood", "quiet"))
        standing = [asyncio.ensure_future(reads.run(stand_still, tenant=flood)) for _ in range(FLOOD)]
        for _ in range(5):
            assert await reads.run(read, tenant=quiet) == 7
        assert not any(task.done() for task in standing)
        stuck.set()
        await asyncio.gather(*standing)
        assert await reads.run(read, tenant=flood) == 7
    finally:
        await pool.close()


async def test_heavy_reads_take_turns_and_all_are_answered(database_url: str) -> None:
    """Sixteen verifications and fifty lists at once, two of each at a time; postings go on."""
    async with serving(database_url, share=SHARE) as service:
        flood, quiet = await two(service)
        for _ in range(3):
            await flood.post("house", "ann", 1)
        head = await flood.head()
        verifying = [asyncio.ensure_future(flood.verify()) for _ in range(16)]
        listing = [asyncio.ensure_future(flood.accounts()) for _ in range(50)]
        shares = shares_of(service)
        while not all(task.done() for task in (*verifying, *listing)):
            assert shares.verifications.in_work <= 2
            assert shares.lists.in_work <= 2
            await quiet.post("house", "ann", 1)
        for task in verifying:
            result = task.result()
            assert result.sequence == head
            assert not result.HasField("first_difference")
        assert all(len(task.result()) == 2 for task in listing)
        assert (shares.verifications.known, shares.lists.known) == (0, 0)


async def test_stream_whose_results_nobody_reads_keeps_its_tenant_going(database_url: str) -> None:
    """Its share is free as soon as its items are decided."""
    async with serving(database_url, share=SHARE) as service:
        flood, quiet = await two(service)
        call = flood.stubs.postings.StreamTransactions()
        for number in range(10 * SHARE):
            item = posting_pb2.PostTransactionItem(
                idempotency_key=f"s{number}", transaction=transfer("house", "ann", 1)
            )
            await call.write(posting_pb2.StreamTransactionsRequest(tenant_id="flood", items=[item]))
            await quiet.head()
        await flood.post("house", "ann", 1)
        await call.done_writing()
        results = [result async for each in call for result in each.results]
        assert len(results) == 10 * SHARE
        assert not any(result.HasField("rejection") for result in results)
        assert shares_of(service).writes.known == 0
        await assert_ledger_coherent(flood)


async def test_too_many_waiting_verifications_are_refused_by_name(database_url: str) -> None:
    """With a delay after which to come again; those before them are answered."""
    async with serving(database_url) as service:
        flood, quiet = await two(service)
        shares_of(service).verifications._most_waiting = 2
        shares_of(service).verifications._total = 0  # none is let in for now
        waiting = [asyncio.ensure_future(flood.verify()) for _ in range(2)]
        while shares_of(service).verifications.waiting < 2:
            await quiet.head()
        refused = await refusal(flood.verify())
        assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.reason == "QUOTA_READS_WAITING"
        assert refused.metadata == {"quota": "tenant", "name": "flood", "limit": "2"}
        assert refused.retry_delay_seconds
        for task in waiting:
            task.cancel()
        await settled(*waiting)
