"""Connections end after a while, so that callers find new processes; no call and no stream ends with them."""

from __future__ import annotations

import asyncio

import grpc

from defter_client import LedgerClient
from defter_client import messages as m
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.service import serving
from tests.support.tcp_proxy import tcp_proxy

CALLERS = 8
CONNECTIONS = 4


async def test_connections_are_ended_and_nothing_with_them(database_url: str) -> None:
    """Callers that never try again see no failure, and a watch goes on where it was."""
    async with (
        serving(database_url, connection_age_seconds=1) as service,
        tcp_proxy(service.server.port) as proxy,
        grpc.aio.insecure_channel(proxy.target) as channel,
        LedgerClient(proxy.target, tenant="casino") as watcher,
        asyncio.timeout(HANG_SECONDS),
    ):
        ledger = Ledger(channel, "casino", key_prefix="key")
        await ledger.create()
        await ledger.open_house()
        await ledger.open("ann")
        breaks: list[Exception] = []
        posted_count = 0

        async def post() -> None:
            nonlocal posted_count
            while proxy.connection_count < CONNECTIONS:
                await ledger.post("house", "ann", 1)
                posted_count += 1

        async def follow() -> int:
            async for entry in watcher.watch(on_break=breaks.append):
                if entry.record.transaction_posted.reference == "last":
                    return entry.sequence
            raise AssertionError

        following = asyncio.create_task(follow())
        await asyncio.gather(*(post() for _ in range(CALLERS)))
        legs = [("house", m.DIRECTION_DEBIT), ("ann", m.DIRECTION_CREDIT)]
        last = m.NewTransaction(
            type=m.TRANSACTION_TYPE_ADJUSTMENT,
            reference="last",
            postings=[
                m.NewPosting(account_id=account, direction=side, amount_minor=1, currency_code="EUR")
                for account, side in legs
            ],
        )
        await watcher.postings.post_transaction(m.PostTransactionRequest(transaction=last))

        assert await following > posted_count
        assert await ledger.posted("ann") == posted_count + 1
        assert not breaks
