"""Owns the rendering of SQLAlchemy Core statements for asyncpg, and the reading of lists by page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    DateTime,
    FromClause,
    Select,
    bindparam,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from ledger_server.store.database import AnyConnection

# A page looks at no more rows than this, whatever its filter. So a filter that hardly any row passes costs
# several short pages instead of one statement that runs into its time-out.
SCAN_LIMIT: Final = 50_000

# Bytes of one page's records. A message has each record twice, decoded and as bytes, and stays below the 4
# MiB that gRPC clients accept by default, even if the last record is a large one.
PAGE_BYTES: Final = 1024 * 1024

_DIALECT: Final = dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped

_Item = TypeVar("_Item")
Position = TypeVar("Position")


class Rendered(NamedTuple):
    """A statement's text and the names of its parameters in order."""

    text: str
    names: tuple[str, ...]

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """Return the values in the order of the parameters."""
        return [values[name] for name in self.names]


class Page(NamedTuple, Generic[_Item, Position]):
    """One page of a list, and the position behind which the next one begins; None after the last.

    `sequence` is the tenant's newest record when the page was read; None where a list has none.
    """

    items: list[_Item]
    next: Position | None
    sequence: int | None = None


class ListStatement(NamedTuple):
    """The statements that read one page.

    Attributes:
        page: takes `scan` (rows to look at) and `count` (rows to return).
        scan_end: returns the position of the last row that `page` looks at, or nothing if that is the
            end; None where every row that is looked at is returned.
    """

    page: Rendered
    scan_end: Rendered | None


def render(statement: Select[Any]) -> Rendered:
    """Return a statement's text for asyncpg. Costs about a millisecond: cache it per shape."""
    compiled = statement.compile(dialect=_DIALECT)
    return Rendered(str(compiled), tuple(compiled.positiontup or ()))


def number(name: str) -> BindParameter[int]:
    """Return a parameter for a 64-bit integer."""
    return bindparam(name, type_=BigInteger)


def time(name: str) -> BindParameter[Any]:
    """Return a parameter for an instant."""
    return bindparam(name, type_=DateTime(timezone=True))


def look_up(name: str, columns: Iterable[ColumnElement[Any]], *conditions: ColumnElement[bool]) -> FromClause:
    """Return a look-up of one row, made anew for every row that it refers to.

    A plain join would leave the planner a choice. A plan may be made while tables are empty, when reading a
    whole table looks cheap, and would go on doing that for as long as it is kept.
    """
    return select(*columns).where(*conditions).limit(literal_column("1")).lateral(name)


def within(
    position: ColumnElement[Any], low: ColumnElement[Any], high: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Return the condition that a position lies strictly between two others."""
    return (position > low) & (position < high)


async def fetch(
    connection: AnyConnection, statement: Rendered, values: Mapping[str, object]
) -> Sequence[Record]:
    """Run a statement and return its rows."""
    rows: Sequence[Record] = await connection.fetch(statement.text, *statement.arguments(values))
    return rows


async def fetch_page(
    connection: AnyConnection,
    statement: ListStatement,
    values: Mapping[str, object],
    size: int,
    position: Callable[[Record], Position],
) -> Page[Record, Position]:
    """Read one page of at most `size` rows.

    Returns:
        A page that may be short, even empty, with a next one: then the scan limit was reached, or
        `PAGE_BYTES` in the running sum that a column `bytes` carries.
    """
    values = {**values, "count": size + 1, "scan": max(SCAN_LIMIT, size + 1)}
    if statement.scan_end is None:
        return await _read_page(connection, statement, values, size, position)
    # Both statements see one moment: otherwise rows that come or go in between would be skipped or come
    # twice.
    if connection.is_in_transaction():  # a snapshot, see `Reads.run_at`
        return await _read_page(connection, statement, values, size, position)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await _read_page(connection, statement, values, size, position)


async def _read_page(
    connection: AnyConnection,
    statement: ListStatement,
    values: Mapping[str, object],
    size: int,
    position: Callable[[Record], Position],
) -> Page[Record, Position]:
    rows = list(await fetch(connection, statement.page, values))
    if len(rows) > size:
        del rows[size:]
        return Page(rows, position(rows[-1]))
    if rows and rows[-1].get("bytes", 0) >= PAGE_BYTES:
        return Page(rows, position(rows[-1]))
    if statement.scan_end is None:
        return Page(rows, None)
    end = await fetch(connection, statement.scan_end, values)
    return Page(rows, position(end[0]) if end else None)
