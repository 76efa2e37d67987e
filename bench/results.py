"""Own what a run says in the end: a row for each line, medians over rounds, targets met or not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.cost import Cost
from bench.lines import Check, Line
from bench.measure import Window, median_of, median_over
from bench.rounds import Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One check of a line.

    Attributes:
        compared_with: names of the lines below the fraction; empty for a plain number.
        value: median over the rounds of the ratio within a round.
        values: the ratio of each round.
        met: None where nothing is asked of it.
    """

    compared_with: str
    unit: str
    value: float | None
    values: tuple[float | None, ...]
    target: str
    met: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; every number is a median over the rounds.

    Attributes:
        rates: of each round.
        server_microseconds: CPU time for one operation, and so on.
        failure: text of the first refusal or error; such a line meets no target.
    """

    name: str
    about: str
    rate: float
    rates: tuple[float, ...]
    p50_ms: float | None
    p99_ms: float | None
    server_microseconds: float | None
    database_microseconds: float | None
    client_microseconds: float | None
    verdicts: tuple[Verdict, ...]
    refusals: int
    errors: int
    failure: str
    facts: Mapping[str, float]


def rows_of(lines: Sequence[Line], windows: Windows) -> list[Row]:
    """Sum up a run."""
    return [_row(line, windows) for line in lines]


def _row(line: Line, windows: Windows) -> Row:
    own = windows[line.name]
    refusals = sum(window.refusals for window in own)
    errors = sum(window.errors for window in own)
    failed = refusals + errors > 0
    return Row(
        name=line.name,
        about=line.about,
        rate=median_over(own, lambda window: window.rate) or 0.0,
        rates=tuple(window.rate for window in own),
        p50_ms=_thousandfold(median_over(own, lambda window: window.p50_seconds)),
        p99_ms=_thousandfold(median_over(own, lambda window: window.p99_seconds)),
        server_microseconds=_microseconds(own, lambda cost: cost.server),
        database_microseconds=_microseconds(own, lambda cost: cost.database),
        client_microseconds=_microseconds(own, lambda cost: cost.client),
        verdicts=tuple(_verdict(check, line, windows, failed=failed) for check in line.checks),
        refusals=refusals,
        errors=errors,
        failure=next((window.first_failure for window in own if window.first_failure), ""),
        facts={
            name: median_of([window.facts.get(name) for window in own]) or 0.0
            for name in sorted({name for window in own for name in window.facts})
        },
    )


def _verdict(check: Check, line: Line, windows: Windows, *, failed: bool) -> Verdict:
    values = [
        check.value(window, {name: windows[name][number] for name in check.baselines})
        for number, window in enumerate(windows[line.name])
    ]
    value = median_of(values)
    met = check.met(value)
    return Verdict(
        compared_with=_below(check),
        unit=check.unit,
        value=value,
        values=tuple(values),
        target="" if check.bound is None else f"{'≥' if check.at_least else '≤'} {check.bound:g}",
        met=False if failed and met is not None else met,
    )


def _below(check: Check) -> str:
    names = " + ".join(check.baselines)
    return names if check.quantity == "rate" else f"{check.quantity} of {names}"


def _microseconds(windows: Sequence[Window], part: Callable[[Cost], float | None]) -> float | None:
    def of_window(window: Window) -> float | None:
        spent = part(window.cost)
        if spent is None or not window.operations:
            return None
        return spent / window.operations * 1e6

    return median_over(windows, of_window)


def _thousandfold(value: float | None) -> float | None:
    return None if value is None else value * 1_000
