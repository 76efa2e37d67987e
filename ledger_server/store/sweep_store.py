"""Owns the reads of sweeps: which tenants have something due, by one query for all, and what is due.

Due rows are found by time, in an index across tenants. If one tenant has so many due rows that they would
hide the other tenants', each tenant is asked for its first due row instead; that costs the same for a million
due rows as for one.
"""

from datetime import datetime
from typing import Final

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import Pool

# This many due rows are looked at to find their tenants; if there are more, each tenant is asked.
_FIRST: Final = 500
_PAGE: Final = 500

# Each time is a parameter, since a volatile function can't be searched for in an index.
_HOLD_DUE: Final = "state = 1 AND expire_time IS NOT NULL AND expire_time <= $1"
# A condition that only sweeps state, so that only sweeps enter the indexes across tenants.
_ANY_HOLD: Final = "hold_number > 0"
_DUE_HOLDS: Final = """
SELECT hold_number FROM holds
WHERE tenant_key = $1 AND state = 1 AND expire_time IS NOT NULL AND expire_time <= $2
ORDER BY expire_time LIMIT $3
"""


def _first(table: str, due: str, time: str) -> str:
    """Return the statement for the tenants of the longest due rows, with the number of these rows."""
    return f"""
SELECT t.tenant_id, due.count FROM (
    SELECT tenant_key, count(*) AS count FROM (
        SELECT tenant_key FROM {table} WHERE {due} ORDER BY {time} LIMIT $2
    ) AS oldest GROUP BY tenant_key
) AS due
CROSS JOIN LATERAL (SELECT tenant_id FROM tenants WHERE tenant_key = due.tenant_key LIMIT 1) AS t
"""


def _each(table: str, due: str, time: str) -> str:
    """Return the statement for the tenants, after a given one, that have any due row."""
    return f"""
SELECT t.tenant_id FROM tenants t
CROSS JOIN LATERAL (
    SELECT 1 FROM {table} WHERE tenant_key = t.tenant_key AND {due} ORDER BY tenant_key, {time} LIMIT 1
) AS due
WHERE t.tenant_id > $2 ORDER BY t.tenant_id LIMIT $3
"""


_FIRST_HOLDS: Final = _first("holds", f"{_HOLD_DUE} AND {_ANY_HOLD}", "expire_time")
_EACH_HOLDS: Final = _each("holds", _HOLD_DUE, "expire_time")
_HEAD_FREE: Final = "SELECT 1 FROM tenants WHERE tenant_key = $1 FOR NO KEY UPDATE SKIP LOCKED"


async def tenants_with_due_holds(pool: Pool, now: datetime) -> list[str]:
    """Return the tenants that have a due hold."""
    rows = await pool.fetch(_FIRST_HOLDS, now, _FIRST)
    if sum(row["count"] for row in rows) < _FIRST:
        return [row["tenant_id"] for row in rows]
    return await _all(pool, _EACH_HOLDS, now)


async def due_hold_numbers(pool: Pool, key: TenantKey, now: datetime, *, limit: int) -> list[int]:
    """Return due holds, the longest due first."""
    rows = await pool.fetch(_DUE_HOLDS, key, now, limit)
    return [row["hold_number"] for row in rows]


async def head_is_locked(pool: Pool, key: TenantKey) -> bool:
    """Whether another session writes or locks the tenant's head; the question itself never waits."""
    return await pool.fetchval(_HEAD_FREE, key) is None


async def _all(pool: Pool, statement: str, now: datetime) -> list[str]:
    found: list[str] = []
    while True:
        rows = await pool.fetch(statement, now, found[-1] if found else "", _PAGE)
        found += [row["tenant_id"] for row in rows]
        if len(rows) < _PAGE:
            return found
