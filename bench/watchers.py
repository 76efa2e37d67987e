"""Own the watchers of a journal: a process that follows it several times over and notes the lag.

Run as `python -m bench.watchers --port N --count N`: it prints a line once it watches, and then
answers one line on standard input, the window's bounds, with one line of what it saw in between.

Lag is counted from a record's `record_time`, when the ledger decided it, to when a watcher has the
message, so it includes the commit. Only the first record of a message is decoded, for speed; its
lag stands for all the others, which are no older.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter, time
from typing import TypedDict

import grpc
import uvloop
from defter.ledger.v1.journal_pb2 import JournalRecord, WatchJournalRequest
from defter.ledger.v1.journal_pb2_grpc import JournalServiceStub
from defter.ledger.v1.tenant_pb2 import GetTenantRequest
from defter.ledger.v1.tenant_pb2_grpc import TenantServiceStub

from bench.payloads import TENANT_ID

WATCHER_COUNT = 10
HOST = "127.0.0.1"


class Seen(TypedDict):
    """What all watchers together saw between two moments.

    Attributes:
        records: summed over the watchers.
        failures: gaps and broken streams.
    """

    records: int
    messages: int
    p50_seconds: float | None
    p99_seconds: float | None
    failures: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchers:
    """A running process of watchers."""

    process: asyncio.subprocess.Process

    async def seen(self, opened: float, closed: float) -> Seen:
        """Return what was seen between two moments of `perf_counter`, which all processes share."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{opened} {closed}\n".encode())
        await self.process.stdin.drain()
        seen: Seen = json.loads(await self.process.stdout.readline())
        return seen


@asynccontextmanager
async def watching(port: int, count: int = WATCHER_COUNT) -> AsyncIterator[Watchers]:
    """Watch the tenant's journal from its head on, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.watchers",
        f"--port={port}",
        f"--count={count}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        if not await process.stdout.readline():
            raise RuntimeError("the watchers did not start")
        yield Watchers(process=process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@dataclass(slots=True)
class _Notes:
    """What the watchers have noted so far: moment, lag, number of records."""

    messages: list[tuple[float, float, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def between(self, opened: float, closed: float) -> Seen:
        inside = sorted((lag, count) for moment, lag, count in self.messages if opened <= moment <= closed)
        records = sum(count for _, count in inside)

        def percentile(percent: int) -> float | None:
            wanted = records * percent // 100
            for lag, count in inside:
                wanted -= count
                if wanted < 0:
                    return lag
            return None

        return Seen(
            records=records,
            messages=len(inside),
            p50_seconds=percentile(50),
            p99_seconds=percentile(99),
            failures=self.failures[:1],
        )


async def _watch(channel: grpc.aio.Channel, after_sequence: int, notes: _Notes) -> None:
    expected = after_sequence + 1
    request = WatchJournalRequest(tenant_id=TENANT_ID, after_sequence=after_sequence, bytes_only=True)
    try:
        async for response in JournalServiceStub(channel).WatchJournal(request):
            count = len(response.entries)
            if not count:
                continue
            first, last = response.entries[0], response.entries[-1]
            written = JournalRecord.FromString(first.record_bytes).record_time
            lag = time() - (written.seconds + written.nanos * 1e-9)
            notes.messages.append((perf_counter(), lag, count))
            if first.sequence != expected or last.sequence != expected + count - 1:
                notes.failures.append(
                    f"expected {count} records from {expected} on, got {first.sequence} to {last.sequence}"
                )
            expected = last.sequence + 1
        notes.failures.append("a watch ended")
    except grpc.aio.AioRpcError as error:
        notes.failures.append(f"a watch broke: {error.code().name}: {error.details()}")


async def _main(port: int, count: int) -> None:
    notes = _Notes()
    async with contextlib.AsyncExitStack() as open_channels:
        # A connection each, as watchers of different services have.
        options = (("grpc.use_local_subchannel_pool", 1),)
        channels = [grpc.aio.insecure_channel(f"{HOST}:{port}", options) for _ in range(count)]
        for channel in channels:
            await open_channels.enter_async_context(channel)
            await channel.channel_ready()
        head = await TenantServiceStub(channels[0]).GetTenant(GetTenantRequest(tenant_id=TENANT_ID))
        watches = [
            asyncio.ensure_future(_watch(channel, head.tenant.head_sequence, notes)) for channel in channels
        ]
        print("watching", flush=True)
        bounds = await asyncio.to_thread(sys.stdin.readline)
        if bounds:
            opened, closed = map(float, bounds.split())
            print(json.dumps(notes.between(opened, closed)), flush=True)
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


def main() -> None:
    """Watch until the bounds have been answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=WATCHER_COUNT)
    arguments = parser.parse_args()
    uvloop.run(_main(arguments.port, arguments.count))


if __name__ == "__main__":
    main()
