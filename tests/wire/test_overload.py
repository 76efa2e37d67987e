"""Own what happens when the ledger can't take or finish work now: nothing is decided in secret."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import posting_pb2

from ledger_server.embedded_postgres import EmbeddedPostgres
from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import Databases, running_postgres
from tests.support.service import Service, serving
from tests.support.tenant_lock import cut_connections, head_locked, poll, wait_until_lane_waits
from tests.support.wire import refusal

CAPACITY = 3


@pytest.fixture
async def narrow(database_url: str) -> AsyncIterator[Ledger]:
    """A ledger whose lane takes no more than three requests."""
    async with serving(database_url, lane_capacity=CAPACITY) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        yield ledger


async def test_post_into_full_lane_is_refused_with_retry_delay(database_url: str, narrow: Ledger) -> None:
    """The refusal says when to come back; the key is unused, and later it is taken."""
    async with head_locked(database_url, narrow.tenant_id):
        waiting = [asyncio.ensure_future(narrow.post("house", "ann", 1)) for _ in range(CAPACITY)]
        await wait_until_lane_waits(database_url)
        refused = await refusal(narrow.post("house", "ann", 1, key="late"))
    await asyncio.gather(*waiting)
    unused = await refusal(narrow.outcome("PostTransaction", "late"))

    await narrow.post("house", "ann", 1, key="late")

    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.reason == "LANE_FULL"
    assert refused.metadata == {"tenant_id": narrow.tenant_id}
    assert refused.retry_delay_seconds is not None
    assert refused.retry_delay_seconds > 0
    assert unused.reason == "OUTCOME_NOT_FOUND"
    assert await narrow.posted("ann") == CAPACITY + 1


async def test_fill_lane_of_one_tenant_leaves_the_others_free(database_url: str, narrow: Ledger) -> None:
    """A tenant that waits keeps nobody else waiting."""
    other = Ledger(narrow.channel, "other")
    await other.create()
    await other.open_house()
    await other.open_house("vault")
    async with head_locked(database_url, narrow.tenant_id):
        waiting = [asyncio.ensure_future(narrow.post("house", "ann", 1)) for _ in range(CAPACITY)]
        await wait_until_lane_waits(database_url)

        posted = await other.post("house", "vault", 1)

        assert posted.sequence == 4
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)


async def test_read_while_lane_waits_is_answered(database_url: str, ledger: Ledger) -> None:
    """Reads don't queue behind writes, and see what is committed."""
    await ledger.open("ann")
    async with head_locked(database_url, ledger.tenant_id):
        waiting = asyncio.ensure_future(ledger.post("house", "ann", 1))
        await wait_until_lane_waits(database_url)

        assert await ledger.posted("ann") == 0
        assert await ledger.head() == 3
    await waiting
    assert await ledger.posted("ann") == 1


