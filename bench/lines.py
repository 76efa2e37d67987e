"""Own the list of lines: what each one does, and what it is compared with.

A line is one number of the table. `check` states which earlier line it is held against; the rounds
run all lines in this order, so that lines that are compared stand close to each other in time.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from bench.cost import Meters
from bench.floor import Floor
from bench.ledger import Ledger, post_call
from bench.loads import Operation, keep_in_flight, pace, pipeline, single
from bench.measure import Meter, Window, run_window
from bench.stack import Served
from bench.watchers import WATCHER_COUNT, Watchers, watching

IN_FLIGHT = (1, 64, 256)
BATCHES_IN_FLIGHT = 4
BATCH_READS_IN_FLIGHT = 16
STREAM_COUNT = 4
PACED_PER_SECOND = 2_000

Quantity = Literal["rate", "p50", "p99"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A ratio to other lines of the same round, and what it should be.

    Attributes:
        baselines: whose quantities are added up below the line of the fraction.
        bound: None where the ratio is only reported.
        fact: instead of a ratio: one of the window's own facts, for which `bound` is a limit.
        unit: of the number; a ratio is so many times its baselines.
    """

    quantity: Quantity = "rate"
    baselines: tuple[str, ...] = ()
    at_least: bool = True
    bound: float | None = None
    fact: str = ""
    unit: str = "×"

    def value(self, own: Window, others: Mapping[str, Window]) -> float | None:
        """Return the number of one round, None where a part of it is missing."""
        if self.fact:
            return own.facts.get(self.fact)
        above = _quantity(self.quantity, own)
        below = [_quantity(self.quantity, others[name]) for name in self.baselines]
        present = [part for part in below if part is not None]
        if above is None or len(present) < len(below) or not sum(present):
            return None
        return above / sum(present)

    def met(self, value: float | None) -> bool | None:
        """Say whether a number is as it should be, None where nothing is asked of it."""
        if self.bound is None:
            return None
        if value is None:
            return False
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table.

    Attributes:
        run: measures a window of so many seconds.
        server: process to profile.
        once: run once, after all rounds, because it takes as long as it takes.
    """

    name: str
    about: str
    run: Callable[[float], Awaitable[Window]]
    checks: tuple[Check, ...] = ()
    server: int | None = None
    once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One ledger server with its load generator, and whom a line on it is charged to."""

    ledger: Ledger
    served: Served
    postmaster: int | None

    @property
    def meters(self) -> Meters:
        """Whose cost counts."""
        return Meters(server=self.served.process.pid, database=self.postmaster)

    def line(
        self, name: str, about: str, operations: Sequence[Operation], *checks: Check, books: bool
    ) -> Line:
        """Return a line that keeps operations in flight; `books`: each moves AMOUNT_MINOR."""

        async def run(seconds: float) -> Window:
            meter = Meter(seconds=seconds, meters=self.meters)
            await run_window(meter, [keep_in_flight(operations, meter)], seconds=seconds)
            if books:
                self.ledger.book(meter)
            return meter.window()

        return Line(name=name, about=about, run=run, checks=checks, server=self.served.process.pid)

    def unary(self, name: str, in_flight: int, *checks: Check, hot: bool = False) -> Line:
        """Return a line of PostTransaction."""
        where = "one hot account" if hot else "1,000 accounts"
        about = f"PostTransaction, {where}, {in_flight} in flight"
        return self.line(name, about, [self.ledger.post(hot=hot)] * in_flight, *checks, books=True)

    def batch(self, name: str, *checks: Check) -> Line:
        """Return a line of BatchPostTransactions; an operation is one transfer of a batch."""
        return self.line(
            name,
            f"transfers, BatchPostTransactions of 1,000, {BATCHES_IN_FLIGHT} in flight",
            [self.ledger.post_batch()] * BATCHES_IN_FLIGHT,
            *checks,
            books=True,
        )

    def stream(self, name: str, unanswered_max: int, *checks: Check) -> Line:
        """Return a line of StreamTransactions."""
        payload = self.ledger.payloads.stream()

        async def run(seconds: float) -> Window:
            meter = Meter(seconds=seconds, meters=self.meters)
            loads = [
                pipeline(self.ledger.open_stream, payload, meter, unanswered_max=unanswered_max)
                for _ in range(STREAM_COUNT)
            ]
            await run_window(meter, loads, seconds=seconds)
            self.ledger.book(meter)
            return meter.window()

        return Line(
            name=name,
            about=f"StreamTransactions, {STREAM_COUNT} streams, one item a message, "
            f"{unanswered_max} unanswered",
            run=run,
            checks=checks,
            server=self.served.process.pid,
        )

    def watched(self, name: str, in_flight: int, *checks: Check) -> Line:
        """Return a line of PostTransaction while others watch the journal."""
        operations = [self.ledger.post()] * in_flight

        async def run(seconds: float) -> Window:
            async with watching(self.served.port) as watchers:
                meter = Meter(seconds=seconds, meters=self._meters_with(watchers))
                await run_window(meter, [keep_in_flight(operations, meter)], seconds=seconds)
                self.ledger.book(meter)
                return await _with_lag(meter, watchers, in_latency_columns=False)

        return Line(
            name=name,
            about=f"PostTransaction, 1,000 accounts, {in_flight} in flight, {WATCHER_COUNT} watchers",
            run=run,
            checks=checks,
            server=self.served.process.pid,
        )

    def watch_lag(self, name: str) -> Line:
        """Return a line whose latencies are the watchers' lag at a steady pace."""
        operation = self.ledger.post()

        async def run(seconds: float) -> Window:
            async with watching(self.served.port) as watchers:
                meter = Meter(seconds=seconds, meters=self._meters_with(watchers))
                load = pace(operation, meter, per_second=PACED_PER_SECOND)
                await run_window(meter, [load], seconds=seconds)
                self.ledger.book(meter)
                return await _with_lag(meter, watchers, in_latency_columns=True)

        return Line(
            name=name,
            about=f"PostTransaction paced at {PACED_PER_SECOND:,}/s; latency is the lag of "
            f"{WATCHER_COUNT} watchers, from record time to receipt",
            run=run,
            server=self.served.process.pid,
        )

    def _meters_with(self, watchers: Watchers) -> Meters:
        return replace(self.meters, clients=(watchers.process.pid,))


