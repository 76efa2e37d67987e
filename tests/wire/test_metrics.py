"""Own what the metrics say of RPCs: every call is counted once, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from defter.ledger.v1 import journal_pb2
from prometheus_client import REGISTRY

from tests.support.ledger import Ledger
from tests.support.tenant_lock import WAIT_SECONDS, head_locked, wait_until_lane_waits
from tests.support.wire import refusal


def count(method: str, code: str) -> float:
    """Return how many calls of a method have ended with a code."""
    labels = {
        "rpc_system_name": "grpc",
        "rpc_method": method,
        "rpc_response_status_code": code,
        "error_type": "",
    }
    return REGISTRY.get_sample_value("rpc_server_call_duration_seconds_count", labels) or 0


async def until(reached: Callable[[], bool], look: Callable[[], Awaitable[object]]) -> None:
    """Make round trips until something has come about."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not reached():
            await look()


async def test_refuse_call_times_it_as_well(ledger: Ledger) -> None:
    """What callers wait for in vain is what an operator wants to see."""
    method = "defter.ledger.v1.AccountService/GetBalance"
    refused = count(method, "NOT_FOUND")

    await refusal(ledger.balance("nobody"))
    # A caller may have its answer before the server has taken the time.
    await until(lambda: count(method, "NOT_FOUND") > refused, ledger.tenant)

    assert count(method, "NOT_FOUND") == refused + 1


async def test_cancel_call_counts_and_times_it(database_url: str, ledger: Ledger) -> None:
    """A caller that gives up leaves a trace."""
    await ledger.open("ann")
    method = "defter.ledger.v1.PostingService/PostTransaction"
    cancelled = count(method, "CANCELLED")
    async with head_locked(database_url, ledger.tenant_id):
        call = asyncio.ensure_future(ledger.post("house", "ann", 1))
        await wait_until_lane_waits(database_url)

        call.cancel()
        await until(lambda: count(method, "CANCELLED") > cancelled, ledger.tenant)

    assert count(method, "CANCELLED") == cancelled + 1


async def test_cancel_watch_counts_it_as_cancelled(ledger: Ledger) -> None:
    """Each of these streams ends so: it is no success."""
    method = "defter.ledger.v1.JournalService/WatchJournal"
    cancelled, succeeded = count(method, "CANCELLED"), count(method, "OK")
    watch = ledger.stubs.journal.WatchJournal(
        journal_pb2.WatchJournalRequest(tenant_id=ledger.tenant_id, heartbeat_seconds=300)
    )
    await anext(aiter(watch))

    watch.cancel()
    await until(lambda: count(method, "CANCELLED") > cancelled, ledger.tenant)

    assert count(method, "CANCELLED") == cancelled + 1
    assert count(method, "OK") == succeeded
