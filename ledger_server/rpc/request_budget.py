"""Owns the budget of request bytes under way in a process: further requests are refused, or read later."""

import asyncio
from typing import Final

from ledger_server.domain.errors import ServerFull
from ledger_server.engine import metrics

SMALL_BYTES: Final = 16 * 1024
"""Requests up to this size may use the whole budget, larger ones three quarters of it.

So a few callers with large requests leave room for those of all others.
"""

_PAUSE_SECONDS: Final = 0.01


class RequestBudget:
    """The bytes of all requests of a process that are not answered yet, and their bound.

    In memory a request takes several times its size: as bytes, message, command and rows. The bound is on the
    bytes that were sent.
    """

    __slots__ = ("_most_bytes", "used")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.used = 0
        """Bytes of the requests under way."""
        metrics.REQUEST_BYTES.set_function(lambda: self.used)

    def enter(self, size: int) -> None:
        """Count a request that begins; one that is larger than the bound begins when there is no other.

        Raises:
            ServerFull: there is no room for it; it was not counted.
        """
        if not self.has_room(size):
            raise ServerFull
        self.used += size

    def enter_if_room(self, size: int) -> bool:
        """Count a message of a stream if there is room for it, and return whether there is."""
        # Streams may wait, single calls may not: so streams leave them half of the budget.
        if self.used and self.used + size > self._most_bytes // 2:
            return False
        self.used += size
        return True

    async def enter_patiently(self, size: int) -> None:
        """Count a message of a stream once there is room; until then the stream is not read on."""
        while not self.enter_if_room(size):  # noqa: ASYNC110  # an event would be work for every call
            await asyncio.sleep(_PAUSE_SECONDS)

    def leave(self, size: int) -> None:
        """Stop counting a request: it has its answer."""
        self.used -= size

    def has_room(self, size: int) -> bool:
        """Whether a request could begin now."""
        most = self._most_bytes if size <= SMALL_BYTES else self._most_bytes * 3 // 4
        return not self.used or self.used + size <= most
