"""Own what StreamTransactions promises: order, one result for each item, and back-pressure."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence

import grpc
import pytest
from defter.ledger.v1 import error_pb2, posting_pb2

from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.requests import CREDIT, DEBIT, item, leg, transaction, transfer
from tests.support.service import Service, serving
from tests.support.tenant_lock import head_locked, poll, wait_until_lane_waits
from tests.support.wire import MIB, refusal

# Looks at the database without any progress of the sender after which it counts as stopped.
CALM_LOOKS = 300


def message(ledger: Ledger, *items: posting_pb2.PostTransactionItem) -> posting_pb2.StreamTransactionsRequest:
    """Return one message of a stream."""
    return posting_pb2.StreamTransactionsRequest(tenant_id=ledger.tenant_id, items=items)


async def send(
    ledger: Ledger, messages: Sequence[posting_pb2.StreamTransactionsRequest]
) -> list[posting_pb2.PostTransactionResult]:
    """Send all messages and return all results."""
    call = ledger.stubs.postings.StreamTransactions(iter(messages))
    return [result async for answer in call for result in answer.results]


async def test_stream_many_items_answers_in_their_order(ledger: Ledger) -> None:
    """Messages of several sizes, one after the other: one result each, in order."""
    await ledger.open("ann")
    sizes = [1, 7, 1000, 3, 1, 200]
    messages = [
        message(ledger, *(ledger.transfer_item("house", "ann", 1) for _ in range(size))) for size in sizes
    ]

    results = await send(ledger, messages)

    keys = [item.idempotency_key for one in messages for item in one.items]
    assert [result.idempotency_key for result in results] == keys
    sequences = [result.transaction.sequence for result in results]
    assert sequences == sorted(sequences)
    assert await ledger.posted("ann") == sum(sizes)
    await assert_ledger_coherent(ledger)


async def test_stream_malformed_item_refuses_it_alone(ledger: Ledger) -> None:
    """What is wrong with one item is told in its place, and the stream goes on."""
    await ledger.open("ann")
    good = [ledger.transfer_item("house", "ann", 1) for _ in range(4)]
    bad = [
        ledger.transfer_item("house", "ann", 0, key="zero"),
        posting_pb2.PostTransactionItem(transaction=transfer("house", "ann", 1)),
        posting_pb2.PostTransactionItem(idempotency_key="empty"),
    ]

    results = await send(
        ledger,
        [
            message(ledger, good[0], bad[0], good[1]),
            message(ledger, bad[1]),
            message(ledger, bad[2], good[2]),
            message(ledger, good[3]),
        ],
    )

    reasons = [error_pb2.ErrorReason.Name(result.rejection.reason) for result in results]
    fine = "ERROR_REASON_UNSPECIFIED"
    assert reasons == [
        fine,
        "ERROR_REASON_AMOUNT_NOT_POSITIVE",
        fine,
        "ERROR_REASON_IDEMPOTENCY_KEY_MISSING",
        "ERROR_REASON_FIELD_MISSING",
        fine,
        fine,
    ]
    assert await ledger.posted("ann") == 4
    unused = await refusal(ledger.outcome("PostTransaction", "zero"))
    assert unused.reason == "OUTCOME_NOT_FOUND"


async def test_stream_refused_item_leaves_the_others(ledger: Ledger) -> None:
    """Each item is decided by itself, against what those before it left."""
    await ledger.open("ann")
    await ledger.fund("ann", 5)

    results = await ledger.stream(
        ledger.transfer_item("ann", "house", 4),
        ledger.transfer_item("ann", "house", 4),
        ledger.transfer_item("ann", "house", 1),
    )

    assert [one.WhichOneof("outcome") for one in results] == [
        "transaction",
        "rejection",
        "transaction",
    ]
    assert results[1].rejection.reason == error_pb2.ERROR_REASON_INSUFFICIENT_FUNDS


async def test_stream_answers_before_sender_has_finished(ledger: Ledger) -> None:
    """The stream is a conversation: a result comes while the stream is open."""
    await ledger.open("ann")
    call = ledger.stubs.postings.StreamTransactions()
    first = message(ledger, ledger.transfer_item("house", "ann", 1))
    second = message(ledger, ledger.transfer_item("ann", "house", 1))

    await call.write(first)
    answer = await call.read()
    await call.write(second)
    later = await call.read()
    await call.done_writing()

    assert isinstance(answer, posting_pb2.StreamTransactionsResponse)
    assert isinstance(later, posting_pb2.StreamTransactionsResponse)
    assert later.results[0].transaction.sequence == answer.results[0].transaction.sequence + 1
    assert await call.code() == grpc.StatusCode.OK


async def test_stream_to_two_tenants_is_refused_after_first_results(server: Service, ledger: Ledger) -> None:
    """A stream belongs to one tenant; what was posted before stays posted and is answered."""
    await ledger.open("ann")
    other = await server.new_ledger("other")
    call = ledger.stubs.postings.StreamTransactions(
        iter(
            [
                message(ledger, ledger.transfer_item("house", "ann", 1)),
                message(other, other.transfer_item("house", "ann", 1)),
            ]
        )
    )
    results: list[posting_pb2.PostTransactionResult] = []

    async def read() -> None:
        async for answer in call:
            results.extend(answer.results)

    refused = await refusal(read())

    assert (refused.reason, refused.metadata) == ("FIELD_MALFORMED", {"field": "tenant_id"})
    assert [one.HasField("transaction") for one in results] == [True]
    assert await other.head() == 1


@pytest.mark.parametrize("count", [0, 1001])
async def test_stream_message_of_wrong_size_ends_stream(ledger: Ledger, count: int) -> None:
    """A message has 1 to 1,000 items."""
    items = [ledger.transfer_item("house", "ann", 1, key=f"k{n}") for n in range(count)]

    refused = await refusal(send(ledger, [message(ledger, *items)]))

    assert refused.reason == "BATCH_SIZE_OUT_OF_RANGE"
    assert refused.metadata["count"] == str(count)
    assert await ledger.head() == 2


async def test_stream_to_unknown_tenant_is_refused(ledger: Ledger) -> None:
    """Nothing is posted for a tenant that does not exist."""
    stranger = Ledger(ledger.channel, "nobody")

    results = await stranger.stream(stranger.transfer_item("house", "ann", 1))

    assert [one.rejection.reason for one in results] == [error_pb2.ERROR_REASON_TENANT_NOT_FOUND]


async def test_end_empty_stream_answers_nothing(ledger: Ledger) -> None:
    """A stream without a message is fine."""
    assert await send(ledger, []) == []


async def test_break_off_stream_keeps_what_was_posted(ledger: Ledger) -> None:
    """A caller that goes away and comes back with the same keys hears what became of them."""
    await ledger.open("ann")
    items = [ledger.transfer_item("house", "ann", 1) for _ in range(50)]
    call = ledger.stubs.postings.StreamTransactions()
    await call.write(message(ledger, *items[:30]))
    await call.read()
    call.cancel()

    results = await ledger.stream(*items)

    assert [one.replayed for one in results] == [True] * 30 + [False] * 20
    assert await ledger.posted("ann") == 50


async def test_stream_into_slow_ledger_slows_sender_down(database_url: str, clock: FakeClock) -> None:
    """With its lane full the server reads no further; nothing is refused and nothing is lost."""
    # The lock is held for as long as this machine needs to show that nothing is read any more.
    async with serving(database_url, clock=clock, lane_capacity=4, store_patience_seconds=120) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        bulky = {f"{n:02}": "💣" * 512 for n in range(32)}
        total = 120
        written = 0
        call = ledger.stubs.postings.StreamTransactions()

        async def write() -> None:
            nonlocal written
            for n in range(total):
                wanted = transaction(
                    leg("house", DEBIT, 1),
                    leg("ann", CREDIT, 1),
                    metadata=bulky,
                )
                one = posting_pb2.PostTransactionItem(idempotency_key=f"k{n}", transaction=wanted)
                await call.write(message(ledger, one))
                written += 1
            await call.done_writing()

        async with head_locked(database_url, ledger.tenant_id):
            writing = asyncio.create_task(write())
            await wait_until_lane_waits(database_url)
            calm = 0
            while calm < CALM_LOOKS and not writing.done():
                before = written
                await poll(database_url, "SELECT 1")
                calm = calm + 1 if written == before else 0
            written_into_wall = written

        results = [result async for answer in call for result in answer.results]
        await writing
        assert written_into_wall < total
        assert [one.idempotency_key for one in results] == [f"k{n}" for n in range(total)]
        assert all(one.HasField("transaction") for one in results)


async def test_stream_with_endless_sender_ends_when_cancelled(ledger: Ledger) -> None:
    """Cancelling a stream in the middle leaves a server that goes on serving."""
    await ledger.open("ann")

    async def endless() -> AsyncIterator[posting_pb2.StreamTransactionsRequest]:
        while True:
            yield message(ledger, ledger.transfer_item("house", "ann", 1))

    call = ledger.stubs.postings.StreamTransactions(endless())
    seen = 0
    async for answer in call:
        seen += len(answer.results)
        if seen >= 20:
            call.cancel()
            break

    assert await ledger.posted("ann") >= 20
    await assert_ledger_coherent_soon(ledger)


async def assert_ledger_coherent_soon(ledger: Ledger) -> None:
    """Check the ledger once all work that is still under way has passed through its lane."""
    await ledger.post("house", "ann", 1)
    await assert_ledger_coherent(ledger)


async def test_stream_large_results_come_in_messages_that_any_client_takes(ledger: Ledger) -> None:
    """A message whose results are larger than what clients take in by default is answered in several."""
    await ledger.open("ann")
    wide = [leg("house", DEBIT, 500), *(leg("ann", CREDIT, 1) for _ in range(500))]
    items = [item(ledger.new_key(), transaction(*wide)) for _ in range(400)]
    call = ledger.stubs.postings.StreamTransactions(iter([message(ledger, *items)]))

    answers = [answer async for answer in call]

    assert len(answers) > 1
    results = [result for answer in answers for result in answer.results]
    assert [one.idempotency_key for one in results] == [one.idempotency_key for one in items]
    assert await ledger.posted("ann") == 400 * 500
    assert sum(answer.ByteSize() for answer in answers) > 4 * MIB


async def test_stream_overlong_keys_leave_room_for_the_results_of_others(ledger: Ledger) -> None:
    """What a sender has written into a key is not repeated to him by the megabyte."""
    await ledger.open("ann")
    good = ledger.transfer_item("house", "ann", 1)
    bad = [ledger.transfer_item("house", "ann", 1, key="k" * size) for size in (2 * MIB, 4_100_000)]

    results = await send(ledger, [message(ledger, good), message(ledger, bad[0]), message(ledger, bad[1])])

    assert [one.WhichOneof("outcome") for one in results] == ["transaction", "rejection", "rejection"]
    assert [one.idempotency_key for one in results] == [good.idempotency_key, "k" * 255, "k" * 255]


@pytest.mark.parametrize("end", ["deadline", "cancel"])
async def test_stream_that_ends_early_begins_nothing_more(
    ledger: Ledger, database_url: str, end: str
) -> None:
    """What waits in the lane when its call ends is not posted, as for a call with one answer."""
    await ledger.open("ann")
    async with head_locked(database_url, ledger.tenant_id):
        first = asyncio.ensure_future(ledger.post("house", "ann", 1))
        await wait_until_lane_waits(database_url)
        call = ledger.stubs.postings.StreamTransactions(timeout=0.5 if end == "deadline" else None)
        for _ in range(20):
            await call.write(message(ledger, ledger.transfer_item("house", "ann", 1)))
        await ledger.head()  # over the same connection, so the items have arrived
        if end == "cancel":
            call.cancel()
        ended = await call.code()
        await ledger.head()

    await first
    await ledger.post("house", "ann", 1)
    codes = {"deadline": grpc.StatusCode.DEADLINE_EXCEEDED, "cancel": grpc.StatusCode.CANCELLED}
    assert ended is codes[end]
    assert await ledger.posted("ann") == 2
    await assert_ledger_coherent(ledger)


async def test_drain_ends_an_idle_stream(
    database_url: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A sender who says nothing is told, behind all his results, that the server goes away."""
    async with serving(database_url, clock=clock) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        call = ledger.stubs.postings.StreamTransactions()
        await call.write(message(ledger, ledger.transfer_item("house", "ann", 1)))
        answered = await call.read()
        assert isinstance(answered, posting_pb2.StreamTransactionsResponse)
        async with asyncio.timeout(HANG_SECONDS):
            await service.server.drain()
            told = await refusal(call.read())
        gc.collect()  # a task whose end nobody looks at would complain now

    assert "never retrieved" not in caplog.text
    assert len(answered.results) == 1
    assert told.reason == "SHUTTING_DOWN"
