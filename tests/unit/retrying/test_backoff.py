"""Own the tables of the back-off: what a pause is between, and when there is no other try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defter_retrying.backoff import Tries, pause_seconds

FIRST, LONGEST = 0.1, 2.0


def lowest(low: float, _: float) -> float:
    """Draw the lower end."""
    return low


def highest(_: float, high: float) -> float:
    """Draw the upper end."""
    return high


def pause(
    failures: int,
    asked: float | None,
    left: float,
    uniform: Callable[[float, float], float],
) -> float | None:
    """Return a pause with the windows of this table."""
    return pause_seconds(
        failures=failures,
        asked_seconds=asked,
        left_seconds=left,
        first_seconds=FIRST,
        longest_seconds=LONGEST,
        uniform=uniform,
    )


@pytest.mark.parametrize(
    ("failures", "asked", "left", "least", "most"),
    [
        # The window doubles, up to the longest.
        (1, None, 60.0, 0.0, 0.1),
        (2, None, 60.0, 0.0, 0.2),
        (3, None, 60.0, 0.0, 0.4),
        (5, None, 60.0, 0.0, 1.6),
        (6, None, 60.0, 0.0, 2.0),
        (10**9, None, 60.0, 0.0, 2.0),
        # What the server asks for is the least, with the same window above it.
        (1, 0.5, 60.0, 0.5, 0.6),
        (6, 0.5, 60.0, 0.5, 2.5),
        # It may be longer than any pause of our own.
        (1, 30.0, 60.0, 30.0, 30.1),
        # Nothing, or less, is nothing asked for.
        (1, 0.0, 60.0, 0.0, 0.1),
        (1, -5.0, 60.0, 0.0, 0.1),
        # The pause ends before the deadline.
        (6, None, 1.0, 0.0, 1.0),
        (6, 0.5, 1.0, 0.5, 1.0),
    ],
)
def test_pause_is_anything_between_what_is_asked_for_and_the_window(
    failures: int, asked: float | None, left: float, least: float, most: float
) -> None:
    """The two ends of what may be drawn."""
    assert pause(failures, asked, left, lowest) == pytest.approx(least)
    assert pause(failures, asked, left, highest) == pytest.approx(most)


@pytest.mark.parametrize(
    ("asked", "left"),
    [(None, 0.0), (None, 0.005), (1.0, 1.0), (1.0, 0.5), (3600.0, 15.0), (float("inf"), 15.0)],
)
def test_no_time_for_what_is_asked_for_is_no_other_try(asked: float | None, left: float) -> None:
    """Nobody comes before the server wants it, nor waits for what lies beyond the deadline."""
    assert pause(1, asked, left, lowest) is None


@given(
    failures=st.integers(1, 10_000),
    asked=st.none() | st.floats(-10, 10_000),
    left=st.floats(0, 10_000),
    share=st.floats(0, 1),
)
def test_pause_is_never_before_what_is_asked_for_nor_after_the_deadline(
    failures: int, asked: float | None, left: float, share: float
) -> None:
    """Whatever is drawn."""
    found = pause(failures, asked, left, lambda low, high: low + share * (high - low))
    if found is not None:
        assert max(asked or 0.0, 0.0) <= found <= left + 1e-9
        assert found <= max(asked or 0.0, 0.0) + LONGEST


class Time:
    """A clock that goes forward when somebody sleeps, and notes how long."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        """Return the time."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.slept.append(seconds)
        self.seconds += seconds


def tries(time: Time, seconds: float, *, most: int | None = None) -> Tries:
    """Return tries that always draw the upper end."""
    return Tries(
        seconds,
        first_seconds=FIRST,
        longest_seconds=LONGEST,
        most=most,
        now=time.now,
        sleep=time.sleep,
        uniform=highest,
    )


async def test_wait_until_the_deadline_doubles_and_ends() -> None:
    """What is left at the end is used, and no time beyond it."""
    time = Time()
    some = tries(time, 1.0)

    while await some.wait():
        pass

    assert time.slept == pytest.approx([0.1, 0.2, 0.4, 0.3])
    assert some.over()


@pytest.mark.parametrize(("most", "pauses"), [(1, 0), (2, 1), (4, 3)])
async def test_wait_for_more_tries_than_there_may_be_ends(most: int, pauses: int) -> None:
    """A number of tries bounds them, however much time there is."""
    time = Time()
    some = tries(time, 1_000.0, most=most)

    while await some.wait():
        pass

    assert len(time.slept) == pauses


async def test_renew_begins_time_and_window_anew() -> None:
    """Something came through: the next failure is the first one."""
    time = Time()
    some = tries(time, 1.0)
    assert await some.wait()
    assert await some.wait()

    some.renew()

    assert some.left() == 1.0
    assert await some.wait()
    assert time.slept == pytest.approx([0.1, 0.2, 0.1])


async def test_wait_longer_than_the_time_that_is_left_does_not_wait() -> None:
    """Whoever is told to come later than the deadline hears the refusal at once."""
    time = Time()

    assert not await tries(time, 15.0).wait(20.0)
    assert time.slept == []


async def test_tries_without_a_clock_take_the_loops() -> None:
    """The running event loop's time bounds them."""
    some = Tries(60.0, first_seconds=FIRST, longest_seconds=LONGEST)
    now = asyncio.get_running_loop().time()

    assert 0 < some.left() <= 60.0
    assert asyncio.get_running_loop().time() >= now
