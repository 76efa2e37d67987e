"""Owns group commit: how long a commit waits for more callers.

A commit costs the same for one request as for thirty, and callers who were just answered are about to call
again. So a commit waits until as many callers are there as lately. Only speed depends on this wait, never
correctness.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from ledger_server.engine import metrics

# Per expected caller the wait is as long as gRPC takes to bring a call in, up to a bound; and from how many
# callers on a commit waits at all.
_SECONDS_EACH: Final = 0.000_25
_MAX_SECONDS: Final = 0.012
_CROWD: Final = 4


class GroupCommit:
    """The callers that a commit waits for before it begins."""

    __slots__ = ("_crowd", "_group_size", "_loop", "_since", "_timer", "_wake", "enough")

    def __init__(self, group_size: int, wake: Callable[[], None]) -> None:
        """Take the number of requests that ends every wait, and a function to call when the wait is over."""
        self._group_size = group_size
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._crowd = 0
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0
        self.enough = 1
        """The number of requests that ends the wait; 0 when the wait is over."""

    def saw(self, callers: int) -> None:
        """Note how many callers wait for an answer at once."""
        if callers > self._crowd:  # rarely; this method runs for every call
            self._crowd = callers
            if self.enough:
                self._count()

    def wait(self) -> None:
        """Bound the wait; when it ends, the commit takes the callers that are there."""
        if self._timer is None:
            patience = min(self.enough * _SECONDS_EACH, _MAX_SECONDS)
            self._since = self._since or self._loop.time()
            self._timer = self._loop.call_later(patience, self._give_up)

    def set_off(self, gathered: int) -> None:
        """End the wait; a commit never waits twice for callers who stay away."""
        if not self.enough:
            self._crowd = gathered
            self._count()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        metrics.COMPANY_SECONDS.observe(self._loop.time() - self._since if self._since else 0.0)
        self._since = 0.0

    def _count(self) -> None:
        self.enough = min(self._crowd, self._group_size) if self._crowd >= _CROWD else 1

    def _give_up(self) -> None:
        self._timer = None
        self.enough = 0
        self._wake()
