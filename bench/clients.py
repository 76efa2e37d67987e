"""Own the lines of the Python client: what it costs beside the bare stubs, by tasks and by threads."""

import asyncio
import threading
from collections.abc import Callable
from time import perf_counter

import grpc
from defter.ledger.v1.posting_pb2 import PostTransactionRequest
from defter.ledger.v1.posting_pb2_grpc import PostingServiceStub

from bench.lines import Check, Line, Target
from bench.loads import Operation
from bench.measure import Meter, Window, run_window
from defter_client import BlockingLedgerClient, LedgerClient

IN_FLIGHT = 64
THREADS = 16
_MOST_OVERHEAD = 1.10
_MOST_OVERHEAD_OF_THREADS = 1.25

Post = Callable[[PostTransactionRequest], object]


def client_lines(target: Target) -> list[Line]:
    """Return the lines: the bare stub and the client, async and blocking."""
    address = f"127.0.0.1:{target.served.port}"
    payload = target.ledger.payloads.unary()
    stub = PostingServiceStub(target.served.channel)
    client = LedgerClient(address, timeout_seconds=60)

    async def by_stub(_: Meter) -> int:
        await stub.PostTransaction(PostTransactionRequest.FromString(payload()), timeout=60)
        return 1

    async def by_client(_: Meter) -> int:
        await client.postings.post_transaction(PostTransactionRequest.FromString(payload()))
        return 1

    def tasks(name: str, about: str, operation: Operation, *checks: Check) -> Line:
        what = f"PostTransaction by {about}, {IN_FLIGHT} in flight"
        return target.line(name, what, [operation] * IN_FLIGHT, *checks, books=True)

    def threads(name: str, about: str, begin: Callable[[], Post], *checks: Check) -> Line:
        async def run(seconds: float) -> Window:
            meter = Meter(seconds=seconds, meters=target.meters)
            post, turn = begin(), threading.Lock()

            def work() -> None:
                while meter.running:
                    started = perf_counter()
                    post(PostTransactionRequest.FromString(payload()))
                    with turn:
                        meter.done(started)

            await run_window(meter, [asyncio.to_thread(work) for _ in range(THREADS)], seconds=seconds)
            target.ledger.book(meter)
            return meter.window()

        what = f"PostTransaction by {about}, {THREADS} threads"
        return Line(name=name, about=what, run=run, checks=checks, server=target.served.process.pid)

    def blocking_stub() -> Post:
        found = PostingServiceStub(grpc.insecure_channel(address))
        return lambda request: found.PostTransaction(request, timeout=60)

    def blocking_client() -> Post:
        return BlockingLedgerClient(address, timeout_seconds=60).postings.post_transaction

    return [
        tasks(f"stub-{IN_FLIGHT}", "the bare stub", by_stub),
        tasks(
            f"client-{IN_FLIGHT}",
            "the client",
            by_client,
            Check(baselines=(f"stub-{IN_FLIGHT}",), bound=1 / _MOST_OVERHEAD),
        ),
        threads(f"stub-threads-{THREADS}", "the bare blocking stub", blocking_stub),
        threads(
            f"client-threads-{THREADS}",
            "the blocking client",
            blocking_client,
            Check(baselines=(f"stub-threads-{THREADS}",), bound=1 / _MOST_OVERHEAD_OF_THREADS),
        ),
    ]
