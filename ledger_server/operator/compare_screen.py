"""Owns the display of comparisons of balances: their progress, differences, result, and history by days."""

import csv
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

from defter.backfill.v1 import backfill_pb2 as pb
from defter.reconciliation.v1 import reconciliation_pb2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ledger_server.operator.csv_output import cells_of, exact
from ledger_server.operator.money import Money
from ledger_server.operator.screen import moment, plain, print_facts, print_line, print_table, styled, when

SHOWN: Final = 100
"""So many differences are shown as a table; a report has all of them."""

_LINE_SECONDS: Final = 10.0
REPORT_COLUMNS: Final = (
    "player_id",
    "currency",
    "bucket",
    "kind",
    "ledger",
    "snapshot",
    "difference",
    "agreed_sequence",
    "since_sequence",
    "finding_id",
)


class CompareProgress:
    """Shows how far a comparison has come: a bar on a terminal, else a line now and then, or nothing."""

    def __init__(self, out: Console, *, quiet: bool) -> None:
        self._out = out
        self._quiet = quiet
        self._line_time = time.monotonic()
        terminal = out.is_terminal and not out.is_dumb_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[found]}", markup=False),
            TimeElapsedColumn(),
            console=out,
            transient=True,
            disable=not terminal,
        )
        self._task = self._bar.add_task("reading", total=None, found="")
        self._lines = not terminal and not quiet

    def show(self, doing: str, done: int, total: int | None, found: int = 0) -> None:
        """Show how many lines are done, and how many differences were found."""
        self._bar.update(
            self._task, description=doing, completed=done, total=total, found=f"{found:,} differ"
        )
        now = time.monotonic()
        if self._lines and now - self._line_time >= _LINE_SECONDS:
            self._line_time = now
            of = "" if total is None else f" of {total:,}"
            print_line(self._out, f"{doing}: {done:,}{of} lines, {found:,} differ")

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()


class Report:
    """A report of all differences as CSV, which takes its name only once it is whole."""

    def __init__(self, file: Path, money: Money) -> None:
        self._file = file
        self._part = file.with_name(f"{file.name}.part")
        self._stream: IO[str] = self._part.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._stream)
        self._money = money
        self._writer.writerow(REPORT_COLUMNS)

    def add(self, differences: Iterable[pb.BalanceDifference]) -> None:
        """Write differences."""
        self._writer.writerows(cells_of(report_row(each, self._money)) for each in differences)

    def keep(self) -> None:
        """Give the report its name."""
        self._stream.close()
        self._part.replace(self._file)

    def close(self) -> None:
        """Take away what was not kept."""
        if not self._stream.closed:
            self._stream.close()
            self._part.unlink(missing_ok=True)


def bucket_name(difference: pb.BalanceDifference) -> str:
    """Return a bucket in one word."""
    return pb.Bucket.Name(difference.bucket).removeprefix("BUCKET_").lower()


def kind_name(difference: pb.BalanceDifference) -> str:
    """Return how two sides differ in few words."""
    return pb.DriftKind.Name(difference.kind).removeprefix("DRIFT_KIND_").lower().replace("_", " ")


def report_row(difference: pb.BalanceDifference, money: Money) -> list[str]:
    """Return a difference as a row of a report: amounts exact, an empty cell where a side has nothing."""
    code = difference.currency_code
    return [
        difference.player_id,
        code,
        bucket_name(difference),
        kind_name(difference),
        exact(money, difference.ledger_minor, code) if difference.HasField("ledger_minor") else "",
        exact(money, difference.snapshot_minor, code) if difference.HasField("snapshot_minor") else "",
        exact(money, difference.difference_minor, code),
        str(difference.agreed_sequence or ""),
        str(difference.since_sequence or ""),
        difference.finding_id,
    ]


