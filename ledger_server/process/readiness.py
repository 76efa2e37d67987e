"""Owns readiness: whether this process can decide and reach its database, under a health service of its own.

Liveness, the health service without a name, says that the process takes calls: a restart mends it. Readiness
says that calls should be sent here now; nobody restarts a process for a database that is away.
"""

import asyncio
from contextlib import suppress
from typing import Final

import structlog
from grpc_health.v1 import health, health_pb2
from prometheus_client import Gauge

from ledger_server.store.database import CONNECTION_ERRORS, DATABASE_ERRORS, Pool
from ledger_server.store.readiness import why_not_ready

log = structlog.get_logger()

READY: Final = "defter.ready"
"""The name of the health service."""

_READY: Final = Gauge(
    "defter_ready", "1 while this process can decide, reaches its database and does not drain"
)
_LOOK_SECONDS: Final = 3.0
# While it is not ready: what is back is to be used at once.
_AGAIN_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 2.0
# A connection may have died unnoticed; the second one is a new one.
_TRIES: Final = 2


class Readiness:
    """Looks whether the process is ready, and shows it."""

    def __init__(
        self,
        pool: Pool,
        shown: health.aio.HealthServicer,
        another_history: asyncio.Event,
        *,
        look_seconds: float = _LOOK_SECONDS,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        """Begin, not ready yet.

        Args:
            pool: no long work keeps it busy.
            shown: the health service of the process.
            another_history: set once the database is in another history.
            look_seconds: pause between two looks.
            answer_seconds: how long the database may take to answer.
        """
        self._pool = pool
        self._shown = shown
        self._another_history = another_history
        self._look_seconds = look_seconds
        self._answer_seconds = answer_seconds
        self._astray = False
        self._draining = False
        self._why: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Show that the process is ready, as a server that has just started is, and go on looking."""
        await self._show("")
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def astray(self, astray: bool) -> None:
        """Take note that the process's clock is off by too much, or right again."""
        self._astray = astray
        if astray:  # else the next look tells
            await self.look()

    def drain(self) -> None:
        """Be ready no more; health itself is shut down by its own means."""
        self._draining = True
        _READY.set(0)

    async def look(self) -> None:
        """Look once, and show what was found."""
        await self._show(await self._why_not())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_AGAIN_SECONDS if self._why else self._look_seconds)
            try:
                await self.look()
            except Exception:  # what is shown must not stand still
                log.exception("could not look whether this process is ready")

    async def _why_not(self) -> str:
        if self._another_history.is_set():
            return "the database is in another history"
        if self._astray:
            return "this process's clock is off by too much"
        why = ""
        for _ in range(_TRIES):
            try:
                async with asyncio.timeout(self._answer_seconds):
                    return await why_not_ready(self._pool)
            except (*CONNECTION_ERRORS, *DATABASE_ERRORS) as error:  # a TimeoutError is an OSError too
                why = f"the database did not answer: {error!r}"
        return why

    async def _show(self, why: str) -> None:
        if why == self._why or self._draining:
            return
        if why:
            log.error("not ready", why=why)
        elif self._why is not None:
            log.info("ready again")
        self._why = why
        _READY.set(not why)
        states = health_pb2.HealthCheckResponse
        await self._shown.set(READY, states.NOT_SERVING if why else states.SERVING)
