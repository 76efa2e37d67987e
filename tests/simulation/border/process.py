"""Own one server process of the simulation: started as the product starts itself, with no network before it.

This is the only module here that knows how the product is put together.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NoReturn, cast

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.process import bootstrap
from ledger_server.process.running import RunningServer
from ledger_server.process.settings import Settings
from ledger_server.providers.adapter import Adapter
from ledger_server.store import connections, history_watch
from ledger_server.store.database_clock import OwnClocks
from tests.simulation.border.loop import PROCESS, Body, SimulatedLoop

CURRENCIES: Final[CurrencyRegistry] = bootstrap.currencies({})
_PATIENCE_SECONDS: Final = 120.0
_MEASURE_SECONDS: Final = 40.0
_UNDECIDED: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
    }
)
MakeAdapters = Callable[[Callable[[], datetime]], Mapping[str, Adapter]]


class Unanswered(Exception):
    """The process died, stands still, or could not decide; asking again is safe."""


class RefusedByRule(Exception):
    """The ledger has refused the request; the text is the reason's name."""


class Wall:
    """A process's wall clock, which may be off."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.off_seconds = 0.0
        self._loop = loop

    def __call__(self) -> datetime:
        """Return the time as this process has it."""
        return self._loop.now + timedelta(seconds=self.off_seconds)


class Process:
    """A server process that can stand still, be killed, and be called as over gRPC."""

    def __init__(
        self, loop: SimulatedLoop, name: str, database_url: str, make_adapters: MakeAdapters
    ) -> None:
        self.body = Body(name, loop)
        self.wall = Wall(loop)
        self._loop = loop
        self.body.wall = lambda: self.wall().timestamp()
        self.database_url = database_url
        self._make_adapters = make_adapters
        self._network = _NoNetwork()
        self._server: RunningServer | None = None

    @property
    def is_well(self) -> bool:
        """Whether it can answer now."""
        return not self.body.dead and not self.body.stopped and self._server is not None

    async def start(self) -> None:
        """Connect and begin."""
        await self.body.spawn(self._start())

    async def _start(self) -> None:
        settings = Settings(
            database_url=self.database_url,
            write_connections=2,
            read_connections=3,
            dispatch_sweep_seconds=60,
            parked_sweep_seconds=120,
            expiry_sweep_seconds=600,
        )
        adapters = self._make_adapters(self.wall)
        clocks = OwnClocks(lambda: self.wall().timestamp(), self._elapsed, self._elapsed)
        with _put_together_for(self._network):
            self._server = await bootstrap.start_server(settings, own_clocks=clocks, providers=adapters)

    def _elapsed(self) -> float:
        """Return what the clocks of its machine say that nobody sets."""
        return self._loop.time() - self.body.frozen_seconds

    async def ask(self, request: Message) -> Any:
        """Call the method that takes such a request; of a stream the last answer is returned.

        Raises:
            Unanswered: the outcome is unknown.
            RefusedByRule: nothing was done, and asking again will not help.
        """
        if not self.is_well:
            raise Unanswered(f"{self.body.name} is not there")
        [method] = (
            method
            for service in request.DESCRIPTOR.file.services_by_name.values()
            for method in service.methods
            if method.input_type is request.DESCRIPTOR
        )
        handler = self._network.handler(f"/{method.containing_service.full_name}/{method.name}")
        task = self.body.spawn(_called(handler, request))
        await asyncio.wait([task], timeout=_PATIENCE_SECONDS)
        if not task.done() or task.cancelled():
            raise Unanswered(f"{self.body.name} did not answer")
        return GetMessageClass(cast("Any", method.output_type)).FromString(task.result())

    async def kill(self) -> None:
        """Die."""
        await self.body.kill()


async def _called(handler: Any, request: Message) -> bytes:
    """Return the answer's bytes, the last one of a stream."""
    context = _Context()
    received = handler.request_deserializer(request.SerializeToString())
    try:
        if handler.unary_unary is not None:
            answer = await handler.unary_unary(received, context)
        else:
            await handler.unary_stream(received, context)
            answer = context.written[-1]
    finally:
        context.end()
    found: bytes = handler.response_serializer(answer)
    return found


