"""Own the load generator's side of HTTP: connections that are kept open, and nothing that costs much.

A general HTTP client spends several times as much on a request as the edge does, and would be what is
measured.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from bench.stack import HOST

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One open connection, for one request after the other."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        """Return status and body of the answer.

        Raises:
            OSError: the connection ended, or the answer is none.
        """
        self.writer.write(
            request_head("POST", path, [*headers.items(), ("content-length", str(len(body)))]) + body
        )
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            answer = await self.reader.readexactly(int(length[1])) if length else b""
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the connection ended before the answer") from None
        return int(head.split(b" ", 2)[1]), answer.decode()


def request_head(method: str, path: str, headers: Sequence[tuple[str, str]]) -> bytes:
    """Return the bytes of a request up to its body; characters beyond Latin-1 go as UTF-8."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {HOST}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogatepass")


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """Open so many connections, and close them in the end."""
    async with AsyncExitStack() as opened:
        every = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection(HOST, port)
            opened.callback(writer.close)
            every.append(Connection(reader=reader, writer=writer))
        yield every
