"""What is shown on a terminal, in a file, and where no colour is wanted."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest
from defter.identity.v1 import caller_pb2
from defter.reconciliation.v1 import finding_pb2
from defter.reconciliation.v1 import reconciliation_pb2 as pb
from rich.console import Console

from ledger_server.operator.finding_screen import findings_shape
from ledger_server.operator.money import Money
from ledger_server.operator.run_screen import Lines, print_run, run_progress
from ledger_server.operator.screen import age, by_whom, console, plain, print_line, print_table, styled
from tests.support.clock import START
from tests.support.requests import timestamp

ESCAPE = "\x1b"
FETCHING = pb.RUN_STAGE_FETCHING
COMPARING = pb.RUN_STAGE_COMPARING


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a terminal of 80 columns with colours."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


def running(stage: pb.RunStage.ValueType, fetched: int = 0, matched: int = 0) -> pb.Run:
    """Return a run under way."""
    return pb.Run(state=pb.RUN_STATE_RUNNING, stage=stage, fetched_count=fetched, matched_count=matched)


def finding() -> finding_pb2.Finding:
    """Return a finding with long names."""
    return finding_pb2.Finding(
        finding_id="fnd_" + "a" * 32,
        finding_class=finding_pb2.FINDING_CLASS_MISSING_AT_PROVIDER,
        severity=finding_pb2.SEVERITY_CRITICAL,
        state=finding_pb2.FINDING_STATE_OPEN,
        provider="stripe-eu",
        payment_id="wd_1ajx8prdabd22_123456",
        ledger=finding_pb2.Side(amount_minor=-123456, currency_code="EUR"),
        open_time=timestamp(START),
        assignee="somebody.with.a.long.name@example.com",
    )


def shown_on(stream: io.StringIO) -> str:
    """Return the table of that finding as a stream gets it."""
    shape = findings_shape(Money(), START + timedelta(hours=30))
    print_table(console(stream), shape.columns, [shape.row(finding())], right=shape.right, whole=shape.whole)
    return stream.getvalue()


def test_show_table_in_file_has_whole_lines_without_colour() -> None:
    """What is piped into another program is neither cut nor broken nor coloured."""
    header, row = shown_on(io.StringIO()).splitlines()

    assert ESCAPE not in header + row
    assert row.split() == [
        "fnd_aaaaaaaaaa",
        "CRITICAL",
        "MISSING_AT_PROVIDER",
        "stripe-eu",
        "wd_1ajx8prdabd22_123456",
        "-1,234.56",
        "EUR",
        "-",
        "1d",
        "OPEN",
        "somebody.with.a.long.name@example.com",
    ]
    assert row == row.rstrip()


def test_show_table_on_terminal_is_coloured_and_fits() -> None:
    """A terminal gets colours and no line beyond its width; the id stays in one piece."""
    text = shown_on(Terminal())

    assert f"{ESCAPE}[1;31m" in text
    assert "fnd_aaaaaaaaaa" in text
    assert "MISSING_AT_PROVIDER" in text
    assert max(len(line) for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()) <= 80


def test_show_table_where_no_colour_is_wanted_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR takes colours away, on a terminal too."""
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()

    console(stream).print(styled("CRITICAL"))

    # Bold is no colour; 31 would be red.
    assert "31m" not in stream.getvalue()
    assert "CRITICAL" in stream.getvalue()


def test_show_progress_in_file_is_a_line_for_each_stage() -> None:
    """Where nobody looks at a terminal, lines come with every stage, and now and then within one."""
    stream = io.StringIO()
    now = 0.0
    lines = Lines(console(stream), clock=lambda: now)

    lines.show(running(FETCHING))
    lines.show(running(FETCHING, 500))
    now = 5.0
    lines.show(running(FETCHING, 1_000))
    lines.show(running(COMPARING, 1_000, 400))
    lines.show(pb.Run(state=pb.RUN_STATE_COMPLETE, fetched_count=1_000))

    assert stream.getvalue().splitlines() == [
        "fetching: 0 fetched, 0 matched, 0 in transit, 0 discrepancies",
        "fetching: 1,000 fetched, 0 matched, 0 in transit, 0 discrepancies",
        "comparing: 1,000 fetched, 400 matched, 0 in transit, 0 discrepancies",
    ]


