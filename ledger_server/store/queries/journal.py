"""Owns the reads of the journal: by sequence, by idempotency key, and by instant."""

from datetime import datetime
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.state.commands import RequestKey
from ledger_server.store.database import AnyConnection
from ledger_server.store.final_time import FinalUntil, final_until_of
from ledger_server.store.queries.balances import SEQUENCE_AT_TIME
from ledger_server.store.queries.rendering import PAGE_BYTES

# The length of a stored value is known without reading it, so only records that are returned are read.
_AFTER: Final = """
SELECT sequence, record, chain_hash FROM (
    SELECT sequence, record, chain_hash, sum(octet_length(record)) OVER (
        ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM (
        SELECT sequence, record, chain_hash FROM journal WHERE tenant_key = $1 AND sequence > $2
        ORDER BY sequence LIMIT $3
    ) AS counted
) AS measured
WHERE bytes_before IS NULL OR bytes_before + octet_length(record) <= $4
ORDER BY sequence
"""
_NEWEST: Final = "SELECT sequence FROM tenants WHERE tenant_key = $1"
_OUTCOME: Final = """
SELECT sequence, record, chain_hash FROM journal
WHERE tenant_key = $1 AND idempotency_key = $2 AND method = $3 AND player_id = $4
"""
_RECORD_TIME: Final = """
SELECT t.sequence, (
    SELECT record_time FROM journal WHERE tenant_key = $1 AND sequence = $2 LIMIT 1
) AS record_time
FROM tenants t WHERE t.tenant_key = $1
"""
# In `balance_at_time` the instant is $3, since the account is $2.
_SEQUENCE_AT_TIME: Final = f"""
WITH {SEQUENCE_AT_TIME}
SELECT at.sequence, t.sequence AS head_sequence, t.record_time AS head_time, t.final_time
FROM tenants t CROSS JOIN at WHERE t.tenant_key = $1
""".replace("$3", "$2")


class Entry(NamedTuple):
    """One line of the journal: the bytes that were hashed, and the hash."""

    sequence: int
    record: bytes
    chain_hash: bytes


class SequenceAt(NamedTuple):
    """The newest record at or before an instant, 0 if there is none; and how far the journal is final."""

    sequence: int
    final: FinalUntil


async def entries_after(
    connection: AnyConnection, key: TenantKey, sequence: int, *, limit: int, size_bytes: int = PAGE_BYTES
) -> list[Entry]:
    """Return the entries that follow a sequence: at least one if there is one, and up to so many bytes."""
    return [_entry(row) for row in await connection.fetch(_AFTER, key, sequence, limit, size_bytes)]


async def newest_sequence(connection: AnyConnection, key: TenantKey) -> int:
    """Return the newest record of a tenant that exists."""
    return int(await connection.fetchval(_NEWEST, key))


async def outcome(connection: AnyConnection, key: TenantKey, request: RequestKey) -> Entry | None:
    """Return what was decided for an idempotency key."""
    row = await connection.fetchrow(_OUTCOME, key, request.idempotency_key, request.method, request.player_id)
    return None if row is None else _entry(row)


async def sequence_at_time(connection: AnyConnection, key: TenantKey, moment: datetime) -> SequenceAt:
    """Return the newest record of a tenant that exists, written at or before an instant."""
    row = await connection.fetchrow(_SEQUENCE_AT_TIME, key, moment)
    assert row is not None, "tenants are never deleted"
    return SequenceAt(row["sequence"], final_until_of(row))


class TimeOfRecord(NamedTuple):
    """The newest record of a tenant, and the time of the one asked for; None if it is still to come."""

    head_sequence: int
    time: datetime | None


async def record_time(connection: AnyConnection, key: TenantKey, sequence: int) -> TimeOfRecord:
    """Return when a record of a tenant that exists was written."""
    row = await connection.fetchrow(_RECORD_TIME, key, sequence)
    assert row is not None, "tenants are never deleted"
    return TimeOfRecord(*row)


def _entry(row: Record) -> Entry:
    return Entry(row["sequence"], row["record"], row["chain_hash"])
