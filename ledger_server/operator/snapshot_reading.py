"""Owns the reading of a whole snapshot before anything is sent: each line is checked, and all are sorted."""

import sqlite3
from collections.abc import Callable, Iterator, KeysView, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from defter.backfill.v1 import backfill_pb2 as pb

from ledger_server.operator.snapshot_files import SnapshotRow, opened, rows
from ledger_server.operator.snapshot_lines import BadLine, BadSnapshot, Columns, columns_of, read_line
from ledger_server.operator.snapshot_order import SortedSnapshot

# So many wrong lines are told one by one.
_TOLD: Final = 20
_SHOW_EVERY: Final = 1_000

Show = Callable[[int], None]


class Snapshot(NamedTuple):
    """The lines in order, and the buckets that they have."""

    lines: SortedSnapshot
    buckets: "list[pb.Bucket.ValueType]"


def read_file(file: Path, places: Mapping[str, int], show: Show) -> Snapshot:
    """Read a file.

    Raises:
        BadSnapshot: it can't be read, or has lines that say nothing exact, or one of a player twice.
    """
    with _reading(places, show) as reader:
        with opened(file) as text:
            for row in rows(text):
                reader.add(row)
        return reader.snapshot()


async def read_query(url: str, query: str, places: Mapping[str, int], show: Show) -> Snapshot:
    """Read the rows of a query. Raises BadSnapshot as `read_file` does."""
    # The driver of PostgreSQL comes along, which no other command needs.
    from ledger_server.operator.snapshot_query import query_rows  # noqa: PLC0415

    with _reading(places, show) as reader:
        async for row in query_rows(url, query):
            reader.add(row)
        return reader.snapshot()


@contextmanager
def _reading(places: Mapping[str, int], show: Show) -> "Iterator[_Reader]":
    """Give back the disk of a snapshot that came to nothing. Raises BadSnapshot where the disk is full."""
    reader = _Reader(places, show)
    try:
        yield reader
    except sqlite3.Error as error:
        reader.close()
        raise BadSnapshot(f"the lines can't be sorted on the disk (TMPDIR): {error}") from None
    except BaseException:
        reader.close()
        raise


class _Reader:
    """Takes the rows of one snapshot."""

    def __init__(self, places: Mapping[str, int], show: Show) -> None:
        self._places = places
        self._show = show
        self._lines = SortedSnapshot()
        self._columns: Columns | None = None
        self._names: KeysView[str] = {}.keys()
        self._problems: list[str] = []
        self._bad = 0

    def add(self, row: SnapshotRow) -> None:
        """Check a row and add it."""
        try:
            self._add(row)
        except BadLine as bad:
            self._note(f"line {row.number}: {bad}")
        if self._lines.count % _SHOW_EVERY == 0:
            self._show(self._lines.count)

    def _add(self, row: SnapshotRow) -> None:
        if row.problem:
            raise BadLine(row.problem)
        if self._columns is None:
            self._columns, self._names = columns_of(row.fields), row.fields.keys()
        elif row.fields.keys() != self._names and columns_of(row.fields) != self._columns:
            raise BadLine("it has other columns than the first line")
        self._lines.add(read_line(row.fields, self._columns, self._places, row.number))

    def snapshot(self) -> Snapshot:
        """Return the lines in order. Raises BadSnapshot if any of them was wrong."""
        self._lines.sort()
        for each in self._lines.twice(_TOLD):
            self._note(
                f"line {each.other}: {each.player_id} has {each.currency} in line {each.first} already"
            )
        if self._bad:
            more = f"\n  and {self._bad - _TOLD:,} more" if self._bad > _TOLD else ""
            raise BadSnapshot(
                "nothing was compared: there are lines that can't be read\n  "
                + "\n  ".join(self._problems)
                + more
            )
        buckets = [pb.BUCKET_REAL, pb.BUCKET_BONUS]
        if self._columns is not None:
            told = (self._columns.real, self._columns.bonus)
            buckets = [bucket for bucket, name in zip(buckets, told, strict=True) if name is not None]
        return Snapshot(self._lines, buckets)

    def close(self) -> None:
        """Give back what the lines take."""
        self._lines.close()

    def _note(self, problem: str) -> None:
        self._bad += 1
        if len(self._problems) < _TOLD:
            self._problems.append(problem)
