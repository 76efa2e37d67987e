"""Own what differs between gRPC's two stacks, on the blocking one; `aio.py` is the same on the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import grpc

from defter_channel import open_blocking_channel as open_channel
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

RpcError: Final = grpc.RpcError
Channel = grpc.Channel
Condition = threading.Condition
now = time.monotonic
sleep = time.sleep


class Silent(Exception):
    """Nothing came for too long."""


def answered(
    method: Any, request: object, *, timeout: float | None, metadata: Sequence[tuple[str, str]]
) -> tuple[Any, Any]:
    """Make a call that is answered once; return the response and its trailing metadata.

    Args:
        request: where the method takes a stream, what yields the requests.

    Raises:
        RpcError: it failed.
    """
    response, call = method.with_call(request, timeout=timeout, metadata=metadata)
    return response, call.trailing_metadata()


def read(call: Any, seconds: float) -> Any:
    """Return the next message of a stream, or None at its end.

    Raises:
        Silent: none came in that time; the call is cancelled.
        RpcError: the stream failed.
    """
    # gRPC's blocking stack can't wait for a message with a bound, but another thread can cancel the call.
    has_rung = threading.Event()

    def ring() -> None:
        has_rung.set()
        call.cancel()

    bell = threading.Timer(seconds, ring)
    bell.daemon = True
    bell.start()
    try:
        return next(call, None)
    except grpc.RpcError:
        if has_rung.is_set():
            raise Silent from None
        raise
    finally:
        bell.cancel()


def trailing(call: Any) -> Any:
    """Return the trailing metadata of a stream that has ended."""
    return call.trailing_metadata()


class Work:
    """Something that is done at once: a thread is not cancelled."""

    def done(self, result: object) -> None:
        """It was."""

    def stop(self) -> None:
        """Do nothing: whoever blocks in it, a source of items, can't be stopped."""


def home() -> object:
    """Return what a channel belongs to: all threads of the process share it."""
    return None


def chunks(items: Any, size: int) -> Iterator[list[Any]]:
    """Yield the items of an iterable, together what is there already."""
    if not isinstance(items, Sequence):
        size = 1  # whoever makes one after the other may wait for the result of the last one
    yield from together(items, size)
