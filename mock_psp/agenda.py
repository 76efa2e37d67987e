"""Owns the agenda: actions that run by themselves, each with the time at which it is due."""

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta


class Agenda:
    """Actions in the order in which they fall due; those due together run in the order of adding."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._waiting: list[tuple[datetime, int, Callable[[], object]]] = []
        self._added = 0
        self.on_add: Callable[[], None] = lambda: None
        """Called after each `add`, so that the runner of the agenda need not poll it."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, seconds: float, action: Callable[[], object]) -> None:
        """Schedule an action for after a delay."""
        self._added += 1
        heapq.heappush(self._waiting, (self._clock() + timedelta(seconds=seconds), self._added, action))
        self.on_add()

    def run_due(self) -> int:
        """Run all due actions, also those that became due by them; return how many."""
        ran = 0
        while self._waiting and self._waiting[0][0] <= self._clock():
            action = heapq.heappop(self._waiting)[2]
            action()
            ran += 1
        return ran