class _NoNetwork:
    """Takes the place of gRPC's server: keeps the handlers, and listens to nothing."""

    def __init__(self) -> None:
        self._handlers: list[grpc.GenericRpcHandler] = []

    def handler(self, method: str) -> Any:
        """Return the handler of a method."""
        details = cast("grpc.HandlerCallDetails", _Details(method))
        found = (each.service(details) for each in self._handlers)
        return next(handler for handler in found if handler is not None)

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        """Keep handlers."""
        self._handlers += handlers

    def add_registered_method_handlers(self, *_: object) -> None:
        """Keep none: these are gRPC's own services."""

    def add_insecure_port(self, _: str) -> int:
        """Listen to nothing."""
        return 1

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self, _: float | None) -> None:
        """Do nothing."""


class _Details:
    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata: tuple[()] = ()


class _Context:
    """The parts of gRPC's context that a handler needs."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self._when_done: list[Callable[[object], None]] = []

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """Call back once the status is out."""
        self._when_done.append(callback)

    def end(self) -> None:
        """The status is out."""
        for callback in self._when_done:
            callback(self)

    async def write(self, message: Any) -> None:
        """Keep a message of a stream."""
        self.written.append(message)

    def time_remaining(self) -> None:
        """There is no deadline."""

    def set_trailing_metadata(self, _: object) -> None:
        """Nobody reads it."""

    def invocation_metadata(self) -> tuple[()]:
        """Nobody is named."""
        return ()

    async def abort(
        self, code: grpc.StatusCode, _: str, trailing: tuple[tuple[str, str | bytes], ...]
    ) -> NoReturn:
        """End the call with a status."""
        status = status_pb2.Status.FromString(cast("bytes", trailing[0][1]))
        info = error_details_pb2.ErrorInfo()
        status.details[0].Unpack(info)
        raise (Unanswered if code in _UNDECIDED else RefusedByRule)(info.reason)


@contextlib.contextmanager
def _put_together_for(network: _NoNetwork) -> Iterator[None]:
    """Make the product's own start use this network, look at its clock and database rarely, keep connections.

    With a measurement each second, and a look each third whether the database answers, most steps would be
    those of measurements and looks. Every jump of time is longer than a connection may be idle.
    """
    module: Any = bootstrap
    pools: Any = connections
    watch: Any = history_watch
    opened, limits, idle = module.open_server, module.ClockLimits, pools.IDLE_SECONDS
    readiness = module.Readiness
    module.open_server = lambda _, **__: network
    module.ClockLimits = partial(limits, measure_seconds=_MEASURE_SECONDS)
    module.Readiness = partial(readiness, look_seconds=_MEASURE_SECONDS)
    look_seconds, watch.LOOK_SECONDS = watch.LOOK_SECONDS, _MEASURE_SECONDS
    pools.IDLE_SECONDS = 0
    try:
        yield
    finally:
        module.open_server, module.ClockLimits, pools.IDLE_SECONDS = opened, limits, idle
        module.Readiness, watch.LOOK_SECONDS = readiness, look_seconds


@contextlib.contextmanager
def clocks_of_processes(loop: SimulatedLoop) -> Iterator[None]:
    """Let each process read the clocks of its own machine, and the rest of the tests the real ones."""
    real_time, real_gettime, real_monotonic = time.time, time.clock_gettime, time.monotonic
    module: Any = time

    def wall() -> float:
        body = PROCESS.get()
        return real_time() if body is None else body.wall()

    def gettime(clock: int) -> float:
        body = PROCESS.get()
        return real_gettime(clock) if body is None else loop.time() - body.frozen_seconds

    def monotonic() -> float:
        body = PROCESS.get()
        return real_monotonic() if body is None else loop.time() - body.frozen_seconds

    module.time, module.clock_gettime, module.monotonic = wall, gettime, monotonic
    try:
        yield
    finally:
        module.time, module.clock_gettime, module.monotonic = real_time, real_gettime, real_monotonic
