"""Owns how calls are taken from gRPC: many are asked for ahead.

gRPC hands out one call each time that its server asks, and brings it by way of two threads. Its servers in
other languages ask for hundreds ahead; `grpc.aio` asks for the next one when it has the last, so it wakes
up for each, and takes in fewer calls than it could answer. There is no option for it, so this overrides the
method that asks, and a test tells when a newer gRPC does not call it any more (decision 0014).
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # gRPC has no types for it

from ledger_server.rpc.serving import MAX_MESSAGE_BYTES

CALLS_AHEAD: Final = 128
"""Calls that are asked for at any time; more bring nothing (measured)."""


CHANNEL_OPTIONS: Final = (
    # Room above our own limit, so that a message that is a little too large gets our own answer.
    ("grpc.max_receive_message_length", 2 * MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", 16 * MAX_MESSAGE_BYTES),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # By default gRPC drops calls at random with a bare CANCELLED once a thousand have arrived that are
    # not begun. A burst is the lane's to take or to refuse by name, so that limit lies beyond the lane's.
    ("grpc.server.max_pending_requests", 16_384),
    ("grpc.server.max_pending_requests_hard_limit", 32_768),
)


class AheadServer(cygrpc.AioServer):  # type: ignore[misc]
    """The server inside `grpc.aio.Server`, asking for calls ahead."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asking: deque[asyncio.Task[object]] = deque()

    async def _request_call(self) -> object:
        """Return the next call, in the order of their coming."""
        while len(self.asking) < CALLS_AHEAD:
            self.asking.append(asyncio.create_task(super()._request_call()))
        return await self.asking.popleft()

    async def _start_shutting_down(self) -> None:
        await super()._start_shutting_down()
        # What came in and was not begun is let go of, and thereby cancelled; else it would be waited for.
        for asking in self.asking:
            asking.add_done_callback(_heed)
        self.asking.clear()


def open_server(options: Sequence[tuple[str, Any]]) -> grpc.aio.Server:
    """Return a server that is not started yet."""
    usual = cygrpc.AioServer
    cygrpc.AioServer = AheadServer
    try:
        return grpc.aio.server(options=options)
    finally:
        cygrpc.AioServer = usual


def _heed(asking: asyncio.Task[object]) -> None:
    """Look at how asking has ended: that the server stops is no news."""
    if not asking.cancelled():
        asking.exception()
