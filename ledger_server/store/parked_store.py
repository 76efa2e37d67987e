"""Owns what is read of parked events: which may be tried again, and which have waited too long."""

from datetime import datetime
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import Pool

# An event may have its effect once its payment is there, or has changed since the event was recorded.
_READY: Final = """
SELECT e.event_number, p.changed_by
FROM provider_events e
CROSS JOIN LATERAL (
    SELECT max(changed_by) AS changed_by FROM (
        (SELECT p.changed_by FROM (
             SELECT changed_by, provider FROM payments
             WHERE tenant_key = $1 AND payment_number BETWEEN COALESCE(e.payment_number, e.echoed_number)
                 AND COALESCE(e.payment_number, e.echoed_number)
             ORDER BY payment_number LIMIT 1
         ) AS p WHERE p.provider = e.provider)
        UNION ALL
        (SELECT p.changed_by FROM payment_refs r
         CROSS JOIN LATERAL (
             SELECT changed_by FROM payments
             WHERE tenant_key = $1 AND payment_number BETWEEN r.payment_number AND r.payment_number
             ORDER BY payment_number LIMIT 1
         ) AS p
         WHERE r.tenant_key = $1 AND r.provider = e.provider AND r.provider_ref = e.payment_ref LIMIT 1)
    ) AS candidates
) p
WHERE e.tenant_key = $1 AND e.state = 2 AND e.event_number > $2
    AND (p.changed_by > e.changed_by OR (e.payment_number IS NULL AND p.changed_by IS NOT NULL))
ORDER BY e.event_number LIMIT $3
"""
_OVERDUE: Final = """
SELECT event_number, provider, event_id, type, payment_ref, payment_number, receive_time, (
    SELECT kind = 2 FROM payments
    WHERE tenant_key = $1 AND payment_number = provider_events.payment_number
) IS TRUE AS withdrawal
FROM provider_events
WHERE tenant_key = $1 AND state = 2 AND event_number > $2 AND receive_time < $3
ORDER BY event_number LIMIT $4
"""


class ReadyEvent(NamedTuple):
    """A parked event, and the newest record of its payment."""

    number: int
    changed_by: int


async def ready_events(pool: Pool, key: TenantKey, *, after: int, limit: int) -> list[ReadyEvent]:
    """Return parked events that may be tried again, in order."""
    rows = await pool.fetch(_READY, key, after, limit)
    return [ReadyEvent(row["event_number"], row["changed_by"]) for row in rows]


async def overdue_events(
    pool: Pool, key: TenantKey, before: datetime, *, after: int, limit: int
) -> list[Record]:
    """Return events that have been parked since before a time, in order."""
    rows: list[Record] = await pool.fetch(_OVERDUE, key, after, before, limit)
    return rows
