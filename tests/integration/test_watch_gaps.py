"""Own what a watch does with a journal that somebody took records out of: it ends, and skips none."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from defter.ledger.v1 import journal_pb2

from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import run_sql

TAKE_OUT = "SET session_replication_role = replica; DELETE FROM journal WHERE sequence IN ({})"


async def watched(ledger: Ledger, after: int) -> tuple[list[int], grpc.StatusCode]:
    """Watch from a record on; return the sequences that came, and how the watch ended."""
    seen: list[int] = []
    request = journal_pb2.WatchJournalRequest(tenant_id=ledger.tenant_id, after_sequence=after)
    try:
        async with asyncio.timeout(HANG_SECONDS):
            async for response in ledger.stubs.journal.WatchJournal(request):
                seen += [entry.record.sequence for entry in response.entries]
    except grpc.aio.AioRpcError as error:
        return seen, error.code()
    raise AssertionError


@pytest.mark.parametrize(("after", "missing"), [(0, 1), (0, 4), (3, 4), (3, 6), (5, 6), (0, 7), (5, 7)])
async def test_watch_ends_at_a_record_that_is_not_there(
    database_url: str, ledger: Ledger, after: int, missing: int
) -> None:
    """Whether it is the first that is asked for, one in between or the newest: nothing is skipped."""
    for name in ("ann", "bob", "cid", "dee", "eve", "fay"):
        await ledger.open(name)
    tenant = await ledger.tenant()
    run_sql(database_url, TAKE_OUT.format(missing + tenant.head_sequence - 7))

    seen, code = await watched(ledger, after + tenant.head_sequence - 7)

    offset = tenant.head_sequence - 7
    assert seen == list(range(after + 1 + offset, missing + offset))
    assert code == grpc.StatusCode.INTERNAL


async def test_watch_that_waits_ends_when_a_later_record_comes_without_the_next(
    database_url: str, ledger: Ledger
) -> None:
    """Another process writes on behind the gap; who waits in front of it is not told of what is behind."""
    head = (await ledger.tenant()).head_sequence
    watching = asyncio.ensure_future(watched(ledger, head))
    await asyncio.sleep(0)
    run_sql(
        database_url,
        "SET session_replication_role = replica; INSERT INTO journal"
        " SELECT (jsonb_populate_record(j, jsonb_build_object('sequence', j.sequence + 2,"
        " 'idempotency_key', 'another'))).*"
        f" FROM journal j WHERE sequence = {head}",
    )

    assert await watching == ([], grpc.StatusCode.INTERNAL)
