"""Own bounds in bytes on the wire: what has no room is refused by name, who reads nothing is dropped."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import journal_pb2, posting_pb2
from defter.payments.v1 import payment_pb2

from tests.support.cashier import Cashier
from tests.support.coherence import assert_chain_unbroken, assert_ledger_coherent
from tests.support.fake_provider import fake_providers
from tests.support.ledger import Ledger
from tests.support.requests import CREDIT, DEBIT, leg, transaction
from tests.support.service import Service, serving
from tests.support.tenant_lock import head_locked, poll, wait_until_lane_waits
from tests.support.wire import Stubs, refusal

KIB = 1024
UNKNOWN = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
# As small as HTTP/2 lets a reader's window be left, so that a stream that nobody reads fills up at once.
SMALL_WINDOW = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 64 * KIB),
    ("grpc.use_local_subchannel_pool", 1),
)


async def cashier_of(service: Service, tenant_id: str = "casino") -> Cashier:
    """Return the payments of a new tenant."""
    ledger = await service.new_ledger(tenant_id)
    await ledger.open_house()
    return Cashier(ledger)


def large(cashier: Cashier, size: int = 200 * KIB) -> payment_pb2.ProviderEvent:
    """Return an event with a payload of that size."""
    return cashier.event(UNKNOWN, payload=os.urandom(size))


@pytest.mark.parametrize(
    ("bound", "reason"),
    [
        ({"lane_capacity_bytes": 300 * KIB, "share": 1_000}, "LANE_FULL"),
        ({"request_bytes": 500 * KIB, "share": 1_000}, "SERVER_FULL"),
    ],
)
async def test_large_request_beside_another_is_refused_with_retry_delay(
    database_url: str, bound: dict[str, Any], reason: str
) -> None:
    """Two have too many bytes together; a small one finds room, and later the large one does."""
    async with serving(database_url, providers=fake_providers(), **bound) as service:
        cashier = await cashier_of(service)
        other = await cashier_of(service, "other")
        event = large(cashier)
        async with head_locked(database_url, "casino"):
            waiting = asyncio.ensure_future(cashier.ingest(large(cashier)))
            await wait_until_lane_waits(database_url)
            refused = await refusal(cashier.ingest(event))
            await other.ledger.open("ann")
        await waiting

        [taken] = await cashier.ingest(event)

        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        assert refused.metadata == ({"tenant_id": "casino"} if reason == "LANE_FULL" else {})
        assert refused.retry_delay_seconds is not None
        assert refused.retry_delay_seconds > 0
        assert not taken.duplicate
        await assert_ledger_coherent(cashier.ledger)


async def test_many_large_events_at_once_are_stored_once_or_refused_by_name(database_url: str) -> None:
    """Whoever was refused comes again; in the end each event is there, with its payload, in one piece."""
    bounds: dict[str, Any] = {"lane_capacity_bytes": 2048 * KIB, "request_bytes": 4096 * KIB}
    async with serving(database_url, providers=fake_providers(), **bounds) as service:
        cashier = await cashier_of(service)
        deliveries = [[large(cashier, 300 * KIB) for _ in range(3)] for _ in range(12)]
        reasons: set[str] = set()

        async def deliver(events: list[payment_pb2.ProviderEvent]) -> list[payment_pb2.RecordedProviderEvent]:
            while True:
                try:
                    return [each.event for each in await cashier.ingest(*events)]
                except grpc.aio.AioRpcError as error:
                    reasons.add((await refusal(_raise(error))).reason)

        stored = await asyncio.gather(*(deliver(events) for events in deliveries))

        assert reasons <= {"LANE_FULL", "SERVER_FULL"}
        for events, found in zip(deliveries, stored, strict=True):
            for event, recorded in zip(events, found, strict=True):
                read = await cashier.stored_event(recorded.provider_event_id)
                assert read.event.payload == event.payload
        assert len(await cashier.stored_events()) == 36
        await assert_ledger_coherent(cashier.ledger)


async def _raise(error: Exception) -> None:
    raise error


async def test_replay_event_keeps_its_payload(cashier: Cashier) -> None:
    """An event that is applied again is decided and written without its payload, which stays as it was."""
    event = cashier.event(
        payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED, amount_minor=5, payload=b"whole", payment_ref="late"
    )
    [parked] = await cashier.ingest(event)

    await cashier.replay(parked.event.provider_event_id)

    assert (await cashier.stored_event(parked.event.provider_event_id)).event.payload == b"whole"
    await assert_ledger_coherent(cashier.ledger)


@pytest.fixture
async def hasty(database_url: str) -> AsyncIterator[Service]:
    """A server that drops who reads nothing for two seconds."""
    async with serving(database_url, follower_seconds=2) as service:
        yield service


async def bulky_ledger(service: Service, count: int) -> Ledger:
    """Return a ledger with so many records of 60 KiB."""
    ledger = await service.new_ledger()
    await ledger.open_house()
    await ledger.open("ann")
    texts = {f"{number:02}": "💣" * 470 for number in range(32)}
    for _ in range(count):
        await ledger.submit(transaction(leg("house", DEBIT, 1), leg("ann", CREDIT, 1), metadata=texts))
    return ledger


@pytest.mark.parametrize("bytes_only", [False, True])
async def test_watch_that_is_not_read_is_dropped_and_resumes_without_gap(
    database_url: str, hasty: Service, bytes_only: bool
) -> None:
    """What was sent before comes first, then the reason and from where to watch again."""
    ledger = await bulky_ledger(hasty, 40)
    watches = hasty.server._watches
    request = journal_pb2.WatchJournalRequest(tenant_id=ledger.tenant_id, bytes_only=bytes_only)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hasty.server.port}", SMALL_WINDOW) as channel:
        call = Stubs.over(channel).journal.WatchJournal(request)
        await call.initial_metadata()
        await until(database_url, lambda: not watches._tails)
        found: list[journal_pb2.JournalEntry] = []

        refused = await refusal(read_into(call, lambda response: found.extend(response.entries)))

    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "READER_TOO_SLOW")
    assert refused.metadata == {"after_sequence": str(found[-1].sequence)}
    head = await ledger.head()
    assert found[-1].sequence < head
    again = journal_pb2.WatchJournalRequest(
        tenant_id=ledger.tenant_id, after_sequence=found[-1].sequence, bytes_only=bytes_only
    )
    async for response in ledger.stubs.journal.WatchJournal(again):
        found.extend(response.entries)
        if found[-1].sequence == head:
            break
    assert_chain_unbroken(found)
    await until(database_url, lambda: not watches._budget.used)


async def test_watchers_that_read_nothing_keep_little_in_memory(database_url: str) -> None:
    """However many they are and however much there is to send: each has one small message on its way."""
    async with serving(database_url, follower_seconds=60) as service:
        ledger = await bulky_ledger(service, 40)
        budget = service.server._watches._budget
        request = journal_pb2.WatchJournalRequest(tenant_id=ledger.tenant_id, bytes_only=True)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}", SMALL_WINDOW) as channel:
            calls = [Stubs.over(channel).journal.WatchJournal(request) for _ in range(20)]
            for call in calls:
                await call.initial_metadata()
            await until(database_url, lambda: budget.used >= 20 * 55 * KIB)

            assert budget.used <= 20 * 65 * KIB
            assert await ledger.posted("ann") == 40
        await until(database_url, lambda: not budget.used)


async def test_stream_that_is_not_read_is_dropped_and_sent_again_has_one_effect(
    database_url: str, hasty: Service
) -> None:
    """It holds no bytes of the process any more; with the same keys nothing is posted twice."""
    ledger = await bulky_ledger(hasty, 0)
    budget = hasty.server._streams.budget
    messages = [
        posting_pb2.StreamTransactionsRequest(
            tenant_id=ledger.tenant_id,
            items=[ledger.transfer_item("house", "ann", 1) for _ in range(100)],
        )
        for _ in range(30)
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hasty.server.port}", SMALL_WINDOW) as channel:
        call = Stubs.over(channel).postings.StreamTransactions()
        sending = asyncio.ensure_future(send(call, messages))
        refused = await refusal(read_late(call, database_url, lambda: not hasty.server._handlers.under_way))
        sending.cancel()

    assert refused.reason == "READER_TOO_SLOW"
    await until(database_url, lambda: not budget.used)
    for message in messages:
        await ledger.stream(*message.items)
    assert await ledger.posted("ann") == 3_000
    await assert_ledger_coherent(ledger)


async def test_results_that_are_not_read_keep_the_room_of_their_requests(database_url: str) -> None:
    """They are larger still: so what many callers leave unread is bounded, and the next ones wait."""
    async with (
        serving(database_url) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}", SMALL_WINDOW) as channel,
    ):
        ledger = await bulky_ledger(service, 0)
        budget = service.server._streams.budget
        items = [ledger.transfer_item("house", "ann", 1) for _ in range(1_000)]
        message = posting_pb2.StreamTransactionsRequest(tenant_id=ledger.tenant_id, items=items)
        call = Stubs.over(channel).postings.StreamTransactions()
        await call.write(message)
        await poll(database_url, "SELECT 1 FROM tenants WHERE sequence > 1000")
        assert budget.used == message.ByteSize()
        await call.done_writing()
        found = 0
        while (response := await call.read()) is not grpc.aio.EOF:
            assert isinstance(response, posting_pb2.StreamTransactionsResponse)
            assert response.ByteSize() < 256 * KIB
            found += len(response.results)
        assert found == 1_000
        await until(database_url, lambda: not budget.used)


@pytest.mark.parametrize("leave", ["cancel", "hang up"])
@pytest.mark.parametrize("kind", ["watch", "stream"])
async def test_leave_stream_that_was_not_read_is_no_fault_of_the_server(
    database_url: str,
    kind: str,
    leave: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The status that waited for the reader can't be sent any more: the log has no error and no traceback."""
    async with serving(database_url, follower_seconds=2) as service:
        ledger = await bulky_ledger(service, 40 if kind == "watch" else 0)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{service.server.port}", SMALL_WINDOW)
        stubs = Stubs.over(channel)
        call: Any
        sending: asyncio.Future[None] | None = None
        if kind == "watch":
            call = stubs.journal.WatchJournal(journal_pb2.WatchJournalRequest(tenant_id=ledger.tenant_id))
        else:
            call = stubs.postings.StreamTransactions()
            messages = [
                posting_pb2.StreamTransactionsRequest(
                    tenant_id=ledger.tenant_id,
                    items=[ledger.transfer_item("house", "ann", 1) for _ in range(100)],
                )
                for _ in range(30)
            ]
            sending = asyncio.ensure_future(send(call, messages))
        await call.initial_metadata()
        await until(database_url, lambda: not service.server._handlers.under_way)

        if leave == "cancel":
            call.cancel()
        await channel.close()
        if sending is not None:
            await asyncio.gather(sending, return_exceptions=True)

    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []
    assert "Traceback" not in "".join(capfd.readouterr())


async def send(
    call: grpc.aio.StreamStreamCall[Any, Any], messages: list[posting_pb2.StreamTransactionsRequest]
) -> None:
    """Send as long as somebody takes it."""
    for message in messages:
        await call.write(message)


async def read_late(
    call: grpc.aio.StreamStreamCall[Any, Any], database_url: str, dropped: Callable[[], bool]
) -> None:
    """Read a stream to its end, but not before the server has given it up."""
    await call.initial_metadata()
    await until(database_url, dropped)
    while await call.read() is not grpc.aio.EOF:
        pass


async def read_into(call: grpc.aio.UnaryStreamCall[Any, Any], take: Callable[[Any], None]) -> None:
    """Read a stream to its end."""
    async for response in call:
        take(response)


async def until(database_url: str, done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    await poll(database_url, "SELECT 1 WHERE false", unless=done)
    assert done()
