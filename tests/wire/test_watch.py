"""Own what WatchJournal promises: from any sequence on, live, in order, without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from defter.ledger.v1 import journal_pb2

from ledger_server.domain.errors import ShuttingDown
from tests.support.clock import FakeClock
from tests.support.coherence import assert_chain_unbroken
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.requests import CREDIT, DEBIT, leg, timestamp, transaction
from tests.support.service import Service, serving
from tests.support.wire import MIB, refusal


def watching(
    ledger: Ledger, after_sequence: int = 0, *, heartbeat_seconds: int = 300, **fields: bool
) -> AsyncIterator[journal_pb2.WatchJournalResponse]:
    """Return a running watch."""
    request = journal_pb2.WatchJournalRequest(
        tenant_id=ledger.tenant_id,
        after_sequence=after_sequence,
        heartbeat_seconds=heartbeat_seconds,
        **fields,
    )
    return aiter(ledger.stubs.journal.WatchJournal(request))


async def entries_until(
    watch: AsyncIterator[journal_pb2.WatchJournalResponse], sequence: int
) -> list[journal_pb2.JournalEntry]:
    """Return what a watch brings up to a sequence."""
    found: list[journal_pb2.JournalEntry] = []
    while not found or found[-1].sequence < sequence:
        found.extend((await anext(watch)).entries)
    return found


async def test_watch_from_beginning_brings_what_is_there(ledger: Ledger) -> None:
    """The past comes first, as ListJournal has it, with the server's head and clock."""
    await ledger.open("ann")
    head = await ledger.head()

    watch = watching(ledger)
    first = await anext(watch)

    assert list(first.entries) == await ledger.entries()
    assert first.head_sequence == head
    assert first.HasField("server_time")


@pytest.mark.parametrize("after", [1, 2, 5, 6])
async def test_resume_watch_goes_on_behind_what_was_seen(ledger: Ledger, after: int) -> None:
    """Resuming with the last sequence seen misses nothing and repeats nothing."""
    await ledger.open("ann")
    for _ in range(3):
        await ledger.fund("ann", 1)
    known = await ledger.entries()
    watch = watching(ledger, after)
    await ledger.fund("ann", 1)

    found = await entries_until(watch, 7)

    assert [entry.sequence for entry in found] == list(range(after + 1, 8))
    assert_chain_unbroken(found, after=known[after - 1].chain_hash, first=after + 1)


async def test_watch_live_brings_each_record_as_it_is_written(ledger: Ledger) -> None:
    """A record comes without a second request, once it is committed."""
    await ledger.open("ann")
    watch = watching(ledger, await ledger.head())

    for _ in range(3):
        posted = await ledger.post("house", "ann", 1)
        response = await anext(watch)
        assert [entry.sequence for entry in response.entries] == [posted.sequence]
        assert response.entries[0].record.transaction_posted == posted


async def test_watch_under_writers_brings_every_record_once(ledger: Ledger) -> None:
    """Many writers, several watchers: each sees the same gapless, chained journal."""
    await ledger.open("ann")
    watches = [watching(ledger, bytes_only=True) for _ in range(3)]

    async def write() -> None:
        for _ in range(40):
            await ledger.post("house", "ann", 1)

    writing = [asyncio.create_task(write()) for _ in range(8)]
    last = 3 + 8 * 40
    found = await asyncio.gather(*(entries_until(watch, last) for watch in watches))
    await asyncio.gather(*writing)

    for entries in found:
        assert len(entries) == last
        assert assert_chain_unbroken(entries) == (await ledger.tenant()).head_chain_hash
        assert not any(entry.HasField("record") for entry in entries)


async def test_watch_on_other_server_brings_what_first_one_writes(database_url: str, ledger: Ledger) -> None:
    """A watcher need not be on the server that writes."""
    await ledger.open("ann")
    async with serving(database_url) as second:
        watch = watching(second.ledger())
        await entries_until(watch, 3)

        posted = await ledger.post("house", "ann", 1)
        found = await entries_until(watch, posted.sequence)

        assert [entry.sequence for entry in found] == [posted.sequence]


async def test_watch_in_silence_brings_heartbeats(ledger: Ledger, clock: FakeClock) -> None:
    """A heartbeat has no records, but the head and the server's clock."""
    head = await ledger.head()
    watch = watching(ledger, head, heartbeat_seconds=1)

    response = await anext(watch)

    assert not response.entries
    assert response.head_sequence == head
    assert response.server_time == timestamp(clock.now)


async def test_watch_long_journal_brings_at_most_a_thousand_at_once(ledger: Ledger) -> None:
    """The past comes in portions."""
    await ledger.open("ann")
    await ledger.batch(*(ledger.transfer_item("house", "ann", 1) for _ in range(1000)))
    await ledger.batch(*(ledger.transfer_item("house", "ann", 1) for _ in range(500)))
    watch = watching(ledger)
    portions: list[int] = []

    while sum(portions) < 1503:
        portions.append(len((await anext(watch)).entries))

    assert max(portions) <= 1000


async def test_read_bulky_journal_fits_messages_of_default_size(server: Service, ledger: Ledger) -> None:
    """Lists and watches are cut by size as well, so that a client without any setting can read on."""
    await ledger.open("ann")
    bulky = {f"{n:02}": "💣" * 512 for n in range(32)}
    legs = (leg("house", DEBIT, 1), leg("ann", CREDIT, 1))
    for _ in range(70):
        await ledger.submit(transaction(*legs, metadata=bulky))

    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.server.port}") as default_channel:
        reader = Ledger(default_channel, ledger.tenant_id)
        watched = await entries_until(watching(reader), 73)
        listed = await reader.entries()

    assert sum(len(entry.record_bytes) for entry in watched) > 4 * MIB
    assert listed == watched


