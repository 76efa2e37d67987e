"""Owns a running server and its end: a clean drain, or at once."""

import asyncio
from contextlib import suppress
from typing import Final, Protocol

import grpc
import structlog
from grpc_health.v1 import health

from ledger_server.engine.ledger import Ledger
from ledger_server.engine.reads.watch import Watches
from ledger_server.process.live_identity import LiveIdentity
from ledger_server.process.readiness import Readiness
from ledger_server.process.settings import Settings
from ledger_server.rpc.serving import Handlers
from ledger_server.rpc.transaction_stream import Streams
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.database_clock import DatabaseClock
from ledger_server.store.history_watch import HistoryWatch

log = structlog.get_logger()

# When the time to drain is over, last answers have this long, as long as they keep going out.
_LAST_SECONDS: Final = 3.0
# The time-out for each thing that nobody waits for: a last answer on its way, a watch of health, an idle
# connection.
_PARTING_SECONDS: Final = 1.0


class Job(Protocol):
    """A background job."""

    def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """Stop."""


class RunningServer:
    """A server that accepts calls."""

    def __init__(
        self,
        *,
        port: int,
        server: grpc.aio.Server,
        handlers: Handlers,
        ledger: Ledger,
        watches: Watches,
        streams: Streams,
        health_servicer: health.aio.HealthServicer,
        jobs: tuple[Job, ...],
        clock: DatabaseClock | None,
        history: HistoryWatch,
        readiness: Readiness,
        pools: tuple[Pool, ...],
        settings: Settings,
        token_port: int | None = None,
        identity: LiveIdentity | None = None,
    ) -> None:
        self.port = port
        self.token_port = token_port
        """The port for callers with tokens, where it is another one."""
        self.identity = identity
        """What a guarded server reads again; None of an open one."""
        self.ledger = ledger
        self._watches = watches
        self._streams = streams
        self._server = server
        self._handlers = handlers
        self._health = health_servicer
        self._jobs = jobs
        self._clock = clock
        self._history = history
        self._readiness = readiness
        self._pools = pools
        self._settings = settings
        self._stopping: asyncio.Task[None] | None = None

    @property
    def another_history(self) -> asyncio.Event:
        """Set once the database is in another history, so that what this server knows is useless."""
        return self._history.changed

    async def drain(self) -> None:
        """Stop cleanly: turn new calls away, answer what was begun, then close.

        Calls that are still under way after `drain_seconds` are given up.
        """
        until = asyncio.get_running_loop().time() + self._settings.drain_seconds
        self._readiness.drain()
        with suppress(TimeoutError):  # a watcher that takes no message would delay this
            async with asyncio.timeout(_PARTING_SECONDS):
                await self._health.enter_graceful_shutdown()
        self._handlers.turn_away()
        self._watches.drain()
        self._streams.drain()
        try:
            async with asyncio.timeout_at(until):
                await self._finish()
        except TimeoutError:
            log.warning(
                "the time to drain is over; calls under way are given up",
                calls_under_way=self._handlers.under_way,
            )
            # Calls that wait for the database get an error, and tell their callers that it is away.
            for pool in self._pools:
                pool.terminate()
        await self._history.look_once_more()
        # gRPC would cancel the calls whose answers are still on their way, and callers don't retry CANCELLED.
        with suppress(TimeoutError):
            async with asyncio.timeout_at(max(until, asyncio.get_running_loop().time() + _LAST_SECONDS)):
                await self._handlers.until_sent(_PARTING_SECONDS)
        # Watches of health, for which gRPC would wait, end here.
        await self._server.stop(_PARTING_SECONDS)
        if self._stopping is not None:
            await self._stopping
        self.ledger.abort()
        await self._stop_watching()
        await asyncio.gather(*map(close, self._pools))

    async def _finish(self) -> None:
        """Return when every call that was begun has its answer."""
        await asyncio.gather(*(job.stop() for job in self._jobs))
        await self.ledger.drain()
        # When gRPC stops, it cancels calls that it has not handed out, and callers don't retry CANCELLED.
        await self._handlers.until_quiet()
        # From here on callers are sent elsewhere. This stop ends by the one in `drain`, whose grace is
        # shorter.
        self._stopping = asyncio.create_task(self._server.stop(self._settings.drain_seconds))
        await self._handlers.until_idle()

    async def abort(self) -> None:
        """Stop at once, as a crash would: nothing that is under way is answered."""
        self.ledger.abort()
        self._watches.drain()
        for job in self._jobs:
            await job.stop()
        await self._stop_watching()
        for pool in self._pools:
            pool.terminate()
        await self._server.stop(None)

    async def _stop_watching(self) -> None:
        await self._readiness.stop()
        if self.identity is not None:
            await self.identity.stop()
        await self._history.stop()
        if self._clock is not None:
            await self._clock.stop()


async def close(pool: Pool) -> None:
    """Close a pool, whether or not the database answers."""
    try:
        async with asyncio.timeout(_PARTING_SECONDS):
            await pool.close()
    except CONNECTION_ERRORS as error:  # a TimeoutError is one
        log.warning("connections to the database were cut", error=repr(error))
        pool.terminate()
