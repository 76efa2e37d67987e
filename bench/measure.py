"""Own one measured window: when it opens and closes, what is counted in it, what it cost."""

import asyncio
import gc
import statistics
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import grpc

from bench.cost import Cost, Meters

# Callers are at full depth well before this; what happens earlier is not counted.
RAMP_SECONDS = 0.3
# A line that fails this often measures nothing any more.
FAILURES_MAX = 100
# How long after its end a window may take to drain before it is given up.
GRACE_SECONDS = 60.0
FAILURE_PAUSE_SECONDS = 0.05
# A refusal is an answer of the ledger; any other code means that it did not answer.
REFUSALS = frozenset(
    {
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one line did in one round.

    Attributes:
        operations: that succeeded between opening and closing.
        cost: CPU seconds of everybody involved between opening and closing.
        facts: further numbers that only some lines have, by name with unit.
        first_failure: text of the first refusal or error, empty when there was none.
    """

    seconds: float
    operations: int
    p50_seconds: float | None
    p99_seconds: float | None
    cost: Cost
    refusals: int = 0
    errors: int = 0
    first_failure: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds if self.seconds else 0.0


class Meter:
    """Count successes and failures of one window; the loads ask it whether to go on.

    The window opens at the first success after the ramp and closes at the first one after its
    length, so that a line of a few long operations is not cut in the middle of one.

    Attributes:
        running: false once the window has closed: start nothing new.
        succeeded: operations that succeeded at any time, ramp and drain included.
    """

    def __init__(
        self,
        *,
        seconds: float,
        meters: Meters,
        ramp_seconds: float = RAMP_SECONDS,
        operations_max: int = sys.maxsize,
    ) -> None:
        """Describe a window that ends by time or by number of operations, whatever comes first."""
        self.running = True
        self.succeeded = 0
        self.opened = 0.0
        self.closed = 0.0
        self._meters = meters
        self._length = seconds
        self._operations_max = operations_max
        self._ramp_ends = perf_counter() + ramp_seconds
        self._closes = float("inf")
        self._operations = 0
        self._latencies: list[float] = []
        self._refusals = 0
        self._errors = 0
        self._first_failure = ""
        self._before = Cost()
        self._cost = Cost()

    def done(self, started: float, count: int = 1) -> None:
        """Count one answer that carried `count` operations and was asked for at `started`."""
        self.succeeded += count
        now = perf_counter()
        if not self.opened:
            if now >= self._ramp_ends:
                self._before = self._meters.read()
                self.opened = perf_counter()
                self._closes = self.opened + self._length
        elif self.running:
            self._operations += count
            self._latencies.append(now - started)
            if now >= self._closes or self._operations >= self._operations_max:
                self._close(now)

    def refused(self, text: str) -> None:
        """Count one refusal: an answer, but not the one that is measured."""
        self._refusals += 1
        self._fail(text)

    def failed(self, text: str) -> None:
        """Count one error."""
        self._errors += 1
        self._fail(text)

    def failed_rpc(self, error: grpc.aio.AioRpcError) -> None:
        """Count an RPC that ended with a status other than OK."""
        text = f"{error.code().name}: {error.details()}"
        if error.code() in REFUSALS:
            self.refused(text)
        else:
            self.failed(text)

    def window(self, facts: Mapping[str, float] | None = None) -> Window:
        """Return what was counted; a window that never closed is an error of its own."""
        if self.running:
            self.failed("no answer came before the window's end")
            self._close(perf_counter())
        return Window(
            seconds=self.closed - self.opened if self.opened else self._length,
            operations=self._operations,
            p50_seconds=percentile(self._latencies, 50),
            p99_seconds=percentile(self._latencies, 99),
            cost=self._cost,
            refusals=self._refusals,
            errors=self._errors,
            first_failure=self._first_failure,
            facts=facts or {},
        )

    def _close(self, now: float) -> None:
        self.running = False
        self.closed = now
        self._cost = self._meters.read() - self._before

    def _fail(self, text: str) -> None:
        self._first_failure = self._first_failure or text
        if self._refusals + self._errors >= FAILURES_MAX and self.running:
            self._close(perf_counter())


async def run_window(
    meter: Meter, loads: Sequence[Coroutine[object, object, object]], *, seconds: float
) -> None:
    """Run loads together until they end by themselves after the window, or give them up."""
    gc.collect()
    # Collections would land in one line or another by chance; a window is too short to need one.
    gc.disable()
    try:
        async with (
            asyncio.timeout(RAMP_SECONDS + seconds + GRACE_SECONDS),
            asyncio.TaskGroup() as g,
        ):
            for load in loads:
                g.create_task(load)
    except TimeoutError:
        meter.failed("the load did not end")
    finally:
        gc.enable()


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Return the nearest-rank percentile of unsorted values, None when there are none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


def median_of(values: Sequence[float | None]) -> float | None:
    """Return the median of the values that are there, None when none is."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def median_over(windows: Sequence[Window], number: Callable[[Window], float | None]) -> float | None:
    """Return the median of one number over several windows."""
    return median_of([number(window) for window in windows])
