"""Owns the reading of a snapshot from a legacy database: one query, read-only, by a cursor."""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from ledger_server.operator.snapshot_files import SnapshotRow
from ledger_server.operator.snapshot_lines import BadSnapshot

_PREFETCH: Final = 5_000


async def query_rows(url: str, query: str) -> AsyncIterator[SnapshotRow]:
    """Yield the rows of a query against PostgreSQL, all from one snapshot, numbered from 1.

    A cursor takes one statement, and the transaction is READ ONLY, so nothing can be changed.

    Raises:
        BadSnapshot: the database can't be reached, or refuses the query.
    """
    try:
        # A pooler between may not keep prepared statements, so none are.
        connection = await asyncpg.connect(url, statement_cache_size=0)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                number = 0
                async for record in connection.cursor(query, prefetch=_PREFETCH):
                    number += 1
                    yield SnapshotRow(number, dict(record))
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        # The address may hold a password, so it is not told.
        raise BadSnapshot(f"the legacy database: {type(error).__name__}: {error}") from None