def print_differences(out: Console, differences: Sequence[pb.BalanceDifference], money: Money) -> None:
    """Print differences as a table."""
    rows: list[list[str | Text]] = []
    for each in differences:
        code = each.currency_code
        rows.append(
            [
                each.player_id,
                code,
                bucket_name(each),
                kind_name(each),
                money.show(each.ledger_minor, code) if each.HasField("ledger_minor") else "-",
                money.show(each.snapshot_minor, code) if each.HasField("snapshot_minor") else "-",
                money.show(each.difference_minor, code),
                f"record {each.since_sequence}" if each.since_sequence else "-",
                each.finding_id[:14] or "-",
            ]
        )
    columns = ("player", "currency", "bucket", "what", "ledger", "snapshot", "difference", "since", "finding")
    print_table(out, columns, rows, right=("ledger", "snapshot", "difference"), whole=("what",))


def comparison_facts(run: reconciliation_pb2.Run, money: Money) -> list[tuple[str, str | Text]]:
    """Return what a comparison has that other runs have not, for the screen."""
    seen = run.comparison
    left_out = [name for name, left in (("real", seen.without_real), ("bonus", seen.without_bonus)) if left]
    at = f"record {seen.sequence}"
    if seen.HasField("snapshot_time"):
        at += f", the last one at {when(seen.snapshot_time)} UTC"
    covers = "its own lines alone" if seen.partial else "all players"
    if left_out:
        covers += f", without {' and '.join(left_out)} money"
    counted = (
        f"{seen.equal_count:,} equal, {seen.drifted_count:,} drifted,"
        f" {seen.missing_here_count:,} missing here, {seen.missing_there_count:,} missing there"
    )
    untold = f"{seen.untold_count:,} differences have no finding: too many at once"
    older = f"no finding was changed: {seen.overtaken_by_run_id} knows a later moment"
    return [
        ("compared at", at),
        ("covers", covers),
        ("balances", counted),
        *((f"drift {each.currency_code}", _drift(each, money)) for each in seen.drifts),
        ("untold", untold if seen.untold_count else ""),
        ("overtaken", older if seen.overtaken_by_run_id else ""),
    ]


def _drift(drift: reconciliation_pb2.CurrencyDrift, money: Money) -> str:
    code, more = drift.currency_code, drift.difference_minor
    total = f"{money.show(drift.absolute_minor, code)} in all"
    if not more:
        return f"{total}, which cancels out"
    return f"{total}, {money.show(abs(more), code)} {'more' if more > 0 else 'less'} in the snapshot"


HISTORY_COLUMNS: Final = (
    "day",
    "state",
    "lines",
    "equal",
    "drifted",
    "missing here",
    "missing there",
    "opened",
    "resolved",
    "drift",
    "run",
)
HISTORY_NUMBERS: Final = HISTORY_COLUMNS[2:9]


def by_day(runs: Iterable[reconciliation_pb2.Run]) -> list[reconciliation_pb2.Run]:
    """Return the last complete comparison of each day in UTC that covered all players, the newest day first.

    Args:
        runs: the newest first.
    """
    found: dict[Any, reconciliation_pb2.Run] = {}
    for run in runs:
        if run.state == reconciliation_pb2.RUN_STATE_COMPLETE and not run.comparison.partial:
            found.setdefault(moment(run.begin_time).date(), run)
    return list(found.values())


def history_row(run: reconciliation_pb2.Run, money: Money) -> list[str]:
    """Return a comparison as a row of its history."""
    seen = run.comparison
    return [
        f"{moment(run.begin_time):%Y-%m-%d}",
        reconciliation_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_"),
        str(seen.line_count),
        str(seen.equal_count),
        str(seen.drifted_count),
        str(seen.missing_here_count),
        str(seen.missing_there_count),
        str(run.opened_count + run.reopened_count),
        str(run.resolved_count),
        ", ".join(
            f"{exact(money, each.absolute_minor, each.currency_code)} {each.currency_code}"
            for each in seen.drifts
        ),
        run.run_id,
    ]


def print_result(out: Console, run: reconciliation_pb2.Run, money: Money) -> None:
    """Print what a comparison has come to."""
    changes = (
        f"{run.opened_count:,} opened, {run.reopened_count:,} reopened, {run.resolved_count:,} resolved"
        " by this comparison"
    )
    print_facts(
        out,
        [
            ("run", run.run_id),
            ("source", plain(run.provider)),
            ("state", styled(reconciliation_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_"))),
            *comparison_facts(run, money),
            ("findings", changes),
        ],
    )
