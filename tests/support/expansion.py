"""Own the rule of what a migration may do while the version before serves: add, and hold no lock for long.

PostgreSQL is the judge and not the text of the statements: the catalog before and after, the locks that are
held when a database transaction commits, and the tables that were read meanwhile. So a statement in a
function or in a DO block counts like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import asyncpg

# A row a tenant or fewer: whatever is done to them takes a moment. Others may be as large as the journal.
SMALL: Final = frozenset({"alembic_version", "currencies", "history", "tenants"})

_THINGS: Final = """
SELECT 'table ' || relname, relname,
    concat_ws(' ', relkind, relpersistence, relrowsecurity, relforcerowsecurity)
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
UNION ALL
SELECT 'column ' || relname || '.' || attname, relname, concat_ws(' ', format_type(atttypid, atttypmod),
    attcollation, attnotnull, attgenerated, attidentity, pg_get_expr(adbin, adrelid))
  FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
   AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'index ' || indexname, tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'constraint ' || conname, conrelid::regclass::text,
    replace(pg_get_constraintdef(oid), ' NOT VALID', '')
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL
SELECT 'trigger ' || tgname, tgrelid::regclass::text, concat_ws(' ', tgenabled, pg_get_triggerdef(oid))
  FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function ' || oid::regprocedure, '', pg_get_functiondef(oid)
  FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'view ' || viewname, viewname, definition FROM pg_views WHERE schemaname = 'public'
UNION ALL
SELECT concat_ws(' ', 'privilege', privilege_type, table_name, grantee), table_name, ''
  FROM information_schema.role_table_grants WHERE table_schema = 'public'
"""
# Columns without a value of their own, where the version before gives none.
_WANTED: Final = """
SELECT 'column ' || relname || '.' || attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
   AND attnotnull AND NOT atthasdef AND attidentity = ''
"""
# What rows must satisfy: table, columns (0: an expression), and whether the rows that were there were read.
_DEMANDS: Final = """
SELECT 'constraint ' || conname, conrelid, conkey::int[], convalidated
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL
SELECT 'index ' || relname, indrelid, indkey::int[], false
  FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
 WHERE indisunique AND relnamespace = 'public'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