async def test_watch_unknown_tenant_is_refused(ledger: Ledger) -> None:
    """There is nothing to wait for."""
    stranger = Ledger(ledger.channel, "nobody")

    refused = await refusal(anext(watching(stranger)))

    assert refused.reason == "TENANT_NOT_FOUND"


@pytest.mark.parametrize(
    ("after", "heartbeat", "field"),
    [(-1, 0, "after_sequence"), (0, -1, "heartbeat_seconds"), (0, 301, "heartbeat_seconds")],
)
async def test_watch_with_number_out_of_range_is_refused(
    ledger: Ledger, after: int, heartbeat: int, field: str
) -> None:
    """Sequences count from 0, heartbeats from 1 to 300 seconds."""
    refused = await refusal(anext(watching(ledger, after, heartbeat_seconds=heartbeat)))

    assert refused.reason == "FIELD_OUT_OF_RANGE"
    assert refused.violated_fields == (field,)


async def test_watch_over_restart_resumes_without_gap(server: Service, ledger: Ledger) -> None:
    """A watcher that was cut off goes on where it was."""
    await ledger.open("ann")
    seen = await entries_until(watching(ledger), 3)
    await server.crash()
    await server.restart()
    again = server.ledger(key_prefix="again")
    posted = await again.post("house", "ann", 1)

    found = await entries_until(watching(again, seen[-1].sequence), posted.sequence)

    assert_chain_unbroken([*seen, *found])


async def test_drain_server_ends_watches(server: Service, ledger: Ledger) -> None:
    """A watcher is told at once that another server will go on, and its records come first."""
    await ledger.open("ann")
    idle, busy = watching(ledger), watching(ledger)
    await entries_until(idle, 3)
    await entries_until(busy, 3)
    posted = await ledger.post("house", "ann", 1)
    await entries_until(busy, posted.sequence)

    await server.server.drain()

    for watch in (idle, busy):
        refused = await refusal(entries_until(watch, posted.sequence + 1))
        assert refused.reason == "SHUTTING_DOWN"
    await server.crash()
    await server.restart()


async def test_drain_while_heartbeat_is_being_taken_ends_watch_at_once(
    server: Service, ledger: Ledger
) -> None:
    """A watcher that is slow to take a heartbeat is not kept for another one."""
    watch = server.server._watches.watch(
        ledger.tenant_id,
        after=await ledger.head(),
        heartbeat_seconds=0.01,
        bytes_only=True,
        room=server.server._watches.room(),
    )
    await anext(watch)

    server.server._watches.drain()

    with pytest.raises(ShuttingDown):
        anext(watch).send(None)  # goes as far as it can without waiting for anything


async def test_watch_beyond_the_head_is_refused(ledger: Ledger) -> None:
    """Whoever has seen more than there is has watched another database."""
    head = await ledger.head()

    refused = await refusal(anext(watching(ledger, head + 1)))

    assert (refused.reason, refused.metadata) == ("NOT_YET_RECORDED", {"head_sequence": str(head)})


async def test_watch_on_other_server_beyond_what_it_knows_goes_on(database_url: str, ledger: Ledger) -> None:
    """A server that has not yet heard of the newest records asks the database before it refuses."""
    async with serving(database_url) as second:
        other = second.ledger()
        await entries_until(watching(other), 2)
        for number in range(2):
            opened = await ledger.open(f"ann{number}")
            head = await ledger.head()

            watch = watching(other, head, heartbeat_seconds=1)
            assert (await anext(watch)).head_sequence >= head, opened.account_id


async def test_cancel_last_watch_forgets_the_tenant(server: Service, ledger: Ledger) -> None:
    """A tenant that nobody watches costs nothing."""
    watches = server.server._watches
    first, second = (
        ledger.stubs.journal.WatchJournal(journal_pb2.WatchJournalRequest(tenant_id=ledger.tenant_id))
        for _ in range(2)
    )
    await first.read()
    await second.read()
    assert list(watches._tails) == [ledger.tenant_id]

    first.cancel()
    second.cancel()

    async with asyncio.timeout(HANG_SECONDS):
        while watches._tails:  # noqa: ASYNC110  # nobody is told that the last watcher has gone
            await asyncio.sleep(0.001)


async def test_verify_journal_streams_progress_then_result(ledger: Ledger) -> None:
    """The last message is the result; what comes before counts up to the head."""
    await ledger.open("ann")
    await ledger.batch(*(ledger.transfer_item("house", "ann", 1) for _ in range(1000)))
    request = journal_pb2.VerifyJournalRequest(tenant_id=ledger.tenant_id)

    messages = [one async for one in ledger.stubs.journal.VerifyJournal(request)]

    kinds = [one.WhichOneof("event") for one in messages]
    assert kinds == ["progress"] * (len(messages) - 1) + ["result"]
    progress = [one.progress.sequence for one in messages[:-1]]
    assert progress == sorted(progress)
    result = messages[-1].result
    assert (result.sequence, result.account_count, result.posting_count) == (1003, 2, 2000)
    assert not result.HasField("first_difference")
