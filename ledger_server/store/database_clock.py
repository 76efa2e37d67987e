"""Owns the one clock, which is the database's: a process estimates it between two measurements.

A measurement is one round trip: the database's time belongs to its middle, give or take half of the trip.
From there on the process counts seconds on a clock that nobody sets and that goes on while the machine
sleeps. The process's own wall clock decides nothing. It is only compared with the database's, since a clock
that is far off does harm elsewhere: in certificates, signatures, provider times and logs.

An estimate can still be wrong: a machine may be copied, or stand still in a way that none of its clocks
shows. So each commit compares its record time with the database's time once more (`lane_writes.py`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import structlog
from msgspec import Struct
from prometheus_client import Gauge

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import ClockAstray
from ledger_server.store.database import CONNECTION_ERRORS, Pool

log = structlog.get_logger()

OFFSET: Final = Gauge(
    "defter_clock_offset_seconds", "How far this process's own clock is ahead of the database's"
)
UNCERTAINTY: Final = Gauge(
    "defter_clock_uncertainty_seconds", "How far this process may be mistaken about the database's time"
)

_READ: Final = "SELECT defter_now()"
_TRIES: Final = 3
# How far two good measurements may differ, per second between them; the drift of a quartz is far less.
_DRIFT: Final = 0.001
# If two clocks have moved apart by this much, one of them was set or has stood still.
_STEP_SECONDS: Final = 1.0
_SAY_AGAIN_SECONDS: Final = 60.0


class OwnClocks(NamedTuple):
    """The clocks of this machine, in seconds.

    Attributes:
        wall: since 1970, as somebody has set it.
        elapsed: since some instant; nobody sets it, and it goes on while the machine sleeps.
        awake: the same, but it stands still while the machine sleeps.
    """

    wall: Callable[[], float]
    elapsed: Callable[[], float]
    awake: Callable[[], float]


def own_clocks() -> OwnClocks:
    """Return the real clocks of this machine."""
    boottime: int | None = getattr(time, "CLOCK_BOOTTIME", None)  # Linux alone has it
    elapsed = time.monotonic if boottime is None else lambda: time.clock_gettime(boottime)
    return OwnClocks(time.time, elapsed, time.monotonic)


class ClockLimits(Struct, frozen=True, kw_only=True):
    """How well the database's time must be known.

    Attributes:
        measure_seconds: pause between two measurements in the background.
        max_age_seconds: an older measurement is not used.
        max_uncertainty_seconds: a round trip that took longer than twice this measures nothing.
        tolerance_seconds: the process's own clock may be off by this much without a warning.
        bound_seconds: if it is off by more, the process neither decides nor calls.
        record_seconds: how far a record time may be from the database's time when it is written.
        timeout_seconds: how long the database may take to answer.
    """

    measure_seconds: float = 1.0
    max_age_seconds: float = 5.0
    max_uncertainty_seconds: float = 1.0
    tolerance_seconds: float = 2.0
    bound_seconds: float = 60.0
    record_seconds: float = 10.0
    timeout_seconds: float = 5.0


class _Measured(NamedTuple):
    """The result of a round trip, and the own clocks at its end; `offset` leads from elapsed to UTC."""

    offset: float
    uncertainty: float
    wall: float
    elapsed: float
    awake: float


OnAstray = Callable[[bool], Awaitable[None]]
"""Is told when the process's own clock has left its bound (True) or come back (False)."""


