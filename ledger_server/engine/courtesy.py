"""Owns how heavy work gives way: it is cut into slices, between which the event loop is left to others.

A verification or a long list needs a processor for as long as it lasts. Whoever posts or reads a balance
meanwhile waits for one slice of it at most, and then finds the loop free.
"""

import asyncio
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Final, TypeVar

SLICE_SECONDS: Final = 0.001
"""So long heavy work may hold the event loop; one item more may be begun by then."""

# Seconds of rest per second of work while there are others.
_REST: Final = 3.0
_LONGEST_REST_SECONDS: Final = 0.05

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class Slices:
    """The slices of one piece of heavy work."""

    __slots__ = ("_begun", "_others", "_rest")

    def __init__(self, others: Callable[[], bool], rest: float) -> None:
        self._others = others
        self._rest = rest
        self._begun = perf_counter()

    @property
    def over(self) -> bool:
        """Whether the slice has lasted long enough for `give_way`."""
        return perf_counter() - self._begun >= SLICE_SECONDS

    async def give_way(self) -> None:
        """Leave the loop to others, for longer where there are some; then another slice begins."""
        worked = perf_counter() - self._begun
        await asyncio.sleep(min(worked * self._rest, _LONGEST_REST_SECONDS) if self._others() else 0)
        self._begun = perf_counter()

    async def made(self, items: Iterable[_Item], make: Callable[[_Item], _Made]) -> list[_Made]:
        """Make something of each item, giving way in between."""
        made: list[_Made] = []
        for item in items:
            made.append(make(item))
            if self.over:
                await self.give_way()
        return made


class Courtesy:
    """Knows whether somebody has light work under way, for which heavy work rests."""

    def __init__(self, others: Callable[[], bool] = lambda: False) -> None:
        self._others = others

    def slices(self, rest: float = _REST) -> Slices:
        """Begin a piece of heavy work.

        Args:
            rest: seconds of rest per second of work while there are others; 0: others have one turn each.
        """
        return Slices(self._others, rest)
