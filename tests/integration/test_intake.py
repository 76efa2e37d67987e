"""Own the proof that calls are taken from gRPC ahead, each once, and let go of when a server stops."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from ledger_server.rpc.intake import CALLS_AHEAD, AheadServer, open_server
from tests.support.patience import HANG_SECONDS
from tests.support.wire import open_channel

CALLERS = 5 * CALLS_AHEAD
Call = Callable[[bytes], Awaitable[bytes]]


class EchoServer:
    """Answers what it was sent, once its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[bytes] = []
        self.one_begun = asyncio.Event()
        self.all_begun = asyncio.Event()
        self.server: Any = open_server(())
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._echo)
        service = grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler})
        self.server.add_generic_rpc_handlers((service,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    @property
    def core(self) -> AheadServer:
        """The server within gRPC's own."""
        core = self.server._server
        assert type(core) is AheadServer, "gRPC makes its server in another way than it did"
        return core

    async def _echo(self, request: bytes, _: object) -> bytes:
        self.begun.append(request)
        self.one_begun.set()
        if len(self.begun) == CALLERS:
            self.all_begun.set()
        await self.gate.wait()
        return request


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[EchoServer, Call]]:
    """Run an echo server with a channel to it."""
    echo = EchoServer()
    await echo.server.start()
    async with open_channel(echo.port) as channel:
        call: Any = channel.unary_unary("/test.Echo/Echo")
        yield echo, call
    await echo.server.stop(None)


async def test_calls_are_asked_for_ahead_before_and_after_some_have_come() -> None:
    """As many as there should be; were this 0 with a newer gRPC, it has another way to ask."""
    async with echoing() as (echo, call):
        echo.gate.set()
        messages = [b"%d" % number for number in range(CALLERS)]
        assert await asyncio.gather(*map(call, messages)) == messages
        assert sorted(echo.begun) == sorted(messages)
        # One more is what the server waits for at this moment.
        assert len(echo.core.asking) == CALLS_AHEAD - 1


async def test_call_that_waits_holds_up_no_other() -> None:
    """More calls than are asked for at once may be under way."""
    async with echoing() as (echo, call):
        calls = [asyncio.ensure_future(call(b"%d" % number)) for number in range(CALLERS)]
        async with asyncio.timeout(HANG_SECONDS):
            await echo.all_begun.wait()
        echo.gate.set()
        assert len(await asyncio.gather(*calls)) == CALLERS


@asynccontextmanager
async def no_complaints() -> AsyncIterator[None]:
    """Fail if the event loop has anything to complain of."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    yield
    gc.collect()
    await asyncio.sleep(0)
    # Of all loops of a process, gRPC brings the last events to whichever runs. This one is not closed, so
    # what complains of a closed one was meant for that of an earlier test.
    assert [one for one in complaints if str(one.get("exception")) != "Event loop is closed"] == []


@pytest.mark.parametrize("grace", [None, 20.0])
async def test_stop_waits_for_begun_calls_alone(grace: float | None) -> None:
    """Calls that nobody has begun end at once, although they have come in."""
    async with no_complaints(), echoing() as (echo, call):
        calls = [asyncio.ensure_future(call(b"%d" % number)) for number in range(CALLERS)]
        await echo.one_begun.wait()
        stopping = asyncio.ensure_future(echo.server.stop(grace))
        await asyncio.sleep(0)
        echo.gate.set()
        # Well within the grace: nothing is waited for that can't end.
        async with asyncio.timeout(HANG_SECONDS):
            await stopping
            ended = await asyncio.gather(*calls, return_exceptions=True)
        answered = [answer for answer in ended if isinstance(answer, bytes)]
        assert set(answered) <= set(echo.begun)
        assert all(isinstance(answer, bytes | grpc.aio.AioRpcError) for answer in ended)
        if grace is not None:
            assert sorted(answered) == sorted(echo.begun)
        assert not echo.core.asking


async def test_stop_of_idle_server_leaves_no_complaint() -> None:
    """That no call came for whom one was asked for is no error."""
    async with no_complaints(), echoing() as (echo, call):
        echo.gate.set()
        assert await call(b"hello") == b"hello"