UNION ALL
SELECT 'trigger ' || tgname, tgrelid, '{0}', false FROM pg_trigger WHERE NOT tgisinternal
"""
_FILES: Final = """
SELECT oid, relname, relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
_COLUMNS: Final = """
SELECT attrelid, attnum::int FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
 WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
"""
_INDEXES: Final = """
SELECT 'index ' || relname, indrelid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
 WHERE relnamespace = 'public'::regnamespace
"""
_SCANS: Final = """
SELECT oid, pg_stat_get_xact_numscans(oid) FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
_LOCKS: Final = "SELECT relation, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
_WRITING: Final = "RowExclusiveLock"
_SHUTTING_OUT: Final = frozenset({"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock"})


class _Catalog(NamedTuple):
    """What a database is made of."""

    things: Mapping[str, tuple[str, str]]
    wanted: frozenset[str]
    demands: Mapping[str, tuple[int, tuple[int, ...], bool]]
    files: Mapping[int, tuple[str, int]]
    columns: frozenset[tuple[int, int]]


async def faults_of(connection: Any, statements: Iterable[str], *, keep: bool = False) -> set[str]:
    """Run a migration's statements, and return what they do that an expansion does not.

    Args:
        statements: without the BEGIN before the first and the COMMIT after the last.
        keep: whether the last database transaction is committed.
    """
    before = await _look(connection)
    large = {oid: name for oid, (name, _) in before.files.items() if name not in SMALL}
    faults: set[str] = set()
    transaction = await _begin(connection)
    for statement in statements:
        if statement == "COMMIT;":
            faults |= await _held(connection, large, transaction)
        await connection.execute(statement)
        if statement == "BEGIN;":
            transaction = await _begin(connection, begun=True)
    faults |= await _held(connection, large, transaction)
    after = await _look(connection)
    await connection.execute("COMMIT" if keep else "ROLLBACK")
    return faults | _altered(before, after) | _narrowed(before, after) | _rewritten(before, after, large)


class _Transaction(NamedTuple):
    """What was there when a database transaction began."""

    indexes: frozenset[str]
    scans: Mapping[int, int]


async def _begin(connection: Any, *, begun: bool = False) -> _Transaction:
    if not begun:
        await connection.execute("BEGIN")
    indexes = frozenset(name for name, _ in await connection.fetch(_INDEXES))
    return _Transaction(indexes, dict(map(tuple, await connection.fetch(_SCANS))))


async def _held(connection: Any, large: Mapping[int, str], since: _Transaction) -> set[str]:
    """Return what was done to large tables under locks that are held until the commit."""
    faults: set[str] = set()
    held: dict[int, set[str]] = {}
    for relation, mode in await connection.fetch(_LOCKS):
        if relation in large:
            held.setdefault(relation, set()).add(mode)
    for relation, modes in held.items():
        if _WRITING in modes:
            faults.add(f"writes rows: {large[relation]}")
        if modes & _SHUTTING_OUT:
            faults.add(f"shuts writers out: {large[relation]}")
    if any("AccessExclusiveLock" in modes for modes in held.values()):
        for oid, count in await connection.fetch(_SCANS):
            if oid in large and count > since.scans.get(oid, 0):
                faults.add(f"reads under an exclusive lock: {large[oid]}")
    for name, table in await connection.fetch(_INDEXES):
        if table in large and name not in since.indexes:
            faults.add(f"builds under a lock: {name}")
    return faults


def _altered(before: _Catalog, after: _Catalog) -> set[str]:
    """Return what is gone or is another thing; of a table that is gone nothing else is told."""
    faults = set()
    for name, (table, definition) in before.things.items():
        if table and f"table {table}" not in after.things and name != f"table {table}":
            continue
        if name not in after.things:
            faults.add(f"drops: {name}")
        elif after.things[name][1] != definition:
            faults.add(f"alters: {name}")
    return faults


def _narrowed(before: _Catalog, after: _Catalog) -> set[str]:
    """Return what may refuse rows that the version before writes, or had to look at every row there is."""
    faults = set()
    for name in after.wanted - before.wanted:
        table = after.things[name][0]
        if f"table {table}" in before.things and name not in before.things:
            faults.add(f"narrows: {name}")
    for name, (oid, columns, validated) in after.demands.items():
        if oid not in before.files or name in before.demands:
            continue
        if any(column == 0 or (oid, column) in before.columns for column in columns):
            faults.add(f"narrows: {name}")
        if validated and before.files[oid][0] not in SMALL:
            faults.add(f"reads every row: {name}")
    return faults


def _rewritten(before: _Catalog, after: _Catalog, large: Mapping[int, str]) -> set[str]:
    return {
        f"rewrites: {name}"
        for oid, name in large.items()
        if oid in after.files and after.files[oid][1] != before.files[oid][1]
    }


async def _look(connection: Any) -> _Catalog:
    things = {name: (table, text or "") for name, table, text in await connection.fetch(_THINGS)}
    demands = await connection.fetch(_DEMANDS)
    return _Catalog(
        things=things,
        wanted=frozenset(name for (name,) in await connection.fetch(_WANTED)),
        demands={name: (table, tuple(columns or ()), valid) for name, table, columns, valid in demands},
        files={oid: (name, node) for oid, name, node in await connection.fetch(_FILES)},
        columns=frozenset(map(tuple, await connection.fetch(_COLUMNS))),
    )


async def faults_on(database_url: str, statements: Iterable[str], *, keep: bool = False) -> set[str]:
    """Do the same over a connection of its own."""
    connection = await asyncpg.connect(database_url)
    try:
        return await faults_of(connection, statements, keep=keep)
    finally:
        await connection.close()
