"""Owns the memory budget for the working sets of a process's lanes: in bytes, and idle lanes yield first."""

from collections import OrderedDict
from typing import Final, Protocol

from ledger_server.engine import metrics


class Remembers(Protocol):
    """A lane, as far as its memory is concerned."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""

    def forget(self) -> None:
        """Forget everything; an idle lane reads again what it needs."""


class WorkingSets:
    """The sizes of all working sets, the longest unused first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes: Final = most_bytes
        self._sizes: OrderedDict[Remembers, int] = OrderedDict()
        self.size = 0
        """The sizes of all working sets together, in bytes."""

    @property
    def keep_bytes(self) -> int:
        """How many bytes one lane may keep: half of the budget, or a fair share once all of it is used."""
        return self._most_bytes // (2 if self.size <= self._most_bytes else max(2, len(self._sizes)))

    def note(self, lane: Remembers, size: int) -> None:
        """Take note of a lane's working set, as it has just been used."""
        self.size += size - self._sizes.pop(lane, 0)
        self._sizes[lane] = size
        if self.size > self._most_bytes:
            self._make_room(lane)

    def drop(self, lane: Remembers) -> None:
        """Take note that a lane is gone."""
        self.size -= self._sizes.pop(lane, 0)

    def _make_room(self, user: Remembers) -> None:
        for lane in list(self._sizes):
            if self.size <= self._most_bytes:
                return
            if lane is not user and lane.idle:
                self.drop(lane)
                lane.forget()
                metrics.FORGOTTEN.inc()
