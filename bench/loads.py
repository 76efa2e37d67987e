"""Own how requests are put on the wire: kept in flight, piped through a stream, or paced."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import perf_counter
from typing import Protocol

import asyncpg
import grpc
from defter.ledger.v1.posting_pb2 import PostTransactionResult, StreamTransactionsResponse

from bench.measure import FAILURE_PAUSE_SECONDS, Meter
from bench.payloads import Payload

# Does one operation and says how many it was worth; tells the meter of refusals inside an answer.
Operation = Callable[[Meter], Awaitable[int]]

# A paced load gives up on keeping its pace rather than pile up calls without end.
PACED_IN_FLIGHT_MAX = 1_024
PACE_TICK_SECONDS = 0.005


class Call(Protocol):
    """One RPC method, taking a serialised request and returning a parsed response."""

    def __call__(self, request: bytes, /) -> Awaitable[object]:
        """Call it."""


def single(call: Call, payload: Payload) -> Operation:
    """Return the operation that is one unary call."""

    async def operation(_: Meter) -> int:
        await call(payload())
        return 1

    return operation


async def keep_in_flight(operations: Sequence[Operation], meter: Meter) -> None:
    """Keep every one of the operations in flight, each started anew as soon as it has ended."""

    async def caller(operation: Operation) -> None:
        while meter.running:
            started = perf_counter()
            try:
                count = await operation(meter)
            except grpc.aio.AioRpcError as error:
                meter.failed_rpc(error)
                await asyncio.sleep(FAILURE_PAUSE_SECONDS)
            except (asyncpg.PostgresError, OSError) as error:
                meter.failed(str(error))
                await asyncio.sleep(FAILURE_PAUSE_SECONDS)
            else:
                meter.done(started, count)

    await asyncio.gather(*map(caller, operations))


async def pipeline(
    open_stream: Callable[[], "grpc.aio.StreamStreamCall[bytes, StreamTransactionsResponse]"],
    payload: Payload,
    meter: Meter,
    *,
    unanswered_max: int,
) -> None:
    """Send one item a message over one stream, with at most so many of them without an answer."""
    call = open_stream()
    unanswered: deque[float] = deque()
    room = asyncio.Event()

    async def send() -> None:
        while meter.running:
            if len(unanswered) >= unanswered_max:
                room.clear()
                await room.wait()
                continue
            unanswered.append(perf_counter())
            await call.write(payload())
        await call.done_writing()

    async def receive() -> None:
        async for response in call:
            refused = refusals(response.results)
            for result in refused:
                meter.refused(str(result.rejection))
            for started in [unanswered.popleft() for _ in response.results][len(refused) :]:
                meter.done(started)
            room.set()

    sender = asyncio.ensure_future(send())
    try:
        await receive()
    except grpc.aio.AioRpcError as error:
        meter.failed_rpc(error)
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    if unanswered:
        meter.failed(f"the stream ended with {len(unanswered)} items unanswered")


async def pace(operation: Operation, meter: Meter, *, per_second: float) -> None:
    """Start operations at a steady pace, whatever becomes of them; latency counts from the plan."""
    in_flight: set[asyncio.Task[None]] = set()
    began = perf_counter()
    started_count = 0

    async def once(planned: float) -> None:
        try:
            count = await operation(meter)
        except grpc.aio.AioRpcError as error:
            meter.failed_rpc(error)
        else:
            meter.done(planned, count)

    while meter.running:
        due = int((perf_counter() - began) * per_second)
        while started_count < due:
            if len(in_flight) >= PACED_IN_FLIGHT_MAX:
                # The plan moves on; the rate that was reached is what the line reports.
                started_count = due
                break
            task = asyncio.ensure_future(once(began + started_count / per_second))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
            started_count += 1
        await asyncio.sleep(PACE_TICK_SECONDS)
    await asyncio.gather(*in_flight)


def refusals(results: Iterable[PostTransactionResult]) -> list[PostTransactionResult]:
    """Return the results that are refusals."""
    return [result for result in results if result.HasField("rejection")]
