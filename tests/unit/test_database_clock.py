"""The database's clock as a process knows it, against machines that sleep, jump, drift and answer slowly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import ClockAstray
from ledger_server.store.database import Pool
from ledger_server.store.database_clock import ClockLimits, DatabaseClock, OwnClocks

START = 1_900_000_000.0
LIMITS = ClockLimits()


class World:
    """True time, the clocks of a machine in it, and a database behind a network."""

    def __init__(self) -> None:
        self.true = START
        self.wall_error = 0.0
        self.database_error = 0.0
        self.asleep = 0.0
        self.out = 0.0
        self.back = 0.0
        self.asked = 0

    def pass_time(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self.true += seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass while the machine sleeps."""
        self.true += seconds
        self.asleep += seconds

    @property
    def database(self) -> float:
        """What the database's clock says."""
        return self.true + self.database_error

    @property
    def clocks(self) -> OwnClocks:
        """The machine's clocks."""
        return OwnClocks(
            lambda: self.true + self.wall_error,
            lambda: self.true - START,
            lambda: self.true - START - self.asleep,
        )

    @asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[World]:  # noqa: ASYNC109  # asyncpg's name
        """Stand for a pool of connections."""
        assert timeout > 0
        yield self

    async def fetchval(self, statement: str, *, timeout: float) -> datetime:  # noqa: ASYNC109  # likewise
        """Answer as the database does, after a round trip."""
        assert statement == "SELECT defter_now()"
        assert timeout > 0
        self.asked += 1
        self.pass_time(self.out)
        told = self.database
        self.pass_time(self.back)
        return datetime.fromtimestamp(told, UTC)

    def clock(self) -> DatabaseClock:
        """Return a clock of a process on this machine."""
        return DatabaseClock(cast("Pool", cast("Any", self)), LIMITS, own=self.clocks)


_seconds = st.floats(0, 200_000, allow_nan=False)
_trip = st.floats(0, 0.9)
_events = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0, 10)),
        st.tuples(st.just("pass"), _seconds),
        st.tuples(st.just("sleep"), _seconds),
        st.tuples(st.just("set wall"), st.floats(-200_000, 200_000)),
        st.tuples(st.just("out"), _trip),
        st.tuples(st.just("back"), _trip),
        st.tuples(st.just("ask"), st.just(0.0)),
    ),
    max_size=40,
)


@given(_events)
async def test_ask_after_whatever_happened_tells_the_time_and_never_goes_back(
    events: list[tuple[str, float]],
) -> None:
    """However long a machine sleeps or stands still and whoever sets its clock: the estimate is near."""
    world = World()
    clock = world.clock()
    before = await clock.known()
    for kind, amount in [*events, ("ask", 0.0)]:
        match kind:
            case "pass":
                world.pass_time(amount)
            case "sleep":
                world.sleep(amount)
            case "set wall":
                world.wall_error = amount
            case "out":
                world.out = amount
            case "back":
                world.back = amount
            case _:
                told = await clock.known()
                # Half a round trip, and what two measurements may differ by.
                assert abs(told.timestamp() - world.database) <= 0.95 + 0.01
                assert told >= before
                before = told


@given(offset=st.floats(-200_000, 200_000), first=st.floats(-200_000, 200_000))
async def test_set_own_clock_stops_decisions_exactly_beyond_the_bound(offset: float, first: float) -> None:
    """Wrong at the start or set later: beyond the bound a process decides nothing."""
    world = World()
    world.wall_error = first
    clock = world.clock()
    await clock.known()
    world.wall_error = offset
    if abs(abs(offset) - LIMITS.bound_seconds) < 0.001:
        return
    if abs(offset) > LIMITS.bound_seconds:
        with pytest.raises(ClockAstray) as refused:
            await clock.trusted()
        assert float(refused.value.metadata["offset_seconds"]) == pytest.approx(offset, abs=0.1)
    else:
        assert (await clock.trusted()).timestamp() == pytest.approx(world.database, abs=0.001)


@given(jump=st.floats(-100_000, 100_000))
async def test_follow_database_whose_clock_was_set(jump: float) -> None:
    """A real correction is followed in both directions, at the latest with the next measurement."""
    world = World()
    clock = world.clock()
    await clock.known()
    world.database_error = jump
    clock.doubt()
    assert (await clock.known()).timestamp() == pytest.approx(world.database, abs=0.001)


@pytest.mark.parametrize("trip", ["out", "back"])
@pytest.mark.parametrize("seconds", [2.1, 60.0, 86_400.0])
async def test_stand_still_while_asking_measures_nothing(trip: str, seconds: float) -> None:
    """A round trip in which the process stood still says nothing about the time; it is an outage."""
    world = World()
    clock = world.clock()
    before = await clock.known()
    setattr(world, trip, seconds)
    world.pass_time(LIMITS.max_age_seconds + 1)
    with pytest.raises(TimeoutError):
        await clock.known()
    setattr(world, trip, 0.0)
    assert (await clock.known()).timestamp() == pytest.approx(world.database, abs=0.001)
    assert await clock.known() > before


@pytest.mark.parametrize("way", ["pass", "sleep", "set"])
@pytest.mark.parametrize(("seconds", "again"), [(0.5, False), (3.0, True), (3_600.0, True)])
async def test_measure_anew_when_clocks_disagree_or_time_has_passed(
    way: str, seconds: float, again: bool
) -> None:
    """What was measured before a pause is not relied on after it."""
    world = World()
    clock = world.clock()
    await clock.known()
    asked = world.asked
    if way == "pass":
        world.pass_time(2 * seconds)
    elif way == "sleep":
        world.sleep(seconds)
    else:
        world.wall_error = seconds
    await clock.known()
    assert (world.asked > asked) is again
