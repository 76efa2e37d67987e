"""Own the proof that a call leaves nothing behind, however it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import journal_pb2, posting_pb2

from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.requests import transfer
from tests.support.service import Service

CALLS = 12
LARGE = 200_000
POST = "/defter.ledger.v1.PostingService/PostTransaction"
Call = Callable[[Service, Ledger, int], Awaitable[object]]


async def ok(_: Service, ledger: Ledger, number: int) -> object:
    """Post, and get the answer."""
    return await ledger.submit(transfer("house", "ann", 1), key=f"ok-{number}")


async def refused(service: Service, ledger: Ledger, _: int) -> object:
    """Send a large request that is refused before it is decided."""
    post: Any = service.channel.unary_unary(POST)
    request = ledger.post_request(transfer("house", "ann", 1), key="z" * LARGE)
    return await post(request.SerializeToString())


async def broken(service: Service, _: Ledger, __: int) -> object:
    """Send bytes that are no message."""
    post: Any = service.channel.unary_unary(POST)
    return await post(b"\xff" * LARGE)


async def late(_: Service, ledger: Ledger, number: int) -> object:
    """Give up before the answer."""
    request = ledger.post_request(transfer("house", "ann", 1), key=f"late-{number}")
    return await ledger.stubs.postings.PostTransaction(request, timeout=0.0001)


async def watch(_: Service, ledger: Ledger, __: int) -> object:
    """Watch, and give up after the first record."""
    watching = ledger.stubs.journal.WatchJournal(journal_pb2.WatchJournalRequest(tenant_id=ledger.tenant_id))
    await watching.read()
    watching.cancel()
    return await watching.code()


async def half_a_stream(_: Service, ledger: Ledger, number: int) -> object:
    """Open a stream, get one result and give up."""
    stream = ledger.stubs.postings.StreamTransactions()
    item = posting_pb2.PostTransactionItem(
        idempotency_key=f"stream-{number}", transaction=transfer("house", "ann", 1)
    )
    await stream.write(posting_pb2.StreamTransactionsRequest(tenant_id=ledger.tenant_id, items=[item]))
    await stream.read()
    stream.cancel()
    return await stream.code()


async def connection_cut(service: Service, ledger: Ledger, __: int) -> object:
    """Watch over a connection of its own that is closed."""
    channel = service.open_channel()
    other = service.ledger(ledger.tenant_id)
    watching = other.stubs.journal.WatchJournal(journal_pb2.WatchJournalRequest(tenant_id=ledger.tenant_id))
    await watching.read()
    service._channels.remove(channel)
    await channel.close()
    return None


@pytest.mark.parametrize("call", [ok, refused, broken, late, watch, half_a_stream, connection_cut])
async def test_call_leaves_nothing(server: Service, ledger: Ledger, call: Call) -> None:
    """Counts are 0, the server keeps no call, and no request stays, without a search for cycles."""
    await ledger.open("ann")
    gc.collect()
    gc.disable()
    try:
        for number in range(CALLS):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call(server, ledger, number)
        handlers = server.server._handlers
        async with asyncio.timeout(HANG_SECONDS):
            while handlers.unsent:  # noqa: ASYNC110  # a count
                await asyncio.sleep(0.01)
        for _ in range(CALLS):
            await ledger.tenant()
        left = [each for each in gc.get_objects() if isinstance(each, posting_pb2.PostTransactionRequest)]
        assert [each.ByteSize() for each in left if each.ByteSize() > LARGE // 2] == []
        assert len(handlers._under_way._ended) <= 2
    finally:
        gc.enable()
