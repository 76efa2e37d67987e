"""Owns the pace of a run: full speed while nobody posts, else short steps with long rests."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

# Seconds of rest per second of work while callers wait for the same process and database.
_REST: Final = 14.0
_LONGEST_REST_SECONDS: Final = 5.0
_BUSY_SHARE: Final = 10


class Pace:
    """The pace of one run, or of one import.

    Attributes:
        busy: whether somebody has posted during the latest step.
    """

    def __init__(self, commits: Callable[[], int]) -> None:
        """Ask `commits` how many records this process has committed for callers so far."""
        self.busy = False
        self._commits = commits
        self._seen = commits()

    def size(self, most: int) -> int:
        """Return the size of one step: small while a posting may wait behind it."""
        return max(1, most // _BUSY_SHARE) if self.busy else most

    @asynccontextmanager
    async def step(self, *, longest: float = _LONGEST_REST_SECONDS) -> AsyncIterator[None]:
        """Do one step of work, then rest if somebody has posted since the step before.

        Args:
            longest: the longest rest, in seconds.
        """
        begun = time.monotonic()
        yield
        worked = time.monotonic() - begun
        commits = self._commits()
        self.busy, self._seen = commits != self._seen, commits
        await asyncio.sleep(min(worked * _REST, longest) if self.busy else 0)
