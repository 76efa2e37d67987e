"""Owns the output of commands: tables, times, and text without control characters."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import IO, Final

from defter.identity.v1 import caller_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

# Without a terminal no line is broken and nothing is cut off.
_WIDTH_OF_FILES: Final = 1_000
_STYLES: Final = {
    "CRITICAL": "bold red",
    "HIGH": "red",
    "MEDIUM": "yellow",
    "COMPLETE": "green",
    "BALANCED": "green",
    "CONFIRMED": "green",
    "PARTIAL": "yellow",
    "INTERRUPTED": "red",
    "UNBALANCED": "red",
    "REOPENED": "yellow",
    "DISCREPANT": "red",
}


# 128 and the number of SIGPIPE, as a shell tells it.
_BROKEN_PIPE: Final = 141


def console(file: IO[str] | None = None, *, error: bool = False) -> Console:
    """Return standard output, or standard error, as a place to show things."""
    stream = file or (sys.stderr if error else sys.stdout)
    width = None if stream.isatty() else _WIDTH_OF_FILES
    return _Screen(file=stream, width=width, markup=False, highlight=False, emoji=False)


class _Screen(Console):
    """A place to show things, whose reader may leave."""

    def on_broken_pipe(self) -> None:
        """Exit as a program does that a broken pipe ends: 1 would say that something was found."""
        # What is buffered goes nowhere; Python would complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise SystemExit(_BROKEN_PIPE)


def plain(text: str) -> str:
    """Return text without control characters, so that no stored text can control the terminal."""
    return "".join(each if each.isprintable() else "�" for each in text)


def styled(word: str) -> Text:
    """Return a word in the colour that it has everywhere."""
    return Text(plain(word), style=_STYLES.get(word, ""))


def print_line(out: Console, text: str, *, style: str = "") -> None:
    """Print one line as it is."""
    out.print(Text(plain(text), style=style), soft_wrap=True)


def print_json(out: Console, message: Message) -> None:
    """Print a message as one line of JSON, by protobuf's own mapping: 64-bit numbers are strings."""
    content = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    out.print(json.dumps(content), soft_wrap=True)


def print_table(
    out: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """Print rows under their columns.

    Args:
        right: the columns of numbers.
        whole: the columns whose cells are never broken into lines. The first column never is: it names the
            row, and can be copied.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=number == 0 or column in whole,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(plain(cell)) if isinstance(cell, str) else cell for cell in row))
    _print_trimmed(out, table)


def print_facts(out: Console, facts: Sequence[tuple[str, str | Text]], *, indent: int = 0) -> None:
    """Print names with their values, one per line; empty values are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts:
        if fact:
            table.add_row(Text(plain(name)), Text(plain(fact)) if isinstance(fact, str) else fact)
    _print_trimmed(out, Padding(table, (0, 0, 0, indent), expand=False))


def _print_trimmed(out: Console, shown: Table | Padding) -> None:
    """Print without trailing blanks, which mean nothing in a file."""
    if out.is_terminal:
        out.print(shown)
        return
    with out.capture() as captured:
        out.print(shown)
    for line in captured.get().splitlines():
        out.file.write(line.rstrip() + "\n")


def moment(time: Timestamp) -> datetime:
    """Return a time of the contract."""
    return time.ToDatetime(tzinfo=UTC)


def when(time: Timestamp) -> str:
    """Return a time in UTC to the second; empty for none."""
    return f"{moment(time):%Y-%m-%d %H:%M:%S}" if time.ByteSize() else ""


def age(since: Timestamp, now: datetime) -> str:
    """Return how long ago something was, in its largest unit."""
    passed = max(now - moment(since), timedelta(0))
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1))):
        if passed >= length:
            return f"{passed // length}{unit}"
    return f"{passed // timedelta(seconds=1)}s"


def by_whom(name: str, caller: caller_pb2.Caller) -> str:
    """Return who did something, with the identity that proved it where that is not the person's own."""
    if caller.identity in ("", f"token:{name}"):
        return name
    return f"{name} by {caller.identity}"