async def test_post_whose_deadline_passed_is_not_begun(database_url: str, ledger: Ledger) -> None:
    """Work that waited in the queue beyond its deadline leaves its key unused."""
    await ledger.open("ann")
    request = ledger.post_request(ledger.transfer_item("house", "ann", 5).transaction, key="late")
    async with head_locked(database_url, ledger.tenant_id):
        first = asyncio.ensure_future(ledger.post("house", "ann", 1))
        await wait_until_lane_waits(database_url)
        hurried = ledger.stubs.postings.PostTransaction(request, timeout=0.2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hurried
        # The server counts from the moment at which the call came, so its deadline ends after the caller's.
        over = asyncio.get_running_loop().time() + 1
        while asyncio.get_running_loop().time() < over:
            await ledger.head()
    await first

    # The lane works in order: once this one is through, the hurried one has had its turn.
    await ledger.post("house", "ann", 1)
    unused = await refusal(ledger.outcome("PostTransaction", "late"))

    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert unused.reason == "OUTCOME_NOT_FOUND"
    assert await ledger.posted("ann") == 2
    await ledger.stubs.postings.PostTransaction(request)
    assert await ledger.posted("ann") == 7


async def test_cancel_post_in_queue_is_not_begun(database_url: str, ledger: Ledger) -> None:
    """A caller that went away before its turn has asked for nothing."""
    await ledger.open("ann")
    async with head_locked(database_url, ledger.tenant_id):
        first = asyncio.ensure_future(ledger.post("house", "ann", 1))
        await wait_until_lane_waits(database_url)
        request = ledger.post_request(ledger.transfer_item("house", "ann", 5).transaction, key="gone")
        call = ledger.stubs.postings.PostTransaction(request)
        # A read over the same connection: when it is answered, the post before it has arrived.
        await ledger.tenant()
        call.cancel()
        await ledger.tenant()
    await first
    await ledger.post("house", "ann", 1)

    unused = await refusal(ledger.outcome("PostTransaction", "gone"))

    assert unused.reason == "OUTCOME_NOT_FOUND"
    assert await ledger.posted("ann") == 2


async def test_post_while_draining_is_refused(database_url: str, server: Service, ledger: Ledger) -> None:
    """What was begun is answered; what comes over an open stream meanwhile is turned away."""
    await ledger.open("ann")
    stream = ledger.stubs.postings.StreamTransactions()
    await stream.write(stream_message(ledger, "before"))
    await stream.read()
    async with head_locked(database_url, ledger.tenant_id):
        begun = asyncio.ensure_future(ledger.post("house", "ann", 1))
        await wait_until_lane_waits(database_url)
        await stream.write(stream_message(ledger, "begun"))  # so that the stream has something to wait for
        await ledger.head()
        draining = asyncio.ensure_future(server.server.drain())
        await poll(
            database_url,
            "SELECT 1 WHERE false",
            unless=lambda: server.server.ledger._draining,
        )
        await stream.write(stream_message(ledger, "after"))
        reading = asyncio.ensure_future(read_all(stream))
    refused = await refusal(reading)
    posted = await begun
    await draining

    assert refused.code == grpc.StatusCode.UNAVAILABLE
    assert refused.reason == "SHUTTING_DOWN"
    assert refused.metadata == {}
    assert posted.transaction_id
    await server.restart()
    again = server.ledger()
    assert await again.posted("ann") == 3
    assert (await again.outcome("PostTransaction", "begun")).record.HasField("transaction_posted")
    assert (await refusal(again.outcome("PostTransaction", "after"))).reason == "OUTCOME_NOT_FOUND"


def stream_message(ledger: Ledger, key: str) -> posting_pb2.StreamTransactionsRequest:
    """Return a message with one item."""
    item = ledger.transfer_item("house", "ann", 1, key=key)
    return posting_pb2.StreamTransactionsRequest(tenant_id=ledger.tenant_id, items=[item])


async def read_all(stream: grpc.aio.StreamStreamCall[Any, Any]) -> None:
    """Read a stream to its end."""
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_cut_database_connections_is_not_noticed_by_writers(database_url: str, ledger: Ledger) -> None:
    """A lane whose connection broke tries again by itself, with the same outcome."""
    await ledger.open("ann")

    for _ in range(5):
        await cut_connections(database_url)
        await ledger.post("house", "ann", 1)

    assert await ledger.posted("ann") == 5
    await assert_ledger_coherent(ledger)


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that a test may kill."""
    with running_postgres(durable=True) as server:
        yield server


async def _until_answered(ledger: Ledger) -> None:
    """Send the same posting as the refusal asks for: a database that comes back may take its time."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                await ledger.post("house", "ann", 1, key="lost")
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            else:
                return


async def test_post_without_database_is_refused(own_postgres: EmbeddedPostgres) -> None:
    """The caller is told that the outcome is unknown; when the database is back, it is asked for."""
    databases = Databases(own_postgres)
    await asyncio.to_thread(databases.make_template)
    with databases.fresh() as url:
        async with serving(url, store_patience_seconds=1) as service:
            ledger = await service.new_ledger()
            await ledger.open_house()
            await ledger.open("ann")
            await asyncio.to_thread(own_postgres.kill)

            written = await refusal(ledger.post("house", "ann", 1, key="lost"))
            read = await refusal(ledger.balance("ann"))

            assert written.reason == read.reason == "STORE_UNAVAILABLE"
            assert written.code == read.code == grpc.StatusCode.UNAVAILABLE
            await asyncio.to_thread(own_postgres.start)
            await _until_answered(ledger)
            assert await ledger.posted("ann") == 1
            await assert_ledger_coherent(ledger)
