"""Owns the serving of a socket that is open already, and its end, in which begun requests are answered."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette


@contextlib.asynccontextmanager
async def answering(
    app: Starlette,
    listening: socket.socket,
    *,
    before_end: Callable[[], Awaitable[None]] | None = None,
    **options: Any,
) -> AsyncIterator[None]:
    """Serve a socket; when the context ends, requests under way are answered first.

    Args:
        before_end: ends what would be waited for and does not end by itself.
        options: of uvicorn, beside those that all processes have: no WebSockets, no lines of its own in the
            log, and no headers that say what serves.
    """
    server = _Server(
        uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            **options,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await server.begun.wait()
        yield
    finally:
        if before_end is not None:
            await before_end()
        server.stopping.set()
        await serving


class _Server(uvicorn.Server):
    """A server that leaves signals to its program, and tells when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()
        self.stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.begun.set()

    async def main_loop(self) -> None:
        # Without a date header there is nothing to do at every tick, so stopping takes no time.
        await self.on_tick(0)
        await self.stopping.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
