"""Owns the final time of a tenant's journal, and the statement that raises it.

An instant is final for a tenant when no record with that time or an earlier one can be written any more.
Record times never go back, so every instant before the newest record's time is final by itself. Every instant
up to the head's `final_time` is final as well: each statement that moves a head refuses records of that time
or an earlier one (`lane_writes.py`). A read by time raises it, or a commit does beyond its own records.

Both stand in the head's row, which only one database transaction at a time can change. A commit whose record
times passed the check keeps the row's lock until it is durable or undone. So a statement that gets to change
`final_time` knows that no such commit is under way. Every other commit, however long ago it was sent or
begun, then finds the row changed, and PostgreSQL compares its record times again with the new row.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

_READ: Final = """
SELECT sequence AS head_sequence, record_time AS head_time, final_time FROM tenants WHERE tenant_key = $1
"""
# If another session has the row's lock, this statement changes nothing: waiting would keep a connection for
# as long as that session stands still. An instant ahead of the clock is not made final, since the tenant's
# time would have to run ahead as well; but if the head is ahead already, its own time may be made final.
_RAISE: Final = """
WITH free AS (
    SELECT tenant_key FROM tenants
    WHERE tenant_key = $1 AND (final_time < $2) IS NOT FALSE
        AND ($3::boolean OR $2 <= GREATEST(defter_now(), record_time))
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE tenants SET final_time = $2 FROM free WHERE tenants.tenant_key = free.tenant_key
RETURNING tenants.sequence AS head_sequence, tenants.record_time AS head_time, tenants.final_time
"""


class FinalUntil(NamedTuple):
    """How far a tenant's journal is final.

    Attributes:
        head_sequence, head_time: the newest record; another one of the same time may follow.
        final_time: no further record of this time or an earlier one can follow; None if no read has needed it
            yet.
    """

    head_sequence: int
    head_time: datetime
    final_time: datetime | None

    def includes(self, moment: datetime) -> bool:
        """Whether no record of this instant or an earlier one can be written any more."""
        return moment < self.head_time or (self.final_time is not None and moment <= self.final_time)


def final_until_of(row: Record) -> FinalUntil:
    """Return the value of a row with these three columns."""
    return FinalUntil(row["head_sequence"], row["head_time"], row["final_time"])


async def read_final(connection: AnyConnection, key: TenantKey) -> FinalUntil:
    """Return how far the journal of a tenant that exists is final."""
    row = await connection.fetchrow(_READ, key)
    assert row is not None, "tenants are never deleted"
    return final_until_of(row)


async def raise_final(
    connection: AnyConnection, key: TenantKey, moment: datetime, *, window: timedelta | None
) -> FinalUntil | None:
    """Make an instant final, durably; return None if that is not possible at this moment.

    It is not possible while a commit is under way, if the instant is final already, or if it lies ahead of
    the database's clock.

    Args:
        window: the same as for commits (`lane_writes.py`); None if a test brings its own clock.
    """
    row = await connection.fetchrow(_RAISE, key, moment, window is None)
    return None if row is None else final_until_of(row)
