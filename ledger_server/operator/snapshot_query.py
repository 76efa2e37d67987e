"""Owns the reading of a snapshot from a legacy database: one query, read-only, by a cursor."""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from ledger_server.operator.snapshot_files import SnapshotRow
from ledger_server.operator.snapshot_lines import BadLine, BadSnapshot, columns_of

_PREFETCH: Final = 5_000


async def query_rows(url: str, query: str) -> AsyncIterator[SnapshotRow]:
    """Yield the rows of a query against PostgreSQL, all from one snapshot, numbered from 1.

    A statement that does not return the columns of a snapshot is not executed. The transaction is READ ONLY,
    and has its snapshot before the statement, so that PostgreSQL refuses to make it READ WRITE.

    Raises:
        BadSnapshot: the database can't be reached or refuses the query, or that is no query of balances.
    """
    try:
        # A pooler between may not keep prepared statements, so none are.
        connection = await asyncpg.connect(url, statement_cache_size=0)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute("SELECT 1")
                statement = await connection.prepare(query)
                names = _checked([each.name for each in statement.get_attributes()])
                number = 0
                async for record in statement.cursor(prefetch=_PREFETCH):
                    number += 1
                    yield SnapshotRow(number, dict(zip(names, record.values(), strict=True)))
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        # The address may hold a password, so it is not told.
        raise BadSnapshot(f"the legacy database: {type(error).__name__}: {error}") from None


def _checked(names: list[str]) -> list[str]:
    """Return the names of a statement's columns. Raises BadSnapshot if they are not a snapshot's."""
    if not names:
        raise BadSnapshot("the query returns no rows: it has to be a SELECT")
    try:
        columns_of(names)
    except BadLine as bad:
        raise BadSnapshot(f"the query: {bad}") from None
    return names
