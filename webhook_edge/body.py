"""Owns the reading of bodies, with bounds on size, time and memory for every sender."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import ClientDisconnect, Request

from webhook_edge.verdicts import Refused, Verdict

MOST_BYTES: Final = 1024 * 1024
"""The ledger stores no larger payload."""


class BodyReader:
    """Reads bodies, and bounds how much of all of them together waits in memory."""

    def __init__(
        self,
        *,
        seconds: float = 10.0,
        most_bytes: int = MOST_BYTES,
        most_bytes_at_once: int = 256 * MOST_BYTES,
    ) -> None:
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._most_bytes_at_once = most_bytes_at_once
        self._bytes_now = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Give the whole body, which counts as in memory until the context ends.

        Raises:
            Refused: TOO_LARGE, by what was announced or what came; TOO_SLOW; CUT_OFF; TOO_MANY, when there
                is no room now.
        """
        # h11 has checked that the length is one number; with a chunked body it is not known.
        if int(request.headers.get("content-length", "0")) > self._most_bytes:
            raise Refused(Verdict.TOO_LARGE)
        content = bytearray()
        try:
            await self._read(request, content)
            yield bytes(content)
        finally:
            self._bytes_now -= len(content)

    async def _read(self, request: Request, content: bytearray) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    content += chunk
                    self._bytes_now += len(chunk)
                    if len(content) > self._most_bytes:
                        raise Refused(Verdict.TOO_LARGE)
                    if self._bytes_now > self._most_bytes_at_once:
                        raise Refused(Verdict.TOO_MANY, retry_seconds=1)
        except TimeoutError:
            raise Refused(Verdict.TOO_SLOW) from None
        except ClientDisconnect:
            raise Refused(Verdict.CUT_OFF) from None
