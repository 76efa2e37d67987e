"""Own a proxy before PostgreSQL: it can fall silent, and drop clients' start-up parameters.

It speaks the start of PostgreSQL's protocol, so it stands for a pooler as well as for a network.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

_CANCEL = 80_877_102
_ENCRYPT = (80_877_103, 80_877_104)
_HEAD = struct.Struct("!ii")
_CHUNK = 65_536


class DatabaseProxy:
    """Passes on the bytes between clients and PostgreSQL.

    Attributes:
        dropped: names of start-up parameters that PostgreSQL does not get to see.
        cancel_count: how often a client has asked to cancel a statement.
        connection_count: connections that have been begun.
    """

    def __init__(self, database_url: str) -> None:
        self.dropped: Collection[str] = ()
        self.cancel_count = 0
        self.connection_count = 0
        self._target = urlsplit(database_url)
        # A connection from before the last silence has lost bytes, so nothing more is passed on over it.
        self._silent = False
        self._deaf = self._mute = False
        self._age = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The database's URL through this proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        credentials = self._target.netloc.rpartition("@")[0]
        return urlunsplit(self._target._replace(netloc=f"{credentials}@127.0.0.1:{port}"))

    def fall_silent(self) -> None:
        """Accept no connection and pass nothing on; incoming bytes are lost."""
        self._silent = True
        self._age += 1

    def lose_old(self, *, questions: bool = True, answers: bool = True) -> None:
        """Pass nothing more on over existing connections; new ones work."""
        self._deaf, self._mute = questions, answers
        self._age += 1

    def speak(self) -> None:
        """Work again, for new connections."""
        self._silent = False
        self._deaf = self._mute = True

    async def open(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def close(self) -> None:
        """Drop all connections."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._connect(reader, writer)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._silent:
            await reader.read()  # until the other end gives up
            return
        age = self._age
        first = await self._first(reader, writer)
        if first is None:
            return
        self.connection_count += 1
        target, to_target = await asyncio.open_connection(self._target.hostname, self._target.port)
        to_target.write(first)
        try:
            await asyncio.gather(
                self._pass_on(reader, to_target, age, question=True),
                self._pass_on(target, writer, age, question=False),
            )
        finally:
            to_target.close()

    async def _first(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """Return the packet that begins a session, without dropped parameters; None if no session begins."""
        while True:
            head = await reader.readexactly(_HEAD.size)
            length, code = _HEAD.unpack(head)
            if code in _ENCRYPT:
                writer.write(b"N")
                continue
            rest = await reader.readexactly(length - _HEAD.size)
            if code == _CANCEL:
                self.cancel_count += 1
                target, to_target = await asyncio.open_connection(self._target.hostname, self._target.port)
                to_target.write(head + rest)
                await target.read()
                to_target.close()
                return None
            words = rest.rstrip(b"\0").split(b"\0")
            kept = b"".join(
                name + b"\0" + value + b"\0"
                for name, value in zip(words[::2], words[1::2], strict=True)
                if name.decode() not in self.dropped
            )
            return _HEAD.pack(_HEAD.size + len(kept) + 1, code) + kept + b"\0"

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, age: int, *, question: bool
    ) -> None:
        while data := await source.read(_CHUNK):
            lost = self._silent or (age < self._age and (self._deaf if question else self._mute))
            if not lost:
                sink.write(data)
                await sink.drain()
        sink.close()


@asynccontextmanager
async def proxied(database_url: str) -> AsyncIterator[DatabaseProxy]:
    """Run a proxy in front of a database."""
    proxy = DatabaseProxy(database_url)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
