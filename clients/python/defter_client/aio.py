"""Own what differs between gRPC's two stacks, on the async one; `threads.py` is the same on the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Final, TypeVar

import grpc

from defter_channel import open_channel
from defter_client.together import together

__all__ = [
    "Condition",
    "RpcError",
    "Silent",
    "answered",
    "home",
    "now",
    "open_channel",
    "protected",
    "read",
    "sleep",
]

RpcError: Final = grpc.aio.AioRpcError
Channel = grpc.aio.Channel
Condition = asyncio.Condition
now = time.monotonic
sleep = asyncio.sleep
_Result = TypeVar("_Result")
# As `_cygrpc` says it; a server's INTERNAL has a sentence of its own.
_MADE_UP: Final = "Internal error from Core"
_CLOSED: Final = "the client was closed"


class Silent(Exception):
    """Nothing came for too long."""


async def answered(
    method: Any,
    request: object,
    *,
    timeout: float,  # noqa: ASYNC109  # it is sent
    metadata: Sequence[tuple[str, str]],
) -> tuple[Any, Any]:
    """Make a unary call; return the response and its trailing metadata.

    Raises:
        RpcError: it failed.
    """
    call = method(request, timeout=timeout, metadata=metadata)
    try:
        return await call, await call.trailing_metadata()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not call.cancelled() or task is None or task.cancelling():
            raise
    # The channel was closed: gRPC says it of the call in the same way as asyncio does of the task.
    raise RpcError(grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata(), _CLOSED)


async def read(call: Any, seconds: float) -> Any:
    """Return the next message of a stream, or None at its end, or once somebody has cancelled the call.

    Raises:
        Silent: none came in that time; the call is cancelled.
        RpcError: the stream failed.
    """
    try:
        async with asyncio.timeout(seconds):
            message = await call.read()
    except TimeoutError:
        call.cancel()
        raise Silent from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if call.cancelled() and (task is None or not task.cancelling()):
            return None  # gRPC says it of the call in the same way as asyncio does of the task
        raise
    except RpcError as error:
        raise _as_broken(error) from None
    return None if message is grpc.aio.EOF else message


def _as_broken(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    """Return the error of a stream as UNAVAILABLE, where gRPC has learned of its end by a write.

    The write fails before the status of the server is seen, and gRPC then makes one up.
    """
    if error.code() is not grpc.StatusCode.INTERNAL or error.details() != _MADE_UP:
        return error
    return RpcError(
        grpc.StatusCode.UNAVAILABLE,
        error.initial_metadata(),
        error.trailing_metadata(),
        error.details(),
        error.debug_error_string(),
    )


async def protected(work: Awaitable[_Result]) -> _Result:
    """Await something that goes on if the awaiting task is cancelled."""
    return await asyncio.shield(asyncio.ensure_future(work))


def home() -> object:
    """Return what a channel belongs to: the running event loop."""
    return asyncio.get_running_loop()


async def chunks(items: Any, size: int) -> AsyncIterator[list[Any]]:
    """Yield the items of an iterable of either kind, together what is there already."""
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield [item]
        return
    for found in together(items, size):
        yield found
