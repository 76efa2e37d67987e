"""Own the back-off: how long to wait before the next try, and when there is none."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

Uniform = Callable[[float, float], float]
"""Draws a number between two, as `random.uniform` does."""

# Less time than this is not worth another try.
_LEAST_SECONDS: Final = 0.01
_MAX_DOUBLINGS: Final = 32


def pause_seconds(
    *,
    failures: int,
    asked_seconds: float | None,
    left_seconds: float,
    first_seconds: float,
    longest_seconds: float,
    uniform: Uniform,
) -> float | None:
    """Return how long to wait before the next try, or None if there is no time for one.

    That is what the server asks for, if it does, and on top of it full jitter: anything between nothing and a
    window that doubles with each failure. Nobody comes before the server wants it, nor all at once after.

    Args:
        failures: how many tries in a row have failed, 1 or more.
        asked_seconds: what the server asks for at least (`google.rpc.RetryInfo`); None: nothing.
        left_seconds: until the deadline. The pause ends before it.
        first_seconds, longest_seconds: the window after the first failure, and the largest one.
    """
    asked = max(asked_seconds or 0.0, 0.0)
    room = left_seconds - asked
    if room < _LEAST_SECONDS:
        return None
    window = min(first_seconds * 2.0 ** min(failures - 1, _MAX_DOUBLINGS), longest_seconds)
    return asked + uniform(0.0, min(window, room))


class Tries:
    """The tries of one thing until a deadline; whatever comes through may begin the time anew."""

    def __init__(
        self,
        seconds: float,
        *,
        first_seconds: float,
        longest_seconds: float,
        most: int | None = None,
        now: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        uniform: Uniform = random.uniform,
    ) -> None:
        """Begin the time.

        Args:
            seconds: for all tries with their pauses.
            first_seconds, longest_seconds: see `pause_seconds`.
            most: how many tries there may be in a row; None: as many as there is time for.
            now: tells the time in seconds, on a clock that only goes forward; the running loop's without.
            sleep: waits.
            uniform: the randomness.
        """
        self._seconds = seconds
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._most = most
        self._now = now or asyncio.get_running_loop().time
        self._sleep = sleep
        self._uniform = uniform
        self.renew()

    def renew(self) -> None:
        """Begin anew: something has come through."""
        self._deadline = self._now() + self._seconds
        self._failures = 0

    def left(self) -> float:
        """Return for how many seconds more there may be tries."""
        return max(self._deadline - self._now(), 0.0)

    def over(self) -> bool:
        """Whether the time is up."""
        return not self.left()

    def pause(self, asked_seconds: float | None = None) -> float | None:
        """Count a failure; return how long to wait for the next try, or None if there is no other.

        Args:
            asked_seconds: what the server asks for at least, if it does.
        """
        self._failures += 1
        if self._most is not None and self._failures >= self._most:
            return None
        return pause_seconds(
            failures=self._failures,
            asked_seconds=asked_seconds,
            left_seconds=self.left(),
            first_seconds=self._first_seconds,
            longest_seconds=self._longest_seconds,
            uniform=self._uniform,
        )

    async def wait(self, asked_seconds: float | None = None) -> bool:
        """Count a failure and wait for the next try; return False at once if there is no other."""
        pause = self.pause(asked_seconds)
        if pause is None:
            return False
        await self._sleep(pause)
        return True