def echo_line(name: str, about: str, echo: Served, operation: Operation, in_flight: int) -> Line:
    """Return a line of an echo server."""

    async def run(seconds: float) -> Window:
        meter = Meter(seconds=seconds, meters=Meters(server=echo.process.pid))
        await run_window(meter, [keep_in_flight([operation] * in_flight, meter)], seconds=seconds)
        return meter.window()

    return Line(
        name=f"{name}-{in_flight}",
        about=f"{about}, {in_flight} in flight",
        run=run,
        server=echo.process.pid,
    )


def all_lines(target: Target, guarded: Target, echo: Served, tuned: Served, floor: Floor) -> list[Line]:
    """Return the lines of a run in the order of the rounds.

    Args:
        guarded: another ledger, whose callers have certificates.
        echo: a bare gRPC server.
        tuned: the same, but it runs and takes calls as the ledger does.
    """
    ledger = target.ledger
    echo_call = single(post_call(echo.channel), ledger.payloads.unary())
    about = "bare gRPC echo of the same messages"
    echo_1, echo_64, echo_256 = (echo_line("echo", about, echo, echo_call, count) for count in IN_FLIGHT)
    tuned_call = single(post_call(tuned.channel), ledger.payloads.unary())
    about = "the echo, run and taking calls as the ledger does"
    _, tuned_64, tuned_256 = (echo_line("tuned", about, tuned, tuned_call, count) for count in IN_FLIGHT)
    return [
        echo_1,
        Line(
            name="commit",
            about="one durable write: a row inserted and committed, one connection",
            run=floor.commits,
        ),
        target.unary(
            "unary-1",
            1,
            Check(quantity="p50", baselines=("echo-1", "commit"), bound=3.0, at_least=False),
        ),
        target.unary("hot-1", 1, Check(baselines=("unary-1",)), hot=True),
        echo_64,
        tuned_64,
        target.unary(
            "unary-64", 64, Check(baselines=("echo-64",), bound=0.8), Check(baselines=("tuned-64",))
        ),
        guarded.unary("guarded-64", 64, Check(baselines=("unary-64",), bound=0.9)),
        target.unary("hot-64", 64, Check(baselines=("unary-64",), bound=0.95), hot=True),
        target.watched(f"watched-{IN_FLIGHT[1]}", IN_FLIGHT[1], Check(baselines=("unary-64",))),
        echo_256,
        tuned_256,
        target.unary(
            "unary-256", 256, Check(baselines=("echo-256",), bound=0.8), Check(baselines=("tuned-256",))
        ),
        target.unary("hot-256", 256, Check(baselines=("unary-256",), bound=0.95), hot=True),
        target.stream("stream-4x64", 64, Check(baselines=("unary-64",)), Check(baselines=("unary-256",))),
        target.stream(
            "stream-4x256",
            256,
            Check(baselines=("unary-64",), bound=1.8),
            Check(baselines=("unary-256",), bound=1.8),
        ),
        Line(
            name="floor",
            about="one SQL function a transfer (two updates, one insert), pgbench, 16 clients",
            run=floor.transfers,
        ),
        target.batch("batch", Check(baselines=("floor",), bound=1.5)),
        Line(
            name="floor-hot",
            about="the same, one hot account",
            run=lambda seconds: floor.transfers(seconds, hot=True),
            checks=(Check(baselines=("floor",)),),
        ),
        target.line(
            "holds-64",
            "PlaceHold and CaptureHold by turns, each counted, 64 in flight",
            [ledger.hold_and_capture() for _ in range(64)],
            Check(baselines=("unary-64",)),
            books=False,
        ),
        target.line(
            "balance-64",
            "GetBalance, 64 in flight",
            [ledger.read_balance()] * 64,
            Check(baselines=("echo-64",)),
            books=False,
        ),
        target.line(
            "balances-16",
            "BatchGetBalances of 100 accounts, 16 in flight",
            [ledger.read_balances()] * BATCH_READS_IN_FLIGHT,
            books=False,
        ),
        target.watch_lag("watch-lag"),
    ]


