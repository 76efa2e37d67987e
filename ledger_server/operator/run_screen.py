"""Owns the display of runs: their progress, and their result."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self

from defter.reconciliation.v1 import finding_pb2
from defter.reconciliation.v1 import reconciliation_pb2 as pb
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ledger_server.operator.compare_screen import comparison_facts
from ledger_server.operator.money import Money
from ledger_server.operator.screen import moment, plain, print_facts, print_line, styled, when

_LINE_SECONDS: Final = 5.0
_STAGES: Final = {
    pb.RUN_STAGE_FETCHING: "fetching",
    pb.RUN_STAGE_COMPARING: "comparing",
    pb.RUN_STAGE_SEEKING_MISSING: "seeking missing",
    pb.RUN_STAGE_RESOLVING: "resolving",
}


class RunProgress(Protocol):
    """Shows how far a run has come."""

    def show(self, run: pb.Run) -> None:
        """Show where it stands now."""

    def say(self, text: str) -> None:
        """Say what happens to the connection."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def run_progress(out: Console, *, quiet: bool) -> RunProgress:
    """Return a bar for a terminal, else lines, or nothing if that is asked for."""
    if quiet:
        return _Silence()
    return _Bar(out) if out.is_terminal and not out.is_dumb_terminal else Lines(out)


class _Silence:
    """Shows nothing."""

    def show(self, run: pb.Run) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""


class Lines(_Silence):
    """Prints a line at every new stage, and now and then within one."""

    def __init__(self, out: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._stage: int | None = None
        self._line_time = 0.0

    def show(self, run: pb.Run) -> None:
        """Print a line if one is due."""
        now = self._clock()
        if run.state != pb.RUN_STATE_RUNNING:
            return
        if run.stage != self._stage or now - self._line_time >= _LINE_SECONDS:
            self._stage, self._line_time = run.stage, now
            print_line(self._out, f"{_stage(run)}: {counts(run)}")

    def say(self, text: str) -> None:
        """Print a line."""
        print_line(self._out, text)


class _Bar(_Silence):
    """Draws a bar: how many of the records that were read have been compared."""

    def __init__(self, out: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[counts]}", markup=False),
            TimeElapsedColumn(),
            console=out,
            transient=True,
        )
        self._task = self._progress.add_task("asking", total=None, counts="")

    def show(self, run: pb.Run) -> None:
        """Move the bar."""
        # While records are being read, nobody knows how many there will be.
        total = None if run.stage == pb.RUN_STAGE_FETCHING else max(run.fetched_count, 1)
        compared = run.matched_count + run.in_transit_count + seen_count(run)
        if run.stage == pb.RUN_STAGE_RESOLVING:
            compared = run.fetched_count
        self._progress.update(
            self._task,
            description=_stage(run),
            total=total,
            completed=min(compared, run.fetched_count),
            counts=counts(run),
        )

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        print_line(self._progress.console, text)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._progress.stop()


def _stage(run: pb.Run) -> str:
    return _STAGES.get(run.stage, state_of(run).lower())


def state_of(run: pb.Run) -> str:
    """Return the state of a run in one word."""
    return pb.RunState.Name(run.state).removeprefix("RUN_STATE_")


def class_name(finding_class: "finding_pb2.FindingClass.ValueType") -> str:
    """Return a class in its own words."""
    return finding_pb2.FindingClass.Name(finding_class).removeprefix("FINDING_CLASS_")


def seen_count(run: pb.Run) -> int:
    """Return how many discrepancies a run has seen, new or not."""
    return sum(count.seen for count in run.classes)


def counts(run: pb.Run) -> str:
    """Return what a run has counted."""
    seen = seen_count(run)
    return (
        f"{run.fetched_count:,} fetched, {run.matched_count:,} matched,"
        f" {run.in_transit_count:,} in transit, {seen:,} {'discrepancy' if seen == 1 else 'discrepancies'}"
    )


def seen_by_class(run: pb.Run) -> str:
    """Return how many discrepancies of each class a run has seen."""
    return ", ".join(f"{count.seen:,} {class_name(count.finding_class)}" for count in run.classes)


def print_run(out: Console, run: pb.Run, money: Money) -> None:
    """Print all of a run."""
    changes = (
        f"{run.opened_count:,} opened, {run.reopened_count:,} reopened, {run.resolved_count:,} resolved"
        " by this run"
    )
    compared = run.HasField("comparison")
    print_facts(
        out,
        [
            ("run", run.run_id),
            ("provider", run.provider),
            ("window", "" if compared else f"{when(run.from_time)} to {when(run.to_time)} UTC"),
            *(comparison_facts(run, money) if compared else []),
            ("state", styled(state_of(run))),
            ("stage", _STAGES.get(run.stage, "")),
            ("problem", run.problem),
            ("records", counts(run)),
            ("seen", seen_by_class(run)),
            ("findings", changes),
            *((f"moved {total.currency_code}", _total(total, money)) for total in run.totals),
            ("begun", f"{when(run.begin_time)} UTC"),
            ("ended", _ended(run)),
            ("key", run.idempotency_key),
        ],
    )


def _total(total: pb.CurrencyTotal, money: Money) -> str:
    code = total.currency_code
    text = f"ledger {money.show(total.ledger_minor, code)}, provider {money.show(total.provider_minor, code)}"
    difference = total.provider_minor - total.ledger_minor
    return f"{text}, difference {money.show(difference, code)}" if difference else f"{text}, the same"


def _ended(run: pb.Run) -> str:
    if not run.HasField("end_time"):
        return ""
    seconds = (moment(run.end_time) - moment(run.begin_time)).total_seconds()
    return f"{when(run.end_time)} UTC, after {seconds:,.1f} s"


def run_row(run: pb.Run) -> list[str]:
    """Return a run as a row of a table."""
    return [
        run.run_id,
        plain(run.provider),
        when(run.from_time),
        when(run.to_time),
        state_of(run),
        f"{run.fetched_count:,}",
        f"{run.matched_count:,}",
        f"{run.in_transit_count:,}",
        f"{seen_count(run):,}",
        when(run.begin_time),
    ]


RUN_COLUMNS: Final = (
    "run",
    "provider",
    "from",
    "to",
    "state",
    "fetched",
    "matched",
    "in transit",
    "seen",
    "begun",
)
RUN_NUMBERS: Final = ("fetched", "matched", "in transit", "seen")
