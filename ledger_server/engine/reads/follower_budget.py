"""Owns the budget of bytes on their way to a process's watchers: a slow reader gets little at a time.

A message that was handed to gRPC stays in this process's memory until its reader has room for it. Nothing but
the reader, or the end of its call, frees it. So the budget counts what was handed over and not taken, and a
watcher gets larger messages only as it takes them.
"""

import asyncio
from typing import Final

from ledger_server.domain.errors import ServerFull
from ledger_server.engine import metrics

LEAST_BYTES: Final = 32 * 1024
"""The message size for a watcher that has not taken much yet, or when there is little room."""
MOST_BYTES: Final = 128 * 1024
"""The message size for a watcher that has read much; gRPC keeps two or three of them (measured)."""

# gRPC takes some megabytes for a client that reads nothing at all, so the first megabytes prove nothing. A
# watcher is given a small part of what it has taken so far, and of what is free beyond the half that is
# reserved for small messages.
_SHARE_OF_TAKEN: Final = 256
_SHARE_OF_FREE: Final = 8


class FollowerBudget:
    """The bytes on their way to all watchers, and their bound."""

    def __init__(self, most_bytes: int, *, wait_seconds: float) -> None:
        """Take the bound, and how long a watcher waits for room before it is refused."""
        self.most_bytes: Final = most_bytes
        self.used = 0
        self._wait_seconds = wait_seconds
        self._freed = asyncio.Event()
        metrics.FOLLOWERS.set_function(lambda: self.used)

    def room(self) -> "Room":
        """Return the room of one more watcher."""
        return Room(self)

    async def enter(self, size: int) -> None:
        """Count a message that is about to be handed over, once there is room for it.

        If nothing else is on its way, there is room for a message of any size.

        Raises:
            ServerFull: there was no room for too long.
        """
        try:
            async with asyncio.timeout(self._wait_seconds):
                while self.used and self.used + size > self.most_bytes:
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            raise ServerFull from None
        self.used += size

    def leave(self, size: int) -> None:
        """Stop counting a message: its reader has taken it, or its call has ended."""
        self.used -= size
        self._freed.set()


class Room:
    """What one watcher may be given, and what it has not taken yet."""

    __slots__ = ("_budget", "_handed", "_taken", "sequence")

    def __init__(self, budget: FollowerBudget) -> None:
        self._budget = budget
        self._handed = 0
        self._taken = 0
        self.sequence = 0
        """Of the last record that was handed over."""

    @property
    def allowance(self) -> int:
        """How many bytes of records the next message should have at most, unless a single one has more.

        With records in both forms, as messages and as bytes, the message has twice as many.
        """
        budget = self._budget
        free = budget.most_bytes // 2 - budget.used
        return max(LEAST_BYTES, min(self._taken // _SHARE_OF_TAKEN, free // _SHARE_OF_FREE, MOST_BYTES))

    async def hand_over(self, size: int, sequence: int) -> None:
        """Count a message that is about to be handed over.

        Raises:
            ServerFull: there was no room for too long.
        """
        await self._budget.enter(size)
        self._handed = size
        self.sequence = sequence

    def taken(self) -> None:
        """Note that the reader has taken what was handed over."""
        self._taken += self._handed
        self._free()

    def close(self) -> None:
        """Note that the call has ended."""
        self._free()

    def _free(self) -> None:
        size, self._handed = self._handed, 0
        if size:
            self._budget.leave(size)