class DatabaseClock:
    """Tells the database's time; call it to read it."""

    def __init__(
        self, pool: Pool, limits: ClockLimits | None = None, *, own: OwnClocks | None = None
    ) -> None:
        """Take a pool that nobody else uses, so that a measurement never waits for a connection."""
        self._pool = pool
        self._limits = limits or ClockLimits()
        self._own = own or own_clocks()
        self._known: _Measured | None = None
        self._doubted = False
        self._latest = float("-inf")
        self._measuring = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._astray = False
        self._on_astray: list[OnAstray] = []
        self._said: float | None = None

    @property
    def window(self) -> timedelta:
        """How far a record time may be from the database's time when it is written."""
        return timedelta(seconds=self._limits.record_seconds)

    @property
    def offset_seconds(self) -> float:
        """How far the process's own clock is ahead of the database's, by the last measurement."""
        return self._own.wall() - self._estimate()

    def __call__(self) -> datetime:
        """Return the database's time as it was measured last, plus what has passed since.

        It does not go back, unless the database's own clock has.
        """
        self._latest = max(self._latest, self._estimate())
        return datetime.fromtimestamp(self._latest, UTC)

    async def known(self) -> datetime:
        """Return the database's time, measured anew if the last measurement can't be relied on.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does not say.
        """
        if not self._sound:
            async with self._measuring:
                if not self._sound:
                    await self._measure()
        return self()

    async def trusted(self) -> datetime:
        """Return the database's time for a decision or an outbound call.

        Raises:
            ClockAstray: the process's own clock is off by more than the bound.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does not say.
        """
        now = await self.known()
        offset = self.offset_seconds
        if abs(offset) > self._limits.bound_seconds:
            raise ClockAstray(offset_seconds=f"{offset:.1f}", bound_seconds=f"{self._limits.bound_seconds:g}")
        return now

    def doubt(self) -> None:
        """Measure anew before the time is used again."""
        self._doubted = True

    async def on_astray(self, tell: OnAstray) -> None:
        """Call a function when the process's own clock is found beyond its bound, and when it is back."""
        self._on_astray.append(tell)
        if self._astray:
            await tell(True)  # the only news that is passed on

    async def start(self) -> None:
        """Measure for the first time, and go on in the background."""
        await self.known()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _estimate(self) -> float:
        assert self._known is not None, "nothing was measured yet"
        return self._known.offset + self._own.elapsed()

    @property
    def _sound(self) -> bool:
        """Whether the last measurement still tells the time."""
        known = self._known
        if known is None or self._doubted:
            return False
        elapsed = self._own.elapsed() - known.elapsed
        return (
            0 <= elapsed <= self._limits.max_age_seconds
            # If the clocks disagree, one of them was set, or the machine has stood still.
            and abs(self._own.wall() - known.wall - elapsed) <= _STEP_SECONDS
            and abs(self._own.awake() - known.awake - elapsed) <= _STEP_SECONDS
        )

    async def _run(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(self._limits.measure_seconds)
            try:
                async with self._measuring:
                    await self._measure()
                failing = False
            except CONNECTION_ERRORS as error:
                if not failing:
                    log.warning("the database's clock could not be read", error=repr(error))
                failing = True
            except Exception:  # callers who need the time get the error; the loop must go on
                log.exception("the database's clock could not be read")

    async def _measure(self) -> None:
        """Ask the database until a round trip was short enough to tell anything."""
        for _ in range(_TRIES):
            measured = await self._round_trip()
            if measured is not None:
                self._adopt(measured)
                self._doubted = False
                await self._compare()
                return
        raise TimeoutError("the database answers too slowly to tell its time")

    async def _round_trip(self) -> _Measured | None:
        limits, own = self._limits, self._own
        async with self._pool.acquire(timeout=limits.timeout_seconds) as connection:
            elapsed, wall, awake = own.elapsed(), own.wall(), own.awake()
            told: datetime = await connection.fetchval(_READ, timeout=limits.timeout_seconds)
            measured = _Measured(0.0, 0.0, own.wall(), own.elapsed(), own.awake())
        # The longest duration by any of the clocks: a process that stood still meanwhile has measured
        # nothing.
        took = max(measured.elapsed - elapsed, measured.wall - wall, measured.awake - awake)
        if took > 2 * limits.max_uncertainty_seconds:
            return None
        middle = (elapsed + measured.elapsed) / 2
        return measured._replace(offset=told.timestamp() - middle, uncertainty=max(took, 0.0) / 2)

    def _adopt(self, measured: _Measured) -> None:
        """Adopt a measurement; one that is less exact than the estimate only confirms the estimate."""
        known = self._known
        if known is not None:
            margin = known.uncertainty + _DRIFT * max(measured.elapsed - known.elapsed, 0.0)
            change = measured.offset - known.offset
            if abs(change) > margin + measured.uncertainty:
                # The jump is too large for noise: time has really jumped, and `_latest` must not keep it from
                # going back.
                self._latest = float("-inf")
                if abs(change) > self._limits.tolerance_seconds:
                    log.warning("the database's time has jumped", by_seconds=round(change, 3))
            elif measured.uncertainty > margin:
                measured = measured._replace(offset=known.offset, uncertainty=margin)
        self._known = measured
        UNCERTAINTY.set(measured.uncertainty)

    async def _compare(self) -> None:
        """Log and report how far the process's own clock is off, if it is."""
        offset = self.offset_seconds
        OFFSET.set(offset)
        self._say(offset)
        astray = abs(offset) > self._limits.bound_seconds
        if astray is not self._astray:
            self._astray = astray
            for tell in self._on_astray:
                await tell(astray)

    def _say(self, offset: float) -> None:
        elapsed = self._own.elapsed()
        if abs(offset) <= self._limits.tolerance_seconds:
            if self._said is not None:
                log.warning("this process's clock is right again")
            self._said = None
        elif self._said is None or elapsed - self._said >= _SAY_AGAIN_SECONDS:
            self._said = elapsed
            log.warning(
                "this process's clock is off; what it decides follows the database's",
                ahead_seconds=round(offset, 3),
                neither_decides_nor_calls=abs(offset) > self._limits.bound_seconds,
            )


async def known(clock: Clock) -> datetime:
    """Return the present instant for showing something."""
    return await clock.known() if isinstance(clock, DatabaseClock) else clock()


async def trusted(clock: Clock) -> datetime:
    """Return the present instant for a decision or an outbound call.

    Raises:
        ClockAstray: the process's own clock is off by more than the bound.
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does not say what time it is.
    """
    return await clock.trusted() if isinstance(clock, DatabaseClock) else clock()


def window(clock: Clock) -> timedelta | None:
    """Return how far a record time may be from the database's; None for a clock that a test brings."""
    return clock.window if isinstance(clock, DatabaseClock) else None


def doubt(clock: Clock) -> None:
    """Have the database's time measured anew before it is used again."""
    if isinstance(clock, DatabaseClock):
        clock.doubt()
