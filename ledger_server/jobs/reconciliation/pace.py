"""Owns how fast a run goes: at full speed while nobody posts, else in short steps with long rests."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

# While callers wait for the same process and database, so much rest for every second of work.
_REST: Final = 9.0
_LONGEST_REST_SECONDS: Final = 5.0


class Pace:
    """The pace of one run, or of one import.

    Args:
        commits: how many records this process has committed for callers so far.
    """

    def __init__(self, commits: Callable[[], int]) -> None:
        self._commits = commits
        self._seen = commits()

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
        busy, self._seen = commits != self._seen, commits
        await asyncio.sleep(min(worked * _REST, longest) if busy else 0)
