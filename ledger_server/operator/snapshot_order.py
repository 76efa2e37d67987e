"""Owns the sorting of a snapshot outside of memory: SQLite, in a file of its own that ends with the command.

The server walks its wallets by an index and merges a snapshot that comes in the same order. SQLite sorts by
the bytes of a text, as that index does, and keeps what does not fit into its small cache on the disk.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from ledger_server.operator.snapshot_lines import SnapshotLine

_CACHE_KIB: Final = 16 * 1024
_BATCH: Final = 10_000


class Twice(NamedTuple):
    """A player and currency that a snapshot has more than once, and in which two lines."""

    player_id: str
    currency: str
    first: int
    other: int


class SortedSnapshot:
    """The lines of one snapshot, which are added in any order and read in that of the ledger."""

    def __init__(self) -> None:
        self.count = 0
        # An empty name is a private file, which the system takes away.
        self._database = sqlite3.connect("", isolation_level=None)
        for setting in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "temp_store = FILE",
            f"cache_size = -{_CACHE_KIB}",
        ):
            self._database.execute(f"PRAGMA {setting}").fetchall()
        self._database.execute(
            "CREATE TABLE lines (place TEXT, player TEXT, currency TEXT, real INTEGER, bonus INTEGER,"
            " number INTEGER)"
        )
        self._waiting: list[tuple[object, ...]] = []

    def add(self, line: SnapshotLine) -> None:
        """Add a line."""
        self.count += 1
        # With the colon behind it an id stands where its accounts stand: `7:` behind `71:`.
        self._waiting.append((f"{line.player_id}:", *line))
        if len(self._waiting) >= _BATCH:
            self._write()

    def sort(self) -> None:
        """Put all lines in order; none may be added from then on."""
        self._write()
        # It has all columns, so that reading in order never looks up a row.
        self._database.execute(
            "CREATE INDEX by_place ON lines (place, currency, number, player, real, bonus)"
        )

    def twice(self, most: int) -> list[Twice]:
        """Return some of the players and currencies that come more than once."""
        found = self._database.execute(
            "SELECT player, currency, min(number), max(number) FROM lines"
            " GROUP BY place, currency HAVING count(*) > 1 LIMIT ?",
            (most,),
        )
        return [Twice(*row) for row in found]

    def pages(self, size: int) -> Iterator[list[SnapshotLine]]:
        """Yield all lines in order, so many at a time."""
        rows: Iterable[tuple[str, str, int, int, int]] = self._database.execute(
            "SELECT player, currency, real, bonus, number FROM lines INDEXED BY by_place"
            " ORDER BY place, currency"
        )
        lines = (SnapshotLine(*row) for row in rows)
        while page := list(islice(lines, size)):
            yield page

    def close(self) -> None:
        """Give the disk back."""
        self._database.close()

    def _write(self) -> None:
        if self._waiting:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?)", self._waiting)
            self._database.execute("COMMIT")
            self._waiting.clear()
