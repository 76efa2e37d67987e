"""Own what differs between gRPC's two stacks, on the async one; `threads.py` is the same on the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Final

import grpc

from defter_channel import open_channel
from defter_client.together import together

__all__ = [
    "Condition",
    "RpcError",
    "Silent",
    "Work",
    "answered",
    "home",
    "now",
    "open_channel",
    "read",
    "sleep",
    "trailing",
]

RpcError: Final = grpc.aio.AioRpcError
Channel = grpc.aio.Channel
Condition = asyncio.Condition
now = time.monotonic
sleep = asyncio.sleep
# As `_cygrpc` says it; a server's INTERNAL has a sentence of its own.
_MADE_UP: Final = "Internal error from Core"
_CANCELLED: Final = "the call was cancelled, or its client closed"


class Silent(Exception):
    """Nothing came for too long."""


async def answered(
    method: Any,
    request: object,
    *,
    timeout: float | None,  # noqa: ASYNC109  # it is sent
    metadata: Sequence[tuple[str, str]],
) -> tuple[Any, Any]:
    """Make a call that is answered once; return the response and its trailing metadata.

    Args:
        request: where the method takes a stream, what yields the requests.

    Raises:
        RpcError: it failed.
    """
    call = method(request, timeout=timeout, metadata=metadata)
    try:
        return await call, await call.trailing_metadata()
    except asyncio.CancelledError:
        if not _is_calls_own(call):
            raise
    raise _cancelled()


async def read(call: Any, seconds: float) -> Any:
    """Return the next message of a stream, or None at its end.

    Raises:
        Silent: none came in that time; the call is cancelled.
        RpcError: the stream failed, or somebody has cancelled the call.
    """
    try:
        async with asyncio.timeout(seconds):
            message = await call.read()
    except TimeoutError:
        call.cancel()
        raise Silent from None
    except asyncio.CancelledError:
        if _is_calls_own(call):
            raise _cancelled() from None
        raise
    except RpcError as error:
        raise _as_broken(error) from None
    return None if message is grpc.aio.EOF else message


async def trailing(call: Any) -> Any:
    """Return the trailing metadata of a stream that has ended."""
    return await call.trailing_metadata()


def _is_calls_own(call: Any) -> bool:
    """Return whether it was the call that was cancelled; gRPC says that as asyncio does of a task."""
    task = asyncio.current_task()
    return bool(call.cancelled()) and task is not None and not task.cancelling()


def _cancelled() -> grpc.aio.AioRpcError:
    return RpcError(grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata(), _CANCELLED)


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


class Work:
    """Something that goes on if whoever awaits it is cancelled, until it is stopped."""

    def __init__(self) -> None:
        self._task: asyncio.Future[Any] | None = None

    async def done(self, work: Awaitable[object]) -> None:
        """Await it."""
        self._task = asyncio.ensure_future(work)
        await asyncio.shield(self._task)

    def stop(self) -> None:
        """Stop it, if it goes on."""
        if self._task is not None:
            self._task.cancel()


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
