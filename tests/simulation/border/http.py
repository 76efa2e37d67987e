"""Own the wire to the simulated provider: HTTP/1.1 on one end of a socket pair, with delays."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

_END: Final = b"\r\n\r\n"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


Reply = Callable[[int, bytes], None]
"""Answers a request, now or later, with a status and a body in JSON."""


class HttpWire(asyncio.Protocol):
    """Reads requests and passes them on for an answer; one at a time, for clients without pipelining."""

    def __init__(self, answer: Callable[[Asked, Reply], None]) -> None:
        self._answer = answer
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        """Note that nobody reads answers any more."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        self._read += data
        while _END in self._read:
            head, _, rest = self._read.partition(_END)
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            size = int(headers.get("content-length", "0"))
            if len(rest) < size:
                return
            self._read = rest[size:]
            method, target, _ = first.split(" ")
            parts = urlsplit(target)
            asked = Asked(
                method=method,
                path=unquote(parts.path),
                query=dict(parse_qsl(parts.query)),
                headers=headers,
                body=rest[:size],
            )
            self._answer(asked, self._reply)

    def _reply(self, status: int, body: bytes) -> None:
        if self._transport is None:
            return
        phrase = HTTPStatus(status).phrase
        retry = "Retry-After: 7\r\n" if status == HTTPStatus.TOO_MANY_REQUESTS else ""
        head = (
            f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n{retry}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)
