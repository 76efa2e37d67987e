"""Owns lists as CSV: by RFC 4180, in UTF-8, page by page, with exact amounts and harmless texts.

Spreadsheets run a cell that begins like a formula, and texts come from outside. Such a text gets an
apostrophe in front, and so does one that begins with an apostrophe. In many countries a spreadsheet takes the
semicolon for what separates cells, whatever is quoted, and some take the tab: so each part of a text between
those is treated as a text of its own. Whoever reads by program takes one apostrophe away in each place.
"""

import csv
import io
import re
import sys
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import typer
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from defter_client import LedgerError, Pager
from ledger_server.operator.connection import Exit, Stopped, pages, told
from ledger_server.operator.money import Money
from ledger_server.operator.screen import console

Csv = Annotated[bool, typer.Option("--csv", help="print CSV; its columns: docs/operations/csv.md")]

# What begins a formula, and their wide forms.
_BEGIN_FORMULAS: Final = frozenset("=+-@\uff1d\uff0b\uff0d\uff20'")
# What may separate cells, or lines.
_SEPARATORS: Final = re.compile("([;\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029])")


_Request = TypeVar("_Request", bound=Message)
_Page = TypeVar("_Page", bound=Message)


class Number(str):
    """A cell that is a number of ours, written as it is: `Number(12)`, `Number("-0.50")`."""

    __slots__ = ()


class Sheet(NamedTuple):
    """A list as CSV.

    Attributes:
        field: the name of the items in a response.
        columns: the names of the columns, in order; they are kept, and new ones come behind.
        rows: the rows of an item, each with a cell a column.
    """

    field: str
    columns: tuple[str, ...]
    rows: Callable[[Any], Iterable[Sequence[str]]]


def harmless(text: str) -> str:
    """Return a cell's text so that no spreadsheet takes it, or a part of it, for a formula."""
    return "".join(map(_harmless_part, _SEPARATORS.split(text)))


def _harmless_part(part: str) -> str:
    for letter in part:
        if letter in _BEGIN_FORMULAS:
            return f"'{part}"
        # Blanks and what nobody sees; a quote is taken away where a cell begins with it.
        if letter != '"' and unicodedata.category(letter)[0] not in "ZC":
            break
    return part


def cells_of(row: Sequence[str]) -> list[str]:
    """Return a row with harmless texts and its numbers as they are."""
    return [each if isinstance(each, Number) else harmless(each) for each in row]


def one_form(*, json: bool, csv: bool) -> None:
    """Refuse two forms at once. Raises BadParameter."""
    if json and csv:
        raise typer.BadParameter("say --json or --csv, not both")


def exact(money: Money, amount_minor: int, currency_code: str) -> Number:
    """Return an amount in major units, exactly, with a point and no other separator.

    Raises:
        Stopped: nobody knows the decimal places of the currency, so any number would be a guess.
    """
    number = money.exact(amount_minor, currency_code)
    if number is None:
        raise Stopped(f"the decimal places of {currency_code or 'no currency'} are not known")
    return Number(number)


def time(moment: Timestamp) -> str:
    """Return a time in UTC by RFC 3339; empty for none."""
    return moment.ToJsonString() if moment.ByteSize() else ""


class CsvOutput:
    """Standard output as CSV."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.count = 0
        self.begun = False
        self._columns = columns
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="strict", newline="")
        self._screen = console()

    def begin(self) -> None:
        """Write the columns' names, once: what fails before has printed nothing."""
        if not self.begun:
            self.begun = True
            self._write([self._columns])

    def rows(self, rows: Iterable[Sequence[str]]) -> None:
        """Write rows and hand them on."""
        self.begin()
        cells = [cells_of(row) for row in rows]
        assert all(len(row) == len(self._columns) for row in cells)
        self._write(cells)
        self.count += len(cells)

    def _write(self, rows: Iterable[Sequence[str]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerows(rows)
        try:
            self._screen.file.write(text.getvalue())
            self._screen.file.flush()
        except BrokenPipeError:
            self._screen.on_broken_pipe()


async def print_csv(
    method: Callable[[_Request], Pager[Any, _Page]],
    request: _Request,
    sheet: Sheet,
    *,
    limit: int | None = None,
) -> int:
    """Print a list page by page; no more than a page is in memory."""
    out = CsvOutput(sheet.columns)
    with breaking_off(out):
        async for items in items_of(method, request, sheet.field, limit=limit):
            out.rows(row for item in items for row in sheet.rows(item))
    return Exit.DONE


async def items_of(
    method: Callable[[_Request], Pager[Any, _Page]],
    request: _Request,
    field: str,
    *,
    limit: int | None = None,
) -> AsyncIterator[Sequence[Any]]:
    """Yield the items of a list, page by page."""
    left = limit
    async for page in pages(method, request, limit=limit):
        items = getattr(page, field)[:left]
        yield items
        if left is not None:
            left -= len(items)
            if not left:
                return


@contextmanager
def breaking_off(out: CsvOutput) -> Iterator[None]:
    """Say, by the exit code too, that what was printed is not all, if a failure comes behind the first line.

    Raises:
        Stopped: it broke off; the text says after how many rows.
    """
    try:
        yield
        out.begin()  # a list without rows has its columns
    except (LedgerError, Stopped) as error:
        if not out.begun:
            raise
        why = told(error) if isinstance(error, LedgerError) else str(error)
        raise Stopped(f"broke off after {out.count} rows: {why}", Exit.INTERRUPTED) from error
