"""Watches and streams of the Python clients end only with an answer, and lose and repeat nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from defter_client import BlockingLedgerClient, Checkpoint, LedgerClient, LedgerError
from defter_client import messages as m
from defter_client.reasons import NotYetRecorded, TenantNotFound
from tests.clients.drivers import DRIVERS, BlockingDriver, Driver
from tests.clients.killing import opening
from tests.clients.scenario import over_http
from tests.clients.stack import Stack
from tests.support.patience import HANG_SECONDS


@pytest.fixture(params=sorted(DRIVERS))
async def way(request: pytest.FixtureRequest, client_stack: Stack) -> Any:
    """Which of the clients, and one of it on a tenant of its own."""
    tenant = f"{request.node.name.partition('[')[0].replace('_', '-')}-{request.param}"[:40].strip("-")
    driver = DRIVERS[request.param](client_stack.target, tenant)
    await driver.call("defter.ledger.v1.TenantService/CreateTenant", m.CreateTenantRequest(), "tenant")
    for account, kind in (("house", m.ACCOUNT_KIND_ASSET), ("ann", m.ACCOUNT_KIND_LIABILITY)):
        await driver.call("defter.ledger.v1.AccountService/OpenAccount", opening(account, kind), account)
    yield driver
    await driver.close()


def item(number: int, amount_minor: int = 1) -> m.PostTransactionItem:
    """Return an item of a stream."""
    legs = (("house", m.DIRECTION_DEBIT), ("ann", m.DIRECTION_CREDIT))
    postings = [
        m.NewPosting(account_id=account, direction=side, amount_minor=amount_minor, currency_code="EUR")
        for account, side in legs
    ]
    posted = m.NewTransaction(type=m.TRANSACTION_TYPE_ADJUSTMENT, postings=postings)
    return m.PostTransactionItem(idempotency_key=f"item-{number}", transaction=posted)


async def test_watch_that_falls_silent_is_begun_anew(way: Driver, client_stack: Stack) -> None:
    """No error tells of a network that is gone; heartbeats that do not come do."""
    watch = way.watch(Checkpoint())
    async with asyncio.timeout(HANG_SECONDS):
        seen = [(await way.take(watch)).sequence for _ in range(3)]
        over_http(client_stack.control, "mute")()
        head = await way.call(
            "defter.ledger.v1.AccountService/OpenAccount", opening("bob", m.ACCOUNT_KIND_LIABILITY), "bob"
        )
        assert head
        seen += [(await way.take(watch)).sequence]
        watch.close()
    assert seen == list(range(1, 5))


async def test_watch_ends_with_an_answer(way: Driver, client_stack: Stack) -> None:
    """A tenant that there is not, and a place that its journal does not have."""
    watch = way.watch("99:")
    with pytest.raises(NotYetRecorded) as raised:
        await way.take(watch)
    assert raised.value.head_sequence is not None
    stranger = type(way)(client_stack.target, "nobody")  # type: ignore[call-arg]  # each of them has both
    with pytest.raises(TenantNotFound):
        await stranger.take(stranger.watch(Checkpoint()))
    await stranger.close()


async def test_watch_is_ended_by_somebody_else(way: Driver) -> None:
    """Who waits for the next record hears that there is none."""
    watch = way.watch(Checkpoint())
    for _ in range(3):
        await way.take(watch)
    waiting = asyncio.to_thread(next, watch, None) if isinstance(way, BlockingDriver) else anext(watch, None)
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0)
    watch.close()
    async with asyncio.timeout(HANG_SECONDS):
        assert await task is None


async def test_refused_item_ends_no_stream(way: Driver) -> None:
    """It has its own result, in its place."""
    items = [
        item(0),
        item(1, amount_minor=0),
        item(2),
        m.PostTransactionItem(transaction=item(3).transaction),
    ]
    results = [result async for result in way.stream(items)]
    assert [result.WhichOneof("outcome") for result in results] == [
        *("transaction", "rejection", "transaction", "transaction")
    ]
    assert [len(result.idempotency_key) for result in results] == [6, 6, 6, 26]


async def test_source_that_fails_ends_the_stream(way: Driver) -> None:
    """Its exception is raised where results are read."""

    def broken() -> Iterator[m.PostTransactionItem]:
        yield item(0)
        raise FileNotFoundError(str(Path("items")))

    async def results() -> None:
        async for result in way.stream(broken()):
            found.extend([result.idempotency_key])

    found: list[str] = []
    with pytest.raises(FileNotFoundError, match="items"):
        await results()
    assert found == ["item-0"]


async def test_reader_that_stops_early_leaves_nothing_behind(way: Driver) -> None:
    """The stream of transactions ends with whoever reads it, also what sends, and the client goes on."""
    before = set(threading.enumerate())
    results = way.stream([item(number) for number in range(2_500)])
    assert (await anext(results)).idempotency_key == "item-0"
    await results.aclose()  # type: ignore[attr-defined]  # it is a generator
    async with asyncio.timeout(HANG_SECONDS):
        while set(threading.enumerate()) - before:  # noqa: ASYNC110  # threads tell nobody when they end
            await asyncio.sleep(0.01)
    answer, _, _ = await way.call(
        "defter.ledger.v1.AccountService/GetBalance", m.GetBalanceRequest(account_id="ann"), ""
    )
    assert answer.balance.posted_balance_minor >= 1  # type: ignore[attr-defined]  # it is a GetBalanceResponse


async def test_item_behind_the_end_of_a_stream_stays_with_its_source(client_stack: Stack) -> None:
    """Whoever stops reading, or whose client is closed, keeps what was not taken."""
    driver = DRIVERS["async"](client_stack.target, "nobody")
    queue: asyncio.Queue[m.PostTransactionItem] = asyncio.Queue()

    async def source() -> AsyncIterator[m.PostTransactionItem]:
        while True:
            yield await queue.get()

    tasks = asyncio.all_tasks()
    async with asyncio.timeout(HANG_SECONDS):
        results = driver.stream(source())  # type: ignore[arg-type]  # this client takes both kinds
        queue.put_nowait(item(0))
        assert (await anext(results)).HasField("rejection")
        await results.aclose()  # type: ignore[attr-defined]  # it is a generator
        while asyncio.all_tasks() - tasks:  # noqa: ASYNC110  # gRPC's tasks tell nobody when they end
            await asyncio.sleep(0)
    queue.put_nowait(item(1))
    assert queue.qsize() == 1
    await driver.close()


async def test_stream_ends_with_its_client(way: Driver) -> None:
    """It is not begun anew by whoever goes on reading, and tells the keys of what has no result."""
    results = way.stream([item(number) for number in range(2_500)])
    await anext(results)
    await way.close()

    async def rest() -> None:
        async for _ in results:
            pass

    with pytest.raises(LedgerError) as raised:
        await rest()
    assert raised.value.outcome_unknown
    assert raised.value.keys
    assert set(raised.value.keys) <= {f"item-{number}" for number in range(2_500)}


async def test_answers_that_are_cancelled_are_no_whole(client_stack: Stack) -> None:
    """Half a verification is an error and no end, on either stack."""
    request = m.VerifyJournalRequest(tenant_id="nobody")
    async with LedgerClient(client_stack.target) as ledger:
        stream = ledger.journal.verify_journal(request)
        stream.cancel()
        with pytest.raises(LedgerError):
            await anext(stream)

    def blocking() -> None:
        with BlockingLedgerClient(client_stack.target) as ledger:
            stream = ledger.journal.verify_journal(request)
            stream.cancel()
            next(stream)

    with pytest.raises(LedgerError):
        await asyncio.to_thread(blocking)
