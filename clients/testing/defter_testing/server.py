"""Owns the gRPC server of the fake: gRPC's threads outside, the server's handlers in one event loop inside.

gRPC's asyncio server would share what it polls with the asyncio channels of a test in another event loop of
the same process, and both would wait for ever. The server of threads shares nothing with them.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future
from typing import Any, Final, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from defter_testing.wiring import SERVICES
from ledger_server.rpc.call_facts import METADATA
from ledger_server.rpc.grpc_server import CHANNEL_OPTIONS
from ledger_server.rpc.serving import Handlers

# Responses that a stream is ahead of what gRPC has taken.
_AHEAD: Final = 2
# Without a deadline gRPC tells of one that is this far away, or further.
_NO_DEADLINE_SECONDS: Final = 10.0**8
_END: Final = object()

Metadata = Sequence[tuple[str, str | bytes]]


class _Context:
    """A call as the handlers know it (`grpc.aio.ServicerContext`), by the context of gRPC's thread."""

    def __init__(self, context: grpc.ServicerContext, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop
        self._status: tuple[grpc.StatusCode, str] | None = None
        self._done: list[Callable[[Any], object]] = []
        self.responses: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(_AHEAD)

    def set_trailing_metadata(self, trailing: Metadata) -> None:
        self._context.set_trailing_metadata(tuple(trailing))

    def invocation_metadata(self) -> Metadata:
        return tuple(self._context.invocation_metadata())

    def time_remaining(self) -> float | None:
        remaining: float | None = self._context.time_remaining()
        return None if remaining is None or remaining > _NO_DEADLINE_SECONDS else remaining

    def add_done_callback(self, tell: Callable[[Any], object]) -> None:
        self._done.append(tell)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing: Metadata = ()) -> NoReturn:
        if trailing:
            self.set_trailing_metadata(trailing)
        self._status = code, details
        raise grpc.aio.AbortError

    async def write(self, response: Any) -> None:
        await self._room.acquire()
        self.responses.put(response)

    def taken(self) -> None:
        """Note, in gRPC's thread, that it has taken a response."""
        self._loop.call_soon_threadsafe(self._room.release)

    def end(self) -> None:
        """Tell those who wait for the end of the call."""
        for tell in self._done:
            tell(self)

    def result_of(self, work: Future[Any]) -> Any:
        """Return what the work has come to, in gRPC's thread; or end the call with its status."""
        try:
            return work.result()
        except CancelledError:  # the caller is gone, and nobody hears this
            self._context.abort(grpc.StatusCode.CANCELLED, "")
        except grpc.aio.AbortError:
            assert self._status is not None
            self._context.abort(*self._status)


class _Threads(Executor):
    """Begins a daemon for each piece of work: a fake that nobody has closed keeps no process from ending.

    The threads of a pool are waited for at the end of a process, and those of open watches would never end.
    """

    def submit(self, work: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        """Begin at once."""
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work(*args, **more))
            except BaseException as error:  # noqa: BLE001  # it is told by the future
                future.set_exception(error)

        threading.Thread(target=run, name="defter-testing-call", daemon=True).start()
        return future


class _Bridge(grpc.GenericRpcHandler):
    """Hands each call over to the event loop."""

    def __init__(self, handlers: Handlers, loop: asyncio.AbstractEventLoop, threads: _Threads) -> None:
        self._handlers = handlers
        self._loop = loop
        self._threads = threads

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler: Any = self._handlers.service(handler_call_details)
        if handler is None:
            return None
        metadata = tuple(handler_call_details.invocation_metadata)

        def begin(request: Any, outer: grpc.ServicerContext) -> tuple[_Context, Any]:
            context = _Context(outer, self._loop)

            async def work() -> Any:
                METADATA.set(metadata)
                parse = handler.request_deserializer
                message = self._messages(request, parse) if handler.request_streaming else parse(request)
                serve = _serve_of(handler)
                try:
                    return await serve(message, context)
                finally:
                    context.end()

            future = asyncio.run_coroutine_threadsafe(work(), self._loop)
            # Also of work that was cancelled before it began.
            future.add_done_callback(lambda _: context.responses.put(_END))
            if not outer.add_callback(lambda: _cancel(future)):  # the call is over already
                future.cancel()
            return context, future

        def respond(request: Any, outer: grpc.ServicerContext) -> Any:
            context, future = begin(request, outer)
            return handler.response_serializer(context.result_of(future))

        def stream(request: Any, outer: grpc.ServicerContext) -> Iterator[Any]:
            context, future = begin(request, outer)
            while (response := context.responses.get()) is not _END:
                yield handler.response_serializer(response)
                context.taken()
            context.result_of(future)

        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        made: grpc.RpcMethodHandler[Any, Any] = make(stream if handler.response_streaming else respond)
        return made

    async def _messages(self, requests: Iterator[bytes], parse: Callable[[bytes], Any]) -> AsyncIterator[Any]:
        while (data := await self._loop.run_in_executor(self._threads, _next, requests)) is not None:
            yield parse(data)


def _serve_of(handler: Any) -> Any:
    """Return the one function that a handler has."""
    return next(
        serve
        for serve in (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
        if serve is not None
    )


def _cancel(future: Future[Any]) -> None:
    """Cancel what works for a call that is over, if it still does."""
    future.cancel()


def _next(requests: Iterator[bytes]) -> bytes | None:
    try:
        return next(requests, None)
    except grpc.RpcError:  # the call is over
        return None


class ThreadedServer:
    """A gRPC server on this machine, over handlers that live in an event loop."""

    def __init__(self, handlers: Handlers, loop: asyncio.AbstractEventLoop, *, host: str, port: int) -> None:
        """Start serving.

        Raises:
            RuntimeError: the port is taken (raised by gRPC).
        """
        # Each call has one of these while it lasts, and a stream of requests one for each of its messages.
        threads: Any = _Threads()  # gRPC's types ask for a pool
        self._server = grpc.server(
            threads,
            handlers=[_Bridge(handlers, loop, threads)],
            options=[*CHANNEL_OPTIONS, ("grpc.so_reuseport", 0)],
        )
        names = [service.full_name for service in SERVICES]
        servicer = health.HealthServicer()
        for name in ("", *names):
            servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        enable_reflection: Any = reflection.enable_server_reflection  # has no types
        enable_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self.port: Final[int] = self._server.add_insecure_port(f"{host}:{port}")
        self._server.start()

    def stop(self) -> None:
        """End all calls, and wait until the port is free."""
        self._server.stop(None).wait()
