"""Owns the reads of parked events: which may be tried again, which wait too long, and of which tenants."""

from datetime import datetime
from typing import Final, NamedTuple

from ledger_server.domain.ids import TenantId, TenantKey, tenant_key
from ledger_server.store.database import Pool

# This many parked events are looked at to find their tenants; if there are more, each tenant is asked.
_FIRST: Final = 500
_PAGE: Final = 500

# An event may have its effect once its payment is there, or has changed since the event was recorded.
_CHANGED_BY: Final = """
CROSS JOIN LATERAL (
    SELECT max(changed_by) AS changed_by FROM (
        (SELECT p.changed_by FROM (
             SELECT changed_by, provider FROM payments
             WHERE tenant_key = {key} AND payment_number BETWEEN COALESCE(e.payment_number, e.echoed_number)
                 AND COALESCE(e.payment_number, e.echoed_number)
             ORDER BY payment_number LIMIT 1
         ) AS p WHERE p.provider = e.provider)
        UNION ALL
        (SELECT p.changed_by FROM payment_refs r
         CROSS JOIN LATERAL (
             SELECT changed_by FROM payments
             WHERE tenant_key = {key} AND payment_number BETWEEN r.payment_number AND r.payment_number
             ORDER BY payment_number LIMIT 1
         ) AS p
         WHERE r.tenant_key = {key} AND r.provider = e.provider AND r.provider_ref = e.payment_ref LIMIT 1)
    ) AS candidates
) p
WHERE e.tenant_key = {key} AND e.state = 2
"""
_HAS_CHANGED: Final = """
    AND (p.changed_by > e.changed_by OR (e.payment_number IS NULL AND p.changed_by IS NOT NULL))
"""
_READY: Final = f"""
SELECT e.event_number, p.changed_by
FROM provider_events e {_CHANGED_BY.format(key="$1")} {_HAS_CHANGED} AND e.event_number > $2
ORDER BY e.event_number LIMIT $3
"""
_WITH_PAYMENT: Final = f"""
SELECT e.event_number, p.changed_by
FROM provider_events e {_CHANGED_BY.format(key="$1")} AND p.changed_by IS NOT NULL AND e.event_number > $2
ORDER BY e.event_number LIMIT $3
"""
# The tenants of parked events: of the first that came, with their number, or one event per tenant.
_FIRST_PARKED: Final = """
SELECT t.tenant_id, parked.count FROM (
    SELECT tenant_key, count(*) AS count FROM (
        SELECT tenant_key FROM provider_events WHERE state = 2 AND event_number > 0
        ORDER BY receive_time LIMIT $1
    ) AS oldest GROUP BY tenant_key
) AS parked
CROSS JOIN LATERAL (SELECT tenant_id FROM tenants WHERE tenant_key = parked.tenant_key LIMIT 1) AS t
"""
_EACH_PARKED: Final = """
SELECT t.tenant_id FROM tenants t
CROSS JOIN LATERAL (
    SELECT 1 FROM provider_events WHERE tenant_key = t.tenant_key AND state = 2
    ORDER BY event_number LIMIT 1
) AS parked
WHERE t.tenant_id > $1 ORDER BY t.tenant_id LIMIT $2
"""
_READY_TENANTS: Final = f"""
SELECT wanted.tenant_id FROM unnest($1::text[], $2::bigint[]) AS wanted(tenant_id, tenant_key)
CROSS JOIN LATERAL (
    SELECT 1 FROM provider_events e {_CHANGED_BY.format(key="wanted.tenant_key")} {_HAS_CHANGED}
    ORDER BY e.event_number LIMIT 1
) AS ready
"""
_OVERDUE_TENANTS: Final = """
SELECT t.tenant_id FROM (
    SELECT DISTINCT tenant_key FROM (
        SELECT tenant_key FROM provider_events
        WHERE state = 2 AND event_number > 0 AND receive_time >= $1 AND receive_time < $2
        ORDER BY receive_time OFFSET 0
    ) AS parked
) AS overdue
CROSS JOIN LATERAL (SELECT tenant_id FROM tenants WHERE tenant_key = overdue.tenant_key LIMIT 1) AS t
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


class OverdueEvent(NamedTuple):
    """A parked event that has waited too long for its payment."""

    number: int
    provider: str
    event_id: str
    type: int
    payment_ref: str
    payment: int | None
    receive_time: datetime
    withdrawal: bool


class ReadyEvent(NamedTuple):
    """A parked event, and the newest record of its payment."""

    number: int
    changed_by: int


async def ready_events(pool: Pool, key: TenantKey, *, after: int, limit: int) -> list[ReadyEvent]:
    """Return parked events that may be tried again, in order."""
    rows = await pool.fetch(_READY, key, after, limit)
    return [ReadyEvent(row["event_number"], row["changed_by"]) for row in rows]


async def events_with_payment(pool: Pool, key: TenantKey, *, after: int, limit: int) -> list[ReadyEvent]:
    """Return parked events whose payment is known, whether or not it has changed, in order."""
    rows = await pool.fetch(_WITH_PAYMENT, key, after, limit)
    return [ReadyEvent(row["event_number"], row["changed_by"]) for row in rows]


async def overdue_events(
    pool: Pool, key: TenantKey, before: datetime, *, after: int, limit: int
) -> list[OverdueEvent]:
    """Return events that have been parked since before a time, in order."""
    return [OverdueEvent(*row) for row in await pool.fetch(_OVERDUE, key, after, before, limit)]


async def tenants_with_ready_events(pool: Pool) -> list[str]:
    """Return the tenants that have a parked event which may be tried again."""
    rows = await pool.fetch(_FIRST_PARKED, _FIRST)
    parked = [row["tenant_id"] for row in rows]
    if sum(row["count"] for row in rows) >= _FIRST:
        parked = await _all_with_parked(pool)
    ready: list[str] = []
    for start in range(0, len(parked), _PAGE):
        page = parked[start : start + _PAGE]
        keys = [tenant_key(TenantId(tenant_id)) for tenant_id in page]
        ready += [row["tenant_id"] for row in await pool.fetch(_READY_TENANTS, page, keys)]
    return ready


async def tenants_with_overdue_events(pool: Pool, since: datetime, before: datetime) -> list[str]:
    """Return the tenants with a parked event that came at or after one time and before another."""
    rows = await pool.fetch(_OVERDUE_TENANTS, since, before)
    return [row["tenant_id"] for row in rows]


async def _all_with_parked(pool: Pool) -> list[str]:
    found: list[str] = []
    while True:
        rows = await pool.fetch(_EACH_PARKED, found[-1] if found else "", _PAGE)
        found += [row["tenant_id"] for row in rows]
        if len(rows) < _PAGE:
            return found
