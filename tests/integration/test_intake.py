"""Own the proof that calls are taken from gRPC, ahead or not, each once, and let go of at a stop."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # gRPC has no types for it

from ledger_server.process.settings import Settings
from ledger_server.rpc import intake
from ledger_server.rpc.grpc_server import open_server
from ledger_server.rpc.intake import EXPECTED, AheadServer
from tests.support.patience import HANG_SECONDS
from tests.support.wire import open_channel

CALLS_AHEAD: int = Settings.model_fields["calls_ahead"].default
CALLERS = 5 * CALLS_AHEAD
BOTH_WAYS = pytest.mark.parametrize("calls_ahead", [0, 1, CALLS_AHEAD])
Call = Callable[[bytes], Awaitable[bytes]]


class EchoServer:
    """Answers what it was sent, once its gate is open."""

    def __init__(self, calls_ahead: int) -> None:
        self.gate = asyncio.Event()
        self.begun: list[bytes] = []
        self.one_begun = asyncio.Event()
        self.all_begun = asyncio.Event()
        self.server: Any = open_server((), calls_ahead=calls_ahead)
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
async def echoing(calls_ahead: int) -> AsyncIterator[tuple[EchoServer, Call]]:
    """Run an echo server with a channel to it."""
    echo = EchoServer(calls_ahead)
    await echo.server.start()
    async with open_channel(echo.port) as channel:
        call: Any = channel.unary_unary("/test.Echo/Echo")
        yield echo, call
    await echo.server.stop(None)


async def test_calls_are_asked_for_ahead_before_and_after_some_have_come() -> None:
    """As many as there should be."""
    async with echoing(CALLS_AHEAD) as (echo, call):
        echo.gate.set()
        messages = [b"%d" % number for number in range(CALLERS)]
        assert await asyncio.gather(*map(call, messages)) == messages
        assert sorted(echo.begun) == sorted(messages)
        # One more is what the server waits for at this moment.
        assert len(echo.core.asking) == CALLS_AHEAD - 1


@BOTH_WAYS
async def test_call_that_waits_holds_up_no_other(calls_ahead: int) -> None:
    """More calls than are asked for at once may be under way."""
    async with echoing(calls_ahead) as (echo, call):
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


@BOTH_WAYS
@pytest.mark.parametrize("grace", [None, 20.0])
async def test_stop_waits_for_begun_calls_alone(grace: float | None, calls_ahead: int) -> None:
    """Calls that nobody has begun end at once, although they have come in."""
    async with no_complaints(), echoing(calls_ahead) as (echo, call):
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
        if calls_ahead:
            assert not echo.core.asking


@BOTH_WAYS
async def test_stop_of_idle_server_leaves_no_complaint(calls_ahead: int) -> None:
    """That no call came for whom one was asked for is no error."""
    async with no_complaints(), echoing(calls_ahead) as (echo, call):
        echo.gate.set()
        assert await call(b"hello") == b"hello"


async def test_server_without_calls_ahead_is_the_stock_one() -> None:
    """Nothing of gRPC is overridden, and what would override it is not even imported."""
    server: Any = open_server((), calls_ahead=0)

    assert type(server._server) is cygrpc.AioServer
    program = (
        "import sys, ledger_server.process.bootstrap; sys.exit('ledger_server.rpc.intake' in sys.modules)"
    )
    assert await asyncio.to_thread(subprocess.call, [sys.executable, "-c", program]) == 0


async def as_it_was(self: Any) -> object:
    """Stand for a method of another version, with variables of its own."""
    for another in (self,):
        await asyncio.sleep(0, another)
    return self


def plain(self: Any) -> object:
    """Stand for a method that is no coroutine function any more."""
    return self


def other_class(name: str, method: object) -> type:
    """Return a class with gRPC's private methods, one of which is another, or absent (None)."""
    methods = {each: getattr(cygrpc.AioServer, each) for each in EXPECTED}
    methods[name] = method
    return type("AioServer", (), {each: found for each, found in methods.items() if found is not None})


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("method", [None, plain, as_it_was, 7])
def test_other_method_of_grpc_is_refused_by_name(name: str, method: object) -> None:
    """Whatever the override depends on, another version may have it no more or have another one."""
    intake.check(other_class(name, getattr(cygrpc.AioServer, name)))

    with pytest.raises(ValueError, match=rf"^DEFTER_CALLS_AHEAD: .*{name}.*DEFTER_CALLS_AHEAD=0"):
        intake.check(other_class(name, method))


async def test_server_of_another_class_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """That gRPC makes its server in another way is noticed before it starts."""
    monkeypatch.setattr(grpc.aio, "server", lambda **_: object())

    with pytest.raises(ValueError, match=r"^DEFTER_CALLS_AHEAD: .*DEFTER_CALLS_AHEAD=0"):
        open_server((), calls_ahead=CALLS_AHEAD)


async def test_server_that_asks_in_another_way_is_refused_and_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that would not ask by the override takes no call at all."""

    class Deaf(AheadServer):
        async def _server_main_loop(self, server_started: asyncio.Future[bool]) -> None:
            server_started.set_result(True)

    monkeypatch.setattr(intake, "AheadServer", Deaf)
    monkeypatch.setattr(intake, "_FIRST_ASKED_SECONDS", 0)
    server: Any = open_server((), calls_ahead=CALLS_AHEAD)

    with pytest.raises(ValueError, match=r"^DEFTER_CALLS_AHEAD: .*DEFTER_CALLS_AHEAD=0"):
        await server.start()
    assert not server._server.is_running()
