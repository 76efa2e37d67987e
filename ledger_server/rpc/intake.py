"""Owns the intake of calls from gRPC: many calls are asked for in advance.

gRPC hands out one call each time that its server asks, and brings it by way of two threads. Its servers in
other languages ask for hundreds ahead; `grpc.aio` asks for the next one when it has the last, so it wakes
up for each, and takes in fewer calls than it could answer. There is no option for it, so this overrides the
private method that asks (decision 0014). A start is refused unless that method and its callers are those
that the override was written for (decision 0030); without calls ahead nothing imports this module.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Generator, Sequence
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Final

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # gRPC has no types for it

from ledger_server.rpc.calls_ahead import CallsAheadRefused

EXPECTED: Final = {
    # Takes nothing and returns one call; may be asked again before it has answered. Asks the core before its
    # first await, and awaits nothing but `future`.
    "_request_call": ("self", "error", "rpc_state", "future", "wrapper"),
    # Awaits the former, and nothing else, for each call; that none was got is an error only while it runs.
    "_server_main_loop": (
        "self",
        "server_started",
        "rpc_state",
        "rpc_tasks",
        "concurrency_exceeded",
        "rpc_coro",
        "rpc_task",
    ),
    # Waits for the main loop to end, which asks no more.
    "_start_shutting_down": ("self",),
}
"""The private methods that the override depends on, with the names of their variables.

gRPC ships them compiled; the names are what can be seen of their bodies.
"""

_FIRST_ASKED_SECONDS: Final = 30.0


class AheadServer(cygrpc.AioServer):  # type: ignore[misc]
    """The server inside `grpc.aio.Server`, asking for calls ahead."""

    def __init__(self, calls_ahead: int, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asking: deque[Asking] = deque()
        self._calls_ahead = calls_ahead
        self._asked = asyncio.Event()
        self._has_asked = False

    async def start(self) -> None:
        """Start, and see that calls are asked for here.

        Raises:
            CallsAheadRefused: gRPC asks for calls in another way; the server was stopped again.
        """
        await super().start()
        try:
            async with asyncio.timeout(_FIRST_ASKED_SECONDS):
                await self._asked.wait()
        except TimeoutError:
            await self.shutdown(None)
            raise CallsAheadRefused("its server does not call `_request_call`") from None

    async def _request_call(self) -> object:
        """Return the next call, in the order of their coming."""
        if not self._has_asked:
            self._has_asked = True
            self._asked.set()
        asking = self.asking
        while len(asking) < self._calls_ahead:
            asking.append(Asking(super()._request_call()))
        return await asking.popleft()

    async def _start_shutting_down(self) -> None:
        await super()._start_shutting_down()
        # Calls that came in and were not begun are dropped, which cancels them; otherwise the stop would wait
        # for them.
        for asking in self.asking:
            asking.give_up()
        self.asking.clear()


class Asking:
    """One call that gRPC's core was asked for, without a task of its own.

    A task of its own would be made, woken up and forgotten for each call. The coroutine waits for one thing
    alone, the future that the core resolves; the core writes to what the coroutine holds, which therefore
    lives until then.
    """

    __slots__ = ("_call", "_future")

    def __init__(self, call: Coroutine[Any, Any, object]) -> None:
        """Ask the core, which is what the coroutine does before it waits."""
        self._call = call
        self._future: asyncio.Future[object] = call.send(None)

    def __await__(self) -> Generator[Any, None, object]:
        """Return the call once it has come."""
        call = self._call
        try:
            if not self._future.done():
                yield self._future
            call.send(None)
        except StopIteration as ended:
            return ended.value
        except BaseException:
            call.close()
            raise
        raise CallsAheadRefused("its server waits for more than the call")

    def give_up(self) -> None:
        """Let go of the call, if it comes at all; the stop of the server is no error."""
        self._future.add_done_callback(self._heed)

    def _heed(self, future: "asyncio.Future[object]") -> None:
        if not future.cancelled():
            future.exception()
        self._call.close()


def open_server(options: Sequence[tuple[str, Any]], calls_ahead: int) -> grpc.aio.Server:
    """Return a server that is not started yet.

    Raises:
        CallsAheadRefused: the installed grpcio is not one that the override was written for.
    """
    check(cygrpc.AioServer)
    usual = cygrpc.AioServer
    cygrpc.AioServer = partial(AheadServer, calls_ahead)
    try:
        server = grpc.aio.server(options=options)
    finally:
        cygrpc.AioServer = usual
    if not isinstance(getattr(server, "_server", None), AheadServer):
        raise CallsAheadRefused("`grpc.aio.server` makes its server from another class")
    return server


def check(server_class: type) -> None:
    """Compare gRPC's server class with what the override depends on.

    Raises:
        CallsAheadRefused: a method is missing or another one.
    """
    for name, variables in EXPECTED.items():
        method = getattr(server_class, name, None)
        code = getattr(method, "__code__", None)
        if code is None or not iscoroutinefunction(method):
            raise CallsAheadRefused(f"its server has no coroutine function `{name}`")
        if code.co_varnames != variables:
            raise CallsAheadRefused(f"`{name}` of its server is another one than the override expects")
