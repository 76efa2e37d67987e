"""Own a proxy before a server: it can cut all connections that are open, or let them fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_CHUNK = 65_536


class TcpProxy:
    """Passes on the bytes between clients and a server.

    Attributes:
        connection_count: how many connections were begun.
        cut_count: how many of them were cut.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connection_count = self.cut_count = 0
        self._age = 0

    @property
    def target(self) -> str:
        """Where it listens, `host:port`."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def open(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    def cut(self) -> None:
        """Cut what is open; new connections work."""
        for task in self._tasks:
            self.cut_count += task.cancel()

    def mute(self) -> None:
        """Pass nothing more on over what is open, as a network does that is gone; new connections work."""
        self._age += 1

    async def close(self) -> None:
        """Cut everything and listen no more."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connection_count += 1
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*self._address)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass_on(reader, onward_writer))
                    both.create_task(self._pass_on(onward_reader, writer))
            finally:
                onward_writer.transport.abort()
        except* (OSError, asyncio.CancelledError):
            pass  # what is away, or was cut, is what this is for
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        age = self._age
        while chunk := await reader.read(_CHUNK):
            if age == self._age:
                writer.write(chunk)
                await writer.drain()
        with suppress(OSError):
            writer.write_eof()


@asynccontextmanager
async def tcp_proxy(port: int, host: str = "127.0.0.1") -> AsyncIterator[TcpProxy]:
    """Run a proxy before a port."""
    proxy = TcpProxy(host, port)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