def test_show_progress_on_terminal_is_a_bar() -> None:
    """A terminal gets one line that moves, with stage and counts, and keeps nothing of it."""
    stream = Terminal()
    out = Console(file=stream, width=160, force_terminal=True)

    with run_progress(out, quiet=False) as progress:
        progress.show(running(FETCHING, 500))
        progress.show(running(COMPARING, 1_000, 400))
        progress.say("trying again")

    text = stream.getvalue()
    assert "comparing" in text
    assert "1,000 fetched, 400 matched" in text
    assert "trying again" in text
    assert text.endswith(f"{ESCAPE}[2K")


@pytest.mark.parametrize(("term", "quiet"), [("dumb", False), ("xterm", True)])
def test_show_progress_on_dumb_terminal_or_quietly_draws_nothing(
    monkeypatch: pytest.MonkeyPatch, term: str, *, quiet: bool
) -> None:
    """What can't move a cursor gets lines; who wants silence gets it."""
    monkeypatch.setenv("TERM", term)
    stream = Terminal()

    with run_progress(console(stream), quiet=quiet) as progress:
        progress.show(running(FETCHING))

    assert ESCAPE not in stream.getvalue()
    assert bool(stream.getvalue()) is not quiet


def test_print_run_tells_totals_and_difference() -> None:
    """Both sides by currency, and what is between them."""
    run = pb.Run(
        run_id="run_1",
        provider="mock",
        state=pb.RUN_STATE_PARTIAL,
        problem="it broke off",
        totals=[pb.CurrencyTotal(currency_code="EUR", ledger_minor=1000, provider_minor=900)],
        begin_time=timestamp(START),
        end_time=timestamp(START + timedelta(seconds=90)),
    )
    stream = io.StringIO()

    print_run(console(stream), run, Money())

    text = stream.getvalue()
    assert "it broke off" in text
    assert "ledger 10.00 EUR, provider 9.00 EUR, difference -1.00 EUR" in text
    assert "after 90.0 s" in text


@pytest.mark.parametrize(
    ("passed", "expected"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86_400, "1d"), (10 * 86_400, "10d"), (-5, "0s")],
)
def test_age_is_told_in_largest_unit(passed: int, expected: str) -> None:
    """Whole units, rounded down; a clock that lags shows nothing negative."""
    assert age(timestamp(START), START + timedelta(seconds=passed)) == expected


def test_plain_text_has_no_control_characters() -> None:
    """Neither escapes nor line breaks nor what turns the direction of writing."""
    assert plain("a\x1b[2J\r\n\u202eb é 日") == "a�[2J���b é 日"


def test_print_line_takes_no_markup() -> None:
    """Square brackets are square brackets, and a line stays one."""
    stream = io.StringIO()

    print_line(console(stream), "[red]x[/red] " + "y" * 2_000)

    assert stream.getvalue() == "[red]x[/red] " + "y" * 2_000 + "\n"


@pytest.mark.parametrize(
    ("name", "identity", "told"),
    [
        ("ada", "", "ada"),
        ("ada", "token:ada", "ada"),
        ("ada", "token:adam", "ada by token:adam"),
        ("ada", "spiffe://d/console", "ada by spiffe://d/console"),
        ("the ledger", "", "the ledger"),
    ],
)
def test_who_did_it_is_told_with_who_proved_it(name: str, identity: str, told: str) -> None:
    """A person's own token says nothing more."""
    assert by_whom(name, caller_pb2.Caller(identity=identity)) == told
