"""Owns group commit: how long a commit waits for more callers.

A commit costs the same for one request as for thirty, and callers who were just answered are about to
call again. So it waits for as many callers as were here lately; only speed depends on this.
"""

import asyncio
from collections.abc import Callable
from typing import Final

# For each of a crowd as long as gRPC takes to bring a call in, up to a bound; and from how many on it is one.
_SECONDS_EACH: Final = 0.000_25
_MAX_SECONDS: Final = 0.012
_CROWD: Final = 4


class GroupCommit:
    """Those who are waited for before a commit begins."""

    __slots__ = ("_crowd", "_group_size", "_loop", "_timer", "_wake", "enough")

    def __init__(self, group_size: int, wake: Callable[[], None]) -> None:
        """Take how many requests are never waited beyond, and what to call when the waiting is over."""
        self._group_size = group_size
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._crowd = 0
        self._timer: asyncio.TimerHandle | None = None
        self.enough = 1
        """With so many requests nobody is waited for any more; 0 when the waiting is over."""

    def saw(self, callers: int) -> None:
        """Note how many callers wait for an answer at once."""
        if callers > self._crowd:  # rarely, and this is asked for every call
            self._crowd = callers
            if self.enough:
                self._count()

    def wait(self) -> None:
        """Set a bound to the waiting, after which those who are here are all."""
        if self._timer is None:
            patience = min(self.enough * _SECONDS_EACH, _MAX_SECONDS)
            self._timer = self._loop.call_later(patience, self._give_up)

    def set_off(self, gathered: int) -> None:
        """End the waiting; nobody waits twice for callers who stay away."""
        if not self.enough:
            self._crowd = gathered
            self._count()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count(self) -> None:
        self.enough = min(self._crowd, self._group_size) if self._crowd >= _CROWD else 1

    def _give_up(self) -> None:
        self._timer = None
        self.enough = 0
        self._wake()
