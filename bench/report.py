"""Own how a run is shown: the table, the same as Markdown, the same as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.results import Row, Verdict

# Narrower than this the table is unreadable; a file or a pipe has no width of its own.
WIDTH_MIN = 170
HEADINGS = (
    "line",
    "what",
    "op/s",
    "p50 ms",
    "p99 ms",
    "server µs/op",
    "database µs/op",
    "client µs/op",
    "ratio",
    "target",
    "met",
)
LEGEND = (
    "µs/op: CPU time for one operation. ratio: to the named lines of the same round. "
    "All numbers are medians over the rounds."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a run found.

    Attributes:
        circumstances: machine, versions, settings, by name.
        proof: sentences on the journal and the books, each with whether it is as it should be.
        notes: longer texts by title, such as query plans.
    """

    circumstances: Mapping[str, str]
    rows: Sequence[Row]
    proof: Sequence[tuple[bool, str]]
    notes: Mapping[str, str]

    @property
    def is_sound(self) -> bool:
        """Whether every line ran without refusals and errors and the books add up."""
        return all(ok for ok, _ in self.proof) and not any(row.refusals or row.errors for row in self.rows)


def print_report(report: Report) -> None:
    """Print the table, then what else is to be said."""
    console = Console()
    if console.width < WIDTH_MIN:
        console = Console(width=WIDTH_MIN)
    table = Table(title="Defter under load", caption=LEGEND, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        is_text = heading in {"line", "what", "ratio"}
        table.add_column(
            heading,
            justify="left" if is_text else "right",
            no_wrap=heading in {"line", "ratio"},
            ratio=1 if heading == "what" else None,
        )
    for row in report.rows:
        *cells, met = _cells(row)
        style = "green" if "no" not in met and "FAILED" not in met else "red"
        table.add_row(*cells, Text("\n".join(met), style=style))
    console.print(table)
    for name, value in report.circumstances.items():
        console.print(f"{name}: {value}", highlight=False)
    for row in report.rows:
        if row.failure:
            console.print(
                f"{row.name}: {row.refusals} refusals, {row.errors} errors; first: {row.failure}",
                style="red",
                markup=False,
            )
    for ok, sentence in report.proof:
        console.print(sentence, style="green" if ok else "red", markup=False, highlight=False)
    for title, text in report.notes.items():
        console.print(f"\n{title}", style="bold")
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    lines = [
        f"| {' | '.join(HEADINGS)} |",
        f"|{'---|' * 2}{'---:|' * 6}---|---:|---|",
    ]
    for row in report.rows:
        *cells, met = _cells(row)
        joined = " | ".join(cell.replace("\n", "<br>") for cell in [*cells, "\n".join(met)])
        lines.append(f"| {joined} |")
    lines += ["", LEGEND, ""]
    lines += [f"- {name}: {value}" for name, value in report.circumstances.items()]
    lines += [f"- {row.name}: {row.failure}" for row in report.rows if row.failure]
    lines += [f"- {'' if ok else '**Wrong:** '}{sentence}" for ok, sentence in report.proof]
    for title, text in report.notes.items():
        lines += ["", f"### {title}", "", "```", text, "```"]
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> str:
    """Return the report as JSON."""
    return json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n"


def _cells(row: Row) -> tuple[str, str, str, str, str, str, str, str, str, str, list[str]]:
    failed = row.refusals + row.errors > 0
    met = [_met(verdict) for verdict in row.verdicts]
    return (
        row.name,
        row.about,
        f"{row.rate:,.0f}",
        _number(row.p50_ms, 2),
        _number(row.p99_ms, 2),
        _number(row.server_microseconds, 0),
        _number(row.database_microseconds, 0),
        _number(row.client_microseconds, 0),
        "\n".join(_ratio(verdict) for verdict in row.verdicts),
        "\n".join(verdict.target for verdict in row.verdicts),
        ["FAILED"] if failed else met,
    )


def _ratio(verdict: Verdict) -> str:
    value = "none" if verdict.value is None else f"{verdict.value:.2f}"
    return f"{value} {verdict.unit} {verdict.compared_with}".strip()


def _met(verdict: Verdict) -> str:
    if verdict.met is None:
        return ""
    return "yes" if verdict.met else "no"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
