"""Own rows for whatever tables a revision of the schema has, so that a migration meets none that is empty."""

from __future__ import annotations

from typing import Final

import asyncpg

# One value for each type. They satisfy the tables' checks: counters are equal, no hold is beyond its amount.
VALUES: Final = {
    "bigint": "0",
    "boolean": "true",
    "bytea": r"'\x01'",
    "jsonb": "'{}'",
    "smallint": "1",
    "text": "'EUR'",
    "timestamp with time zone": "'2026-01-02 03:04:05+00'",
}
POSITIVE: Final = frozenset({"amount"})
# A row of player_keys has a key or this.
ABSENT: Final = frozenset({"forgotten_by"})
COLUMNS: Final = """
SELECT relname, quote_ident(attname), format_type(atttypid, atttypmod)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
    AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY relname, attnum
"""


async def fill(database_url: str) -> None:
    """Give every table that has no row yet one with a value in each column."""
    connection = await asyncpg.connect(database_url)
    try:
        rows: dict[str, dict[str, str]] = {}
        for table, column, kind in await connection.fetch(COLUMNS):
            if column in ABSENT:
                continue
            rows.setdefault(table, {})[column] = "1" if column in POSITIVE else VALUES[kind]
        for table, row in rows.items():
            await connection.execute(
                f"INSERT INTO {table} ({', '.join(row)}) SELECT {', '.join(row.values())}"
                f" WHERE NOT EXISTS (SELECT FROM {table})"
            )
    finally:
        await connection.close()
