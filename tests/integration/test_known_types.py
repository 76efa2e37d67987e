"""Connections ask what PostgreSQL's own types are made of once in a process, and decode them all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from ledger_server.store.connections import LedgerConnection

NUMBERS = "SELECT $1::bigint[] || 3::bigint AS numbers, ARRAY[interval '1 s'] AS spans"
ABOUT_TYPES = "typeinfo_tree"


@asynccontextmanager
async def connected(database_url: str, **options: Any) -> AsyncIterator[tuple[LedgerConnection, list[str]]]:
    """Yield a new connection, and the statements that it sends."""
    sent: list[str] = []
    connection = await asyncpg.connect(database_url, connection_class=LedgerConnection, **options)
    connection.add_query_logger(lambda query: sent.append(query.query))
    try:
        yield connection, sent
    finally:
        await connection.close()


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as a new process does."""
    monkeypatch.setattr(LedgerConnection, "_types", {})


@pytest.mark.parametrize("kept", [0, 100], ids=["no statement kept", "statements kept"])
async def test_connect_again_asks_for_no_type_of_postgresql(database_url: str, kept: int) -> None:
    """Nor does it need to: the answer is read as on the first connection."""
    for asked in (True, False, False):
        async with connected(database_url, statement_cache_size=kept) as (connection, sent):
            rows = [await connection.fetchrow(NUMBERS, [1, 2]) for _ in range(2)]
        assert [list(row["numbers"]) for row in rows if row] == [[1, 2, 3]] * 2
        assert any(ABOUT_TYPES in query for query in sent) is asked


async def test_types_of_the_database_are_asked_for_by_each_connection(database_url: str) -> None:
    """Another database has other types under the same numbers."""
    async with connected(database_url) as (connection, _):
        await connection.execute("CREATE TYPE mood AS ENUM ('calm', 'cross')")
    for _ in range(2):
        async with connected(database_url) as (connection, sent):
            assert await connection.fetchval("SELECT ARRAY['calm', 'cross']::mood[]") == ["calm", "cross"]
        assert any(ABOUT_TYPES in query for query in sent)
