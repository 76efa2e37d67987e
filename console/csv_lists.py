"""Owns lists as CSV: all pages of the same query, with text that no spreadsheet takes for a formula."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MOST_ROWS: Final = 50_000
_BEGINS_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True, slots=True)
class Text:
    """A cell whose text somebody else has written: the only kind that is guarded."""

    text: str


Cell = Text | str
"""What is ours (amounts, times, states) stays as it is, a minus included."""


def guarded(text: str) -> str:
    """Return a text that a spreadsheet shows and does not compute."""
    return f"'{text}" if text.lstrip(" \0").startswith(_BEGINS_FORMULA) or text.startswith("'") else text


def line(cells: Iterable[Cell]) -> str:
    """Return a line of a file."""
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n").writerow(
        [guarded(cell.text.replace("\0", "")) if isinstance(cell, Text) else cell for cell in cells]
    )
    return written.getvalue()


async def first_of(rows: AsyncIterator[Sequence[Cell]]) -> Sequence[Cell] | None:
    """Return the first row, or None where there is none.

    Raises:
        LedgerError: nothing may be read; told before an answer has begun, which could not be taken back.
    """
    return await anext(rows, None)


async def lines(
    header: Sequence[str], first: Sequence[Cell] | None, rows: AsyncIterator[Sequence[Cell]], cut_off: str
) -> AsyncIterator[str]:
    """Yield a file, up to its bound.

    Args:
        first: what `first_of` the rows has returned.
        rows: those behind it.
        cut_off: is the last line of a file that does not have all rows.
    """
    yield "\N{BYTE ORDER MARK}" + line(header)
    if first is None:
        return
    yield line(first)
    count = 1
    async for row in rows:
        if count == MOST_ROWS:
            yield line([cut_off])
            return
        count += 1
        yield line(row)
