"""Owns the reading of a report's bytes into rows and cells, and what makes a file or a cell unreadable.

Nothing is repaired or guessed: a line that does not follow the vendor's documentation is refused by number.
"""

import csv
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timezone, tzinfo
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final

from ledger_server.domain.ledger.currency import CurrencyRegistry

MAX_ROW_BYTES: Final = 64 * 1024
"""Vendors' widest rows have some 4 KiB; the bound keeps an unclosed quote from taking the whole file."""
MAX_TEXT_CHARS: Final = 255
_MAX_COLUMNS: Final = 500
_MAX_SHOWN: Final = 40
_MAX_NAMED: Final = 5
_MAX_AMOUNT: Final = 2**63 - 1
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2999

_BOM: Final = b"\xef\xbb\xbf"
_AMOUNT: Final = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}")
# Wide enough for any sum of the amounts above; it raises instead of rounding.
EXACT: Final = Context(prec=100, traps=[Inexact, InvalidOperation])


class Unreadable(ValueError):
    """A row can't be read; the sentence says why. Other rows of the file still can."""


class Broken(ValueError):
    """The file's structure breaks at this line: nothing after it can be trusted."""

    def __init__(self, line: int, *sentences: str) -> None:
        super().__init__("; ".join(sentences))
        self.line = line
        self.sentences = sentences


class Row:
    """One row by the names of its columns, in whatever order the file has them."""

    __slots__ = ("_columns", "cells", "line")

    def __init__(self, line: int, cells: list[str], columns: Mapping[str, int]) -> None:
        if len(cells) != len(columns):
            raise Unreadable(f"{len(cells)} cells where the header has {len(columns)}")
        self.line: Final = line
        self.cells: Final = cells
        self._columns: Final = columns

    def text(self, column: str) -> str:
        """Return a cell; empty if it is blank or the file has no such column."""
        index = self._columns.get(column)
        if index is None:
            return ""
        value = self.cells[index]
        if len(value) > MAX_TEXT_CHARS:
            raise Unreadable(f"{column} has {len(value)} characters, more than {MAX_TEXT_CHARS}")
        return value

    def required(self, column: str) -> str:
        """Return a cell that may not be blank."""
        value = self.text(column)
        if not value:
            raise Unreadable(f"{column} is blank")
        return value

    def amount(self, column: str) -> Decimal | None:
        """Return an amount in major units, exactly as it is written; None if the cell is blank."""
        value = self.text(column)
        if not value:
            return None
        if not _AMOUNT.fullmatch(value):
            raise Unreadable(
                f"{column} {shown(value)} is no plain decimal: only digits, with a point before the decimals"
            )
        return Decimal(value)

    def local_time(self, column: str) -> datetime:
        """Return a time as the file writes it, without a zone."""
        value = self.required(column)
        if _TIME.fullmatch(value):
            try:
                time = datetime.fromisoformat(value)
            except ValueError:
                pass
            else:
                # No report has times beyond these, and at the calendar's ends a zone could not be applied.
                if _FIRST_YEAR <= time.year <= _LAST_YEAR:
                    return time
        raise Unreadable(f"{column} {shown(value)} is no time of the form 2026-01-31 23:59:59")


class Header:
    """The columns of a file."""

    __slots__ = ("_columns", "line")

    def __init__(self, line: int, names: list[str]) -> None:
        if len(names) > _MAX_COLUMNS:
            raise Broken(line, f"{len(names)} columns, more than {_MAX_COLUMNS}")
        twice = sorted({shown(name) for name in names if name and names.count(name) > 1})
        if twice:
            raise Broken(line, f"columns that are there twice: {', '.join(twice[:_MAX_NAMED])}")
        self.line: Final = line
        # Columns without a name are allowed and never read; each still takes its place.
        self._columns: Final = {name or f"\n{index}": index for index, name in enumerate(names)}

    def __contains__(self, column: object) -> bool:
        return column in self._columns

    def require(self, columns: Collection[str]) -> None:
        """Refuse a file that lacks columns, naming all of them."""
        missing = [column for column in columns if column not in self._columns]
        if missing:
            raise Broken(self.line, *(f"the column {column} is missing" for column in missing))

    def row(self, line: int, cells: list[str]) -> Row:
        """Return a row; Unreadable if it is not as long as the header."""
        return Row(line, cells, self._columns)


