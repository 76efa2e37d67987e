"""Own the plans of the ledger's time-travelling reads: that they stay look-ups when tables grow.

The reads themselves are the ledger's own functions. They run here on a connection that notes which
statements they send, under the settings of the ledger's own pool; each statement is then explained.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from bench.payloads import TENANT_ID
from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import open_pool
from ledger_server.store.migrate import APPLICATION_ROLE
from ledger_server.store.queries import balance_at_time, statement_page
from ledger_server.store.queries.statements import LinePosition

PAGE_SIZE = 100
# The old time lies this far into the journal.
OLD_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the reads are about: an account, and a moment that has long passed."""

    tenant_key: TenantKey
    account_id: str
    old_sequence: int
    old_time: datetime


Read = Callable[[Any, Subject], Awaitable[object]]


async def _old_balance(connection: Any, subject: Subject) -> object:
    return await balance_at_time(connection, subject.tenant_key, subject.account_id, subject.old_time)


async def _old_page(connection: Any, subject: Subject) -> object:
    after = LinePosition(subject.old_sequence, -1)
    return await statement_page(
        connection, subject.tenant_key, subject.account_id, after=after, size=PAGE_SIZE
    )


async def _newest_page(connection: Any, subject: Subject) -> object:
    return await statement_page(
        connection, subject.tenant_key, subject.account_id, newest_first=True, size=PAGE_SIZE
    )


READS: dict[str, Read] = {
    "balance at an old time": _old_balance,
    "statement page from an old time on": _old_page,
    "newest statement page": _newest_page,
}


@dataclass(slots=True)
class _Noting:
    """A connection that passes statements on and notes them."""

    connection: Any
    statements: list[tuple[str, tuple[object, ...]]] = field(default_factory=list)

    async def fetch(self, statement: str, *values: object) -> object:
        self.statements.append((statement, values))
        return await self.connection.fetch(statement, *values)

    async def fetchrow(self, statement: str, *values: object) -> object:
        self.statements.append((statement, values))
        return await self.connection.fetchrow(statement, *values)

    async def fetchval(self, statement: str, *values: object) -> object:
        self.statements.append((statement, values))
        return await self.connection.fetchval(statement, *values)


async def explain_reads(database_url: str, account_id: str) -> str:
    """Return EXPLAIN (ANALYZE, BUFFERS) of every statement of the reads, or why there is none."""
    try:
        async with (
            await open_pool(database_url, role=APPLICATION_ROLE, size=1) as pool,
            pool.acquire() as connection,
        ):
            subject = await _subject(connection, account_id)
            plans = [await _plan(title, read, connection, subject) for title, read in READS.items()]
    # A long load must not be lost to a statement that cannot be explained.
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return f"no plans: {error}"
    return "\n\n".join(plans)


async def _plan(title: str, read: Read, connection: Any, subject: Subject) -> str:
    noting = _Noting(connection)
    await read(noting, subject)
    plans = [await _explain(connection, statement, values) for statement, values in noting.statements]
    return "\n".join([f"{title}:", *plans])


async def _subject(connection: Any, account_id: str) -> Subject:
    tenant = await connection.fetchrow(
        "SELECT tenant_key, sequence FROM tenants WHERE tenant_id = $1", TENANT_ID
    )
    old_sequence = max(1, int(tenant["sequence"] * OLD_SHARE))
    old_time = await connection.fetchval(
        "SELECT record_time FROM journal WHERE tenant_key = $1 AND sequence = $2",
        tenant["tenant_key"],
        old_sequence,
    )
    return Subject(
        tenant_key=TenantKey(tenant["tenant_key"]),
        account_id=account_id,
        old_sequence=old_sequence,
        old_time=old_time,
    )


async def _explain(connection: Any, statement: str, values: tuple[object, ...]) -> str:
    # Prepared by name and executed with literals: only so does PostgreSQL explain the generic plan
    # that the ledger's connections use, rather than one made for these very values.
    await connection.execute(f"PREPARE explained AS {statement}")
    try:
        literals = ", ".join(map(_literal, values))
        rows = await connection.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS) EXECUTE explained({literals})"
            if values
            else "EXPLAIN (ANALYZE, BUFFERS) EXECUTE explained"
        )
    finally:
        await connection.execute("DEALLOCATE explained")
    return "\n".join(row[0] for row in rows)


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, list | tuple):
        return f"ARRAY[{', '.join(map(_literal, value))}]"
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return "'" + text.replace("'", "''") + "'"