def chosen(lines: Sequence[Line], patterns: Sequence[str]) -> list[Line]:
    """Return the lines that match any of the patterns, and those that they are compared with.

    Raises:
        SystemExit: a pattern matches nothing.
    """
    if not patterns:
        return list(lines)
    wanted: set[str] = set()
    for pattern in patterns:
        names = {line.name for line in lines if fnmatchcase(line.name, pattern)}
        if not names:
            raise SystemExit(f"no line matches {pattern!r}; there are: {_names(lines)}")
        wanted |= names
    by_name = {line.name: line for line in lines}
    pending = list(wanted)
    while pending:
        for check in by_name[pending.pop()].checks:
            pending += set(check.baselines) - wanted
            wanted |= set(check.baselines)
    return [line for line in lines if line.name in wanted]


def _names(lines: Sequence[Line]) -> str:
    return ", ".join(line.name for line in lines)


def _quantity(quantity: Quantity, window: Window) -> float | None:
    return {"rate": window.rate, "p50": window.p50_seconds, "p99": window.p99_seconds}[quantity]


async def _with_lag(meter: Meter, watchers: Watchers, *, in_latency_columns: bool) -> Window:
    seen = await watchers.seen(meter.opened, meter.closed)
    for failure in seen["failures"]:
        meter.failed(failure)
    if not seen["records"]:
        meter.failed("the watchers saw nothing")
    lags = {"lag_p50_ms": seen["p50_seconds"], "lag_p99_ms": seen["p99_seconds"]}
    facts = {name: lag * 1_000 for name, lag in lags.items() if lag is not None}
    facts["records_per_message"] = seen["records"] / max(seen["messages"], 1)
    window = meter.window(facts)
    if not in_latency_columns:
        return window
    return replace(window, p50_seconds=seen["p50_seconds"], p99_seconds=seen["p99_seconds"])
