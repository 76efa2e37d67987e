"""Owns the restart of a server once its database is in another history, after a restore or a failover."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

from ledger_server.process.running import RunningServer
from ledger_server.store.database import CONNECTION_ERRORS

log = structlog.get_logger()

_PAUSE_SECONDS: Final = 1.0


async def serve_until(
    stop: asyncio.Event, server: RunningServer, start: Callable[[int], Awaitable[RunningServer]]
) -> RunningServer | None:
    """Serve until a stop is asked for; return the server that runs then, None if none does.

    No memory of a server is carried over to the next one: work under way is given up as by a crash.

    Args:
        start: starts another server on a port.
    """
    while await _changes(server.another_history, stop):
        log.error("starting anew, since the database has another history")
        await server.abort()
        started = await _started(server.port, start, stop)
        if started is None:
            return None
        server = started
    return server


async def _changes(changed: asyncio.Event, stop: asyncio.Event) -> bool:
    """Wait for one of the two; return whether the server is to be started anew."""
    waits = [asyncio.create_task(event.wait()) for event in (changed, stop)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
    return not stop.is_set()


async def _started(
    port: int, start: Callable[[int], Awaitable[RunningServer]], stop: asyncio.Event
) -> RunningServer | None:
    while not stop.is_set():
        try:
            return await start(port)
        except CONNECTION_ERRORS as error:
            log.warning("the database is away", error=repr(error), again_in_seconds=_PAUSE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_SECONDS):
                await stop.wait()
    return None
