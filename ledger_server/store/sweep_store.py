"""Owns what the sweeper reads: tenants page by page, and a tenant's due holds."""

from datetime import datetime
from typing import Final

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import Pool

_TENANTS_AFTER: Final = """
SELECT tenant_id, tenant_key FROM tenants WHERE tenant_id > $1 ORDER BY tenant_id LIMIT 500
"""
_DUE_HOLDS: Final = """
SELECT hold_number FROM holds
WHERE tenant_key = $1 AND state = 1 AND expire_time IS NOT NULL AND expire_time <= $2
ORDER BY expire_time LIMIT $3
"""


async def tenants_after(pool: Pool, tenant_id: str) -> list[tuple[str, TenantKey]]:
    """Return the next page of tenants by id."""
    rows = await pool.fetch(_TENANTS_AFTER, tenant_id)
    return [(row["tenant_id"], TenantKey(row["tenant_key"])) for row in rows]


async def due_hold_numbers(pool: Pool, key: TenantKey, now: datetime, *, limit: int) -> list[int]:
    """Return open holds whose time has come, the longest due first."""
    rows = await pool.fetch(_DUE_HOLDS, key, now, limit)
    return [row["hold_number"] for row in rows]