class Rows:
    """Cuts a stream of bytes, split anywhere, into rows of cells. Holds one row at most."""

    __slots__ = ("_first", "_line", "_open", "_quoted", "_rest", "_size")

    def __init__(self) -> None:
        self._rest = b""
        self._line = 0
        # The incomplete row: its lines, their size, the number of the first line, and whether a quote is
        # still open.
        self._open: list[bytes] = []
        self._size = 0
        self._first = 1
        self._quoted = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, list[str]]]:
        """Return the rows that end in these bytes, each with the number of its first line.

        Raises:
            Broken: after the rows before the broken line.
        """
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._line += 1
            if not self._open:
                self._first = self._line
            self._size += len(line) + 1
            self._limit(self._size)
            self._open.append(line)
            self._quoted ^= line.count(b'"') % 2 == 1
            if not self._quoted:
                cells = self._cells(b"\n".join([*self._open, b""]))
                self._open, self._size = [], 0
                if cells:
                    yield self._first, cells
        self._limit(self._size + len(self._rest))

    def finish(self) -> None:
        """End the file; Broken if it was cut off."""
        if self._open:
            raise Broken(self._first, "a quote is opened that is never closed")
        # Both vendors end every line with a line break. Without it the last cell may be cut off, and half a
        # batch number still looks like a number.
        if self._rest:
            raise Broken(self._line + 1, "the last line does not end with a line break: the file was cut off")

    def _limit(self, size: int) -> None:
        if size > MAX_ROW_BYTES:
            line = self._first if self._size else self._line + 1
            raise Broken(line, f"a row of more than {MAX_ROW_BYTES} bytes: is a quote never closed?")

    def _cells(self, row: bytes) -> list[str]:
        if self._first == 1:
            row = row.removeprefix(_BOM)
        if b"\0" in row:
            raise Broken(self._first, "a NUL byte: not UTF-8 text")
        try:
            return next(csv.reader([row.decode()], strict=True))
        except UnicodeDecodeError:
            raise Broken(self._first, "not UTF-8") from None
        except csv.Error as error:
            raise Broken(self._first, f"not CSV: {error}") from None


class Units:
    """Turns amounts in major units into the ledger's minor units, exactly or not at all."""

    __slots__ = ("_currencies",)

    def __init__(self, currencies: CurrencyRegistry) -> None:
        self._currencies: Final = currencies

    def knows(self, currency: str) -> bool:
        """Return whether the ledger has the currency."""
        return currency in self._currencies

    def smallest(self, currency: str) -> Decimal:
        """Return one minor unit of a currency that the ledger knows, in major units."""
        return Decimal(1).scaleb(-self._currencies.exponent(currency))

    def minor(self, amount: Decimal, currency: str) -> int:
        """Return an amount in minor units.

        Raises:
            Unreadable: the ledger does not know the currency or has no exact value for the amount.
        """
        if currency not in self._currencies:
            raise Unreadable(f"the ledger does not know the currency {shown(currency)}")
        exponent = self._currencies.exponent(currency)
        scaled = EXACT.scaleb(amount, exponent)
        value = int(scaled)
        if value != scaled:
            raise Unreadable(f"{amount} {currency} is no whole number of minor units ({exponent} decimals)")
        if abs(value) > _MAX_AMOUNT:
            raise Unreadable(f"{amount} {currency} has more than 64 bits")
        return value


def in_zone(local: datetime, zone: tzinfo, column: str) -> datetime:
    """Return a local time as one instant; Unreadable if the zone's clock shows it never or twice."""
    if isinstance(zone, timezone):
        return local.replace(tzinfo=zone).astimezone(UTC)
    first, second = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
    if first.utcoffset() != second.utcoffset():
        raise Unreadable(f"{column} {local} is no one time in {zone}, whose clocks change then")
    return first.astimezone(UTC)


def shown(value: str) -> str:
    """Return a cell's text in a form that fits into a sentence."""
    return repr(value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}…")
