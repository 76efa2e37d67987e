"""Owns the counts of what waits, of all tenants, for metrics: each enters an index and stops at a bound.

A count that reaches its bound stays there: what matters of so many is that they are many. Nothing here says
anything of amounts, and nothing of it is told as of an instant.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from ledger_server.store.database import Pool

MOST: Final = 10_000
"""So many due holds and parked events of all tenants together are counted, those that wait longest."""
MOST_OF_STATE: Final = 1_000
"""So many payments of a tenant in one state, and open findings of a tenant, are counted."""
_TENANTS: Final = 500
# Of the newest runs of a tenant, the complete ones are looked for.
_RUNS: Final = 200

_NAMED: Final = """
SELECT t.tenant_id, counted.* FROM ({counted}) AS counted
CROSS JOIN LATERAL (SELECT tenant_id FROM tenants WHERE tenant_key = counted.tenant_key LIMIT 1) AS t
"""
# Each has a condition, or an order, that no other index fits.
_HOLDS_DUE: Final = _NAMED.format(
    counted="""
    SELECT tenant_key, count(*) AS count, min(expire_time) AS oldest FROM (
        SELECT tenant_key, expire_time FROM holds
        WHERE state = 1 AND expire_time IS NOT NULL AND expire_time <= $1 AND hold_number > 0
        ORDER BY expire_time LIMIT $2
    ) AS due GROUP BY tenant_key
"""
)
_PARKED: Final = _NAMED.format(
    counted="""
    SELECT tenant_key, count(*) AS count, min(receive_time) AS oldest FROM (
        SELECT tenant_key, receive_time FROM provider_events
        WHERE state = 2 AND event_number > 0 ORDER BY receive_time LIMIT $1
    ) AS parked GROUP BY tenant_key
"""
)
# Tenant by tenant, so that one tenant's many findings hide nobody else's.
_FINDINGS: Final = """
SELECT t.tenant_id, f.class, f.severity, count(*) AS count
FROM unnest($1::bigint[], $2::text[]) AS t(tenant_key, tenant_id)
CROSS JOIN LATERAL (
    SELECT class, severity FROM reconciliation_findings
    WHERE tenant_key = t.tenant_key AND state IN (1, 2, 5)
    ORDER BY tenant_key, provider, subject_time LIMIT $3
) AS f
GROUP BY t.tenant_id, f.class, f.severity
"""
_PAGE: Final = "SELECT tenant_key, tenant_id FROM tenants WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2"
_PAYMENTS: Final = """
SELECT wanted.tenant_id, wanted.kind, wanted.state, (
    SELECT count(*) FROM (
        SELECT 1 FROM payments
        WHERE tenant_key = wanted.tenant_key AND kind = wanted.kind AND state = wanted.state
        ORDER BY payment_number LIMIT $5
    ) AS first_ones
) AS count
FROM (
    SELECT t.tenant_key, t.tenant_id, s.kind, s.state
    FROM unnest($1::bigint[], $2::text[]) AS t(tenant_key, tenant_id)
    CROSS JOIN unnest($3::smallint[], $4::smallint[]) AS s(kind, state)
) AS wanted
"""
# Where none of them is complete, the oldest of them tells for how long none has been, at least.
_RECONCILED: Final = """
SELECT t.tenant_id, r.provider,
    COALESCE(max(r.begin_time) FILTER (WHERE r.state = 2), min(r.begin_time)) AS since
FROM unnest($1::bigint[], $2::text[]) AS t(tenant_key, tenant_id)
CROSS JOIN LATERAL (
    SELECT provider, state, begin_time FROM reconciliation_runs
    WHERE tenant_key = t.tenant_key ORDER BY begin_time DESC LIMIT $3
) AS r
WHERE r.provider NOT LIKE 'balances:%'  -- comparisons of balances, which end with the legacy system
GROUP BY t.tenant_id, r.provider
"""


class Waiting(NamedTuple):
    """How many wait of a tenant, and since when the first of them does."""

    tenant_id: str
    total: int
    oldest: datetime


class OpenFindings(NamedTuple):
    """How many findings of a tenant, a class and a severity are not resolved."""

    tenant_id: str
    finding_class: int
    severity: int
    total: int


class OpenPayments(NamedTuple):
    """How many payments of a tenant and a kind are in a state."""

    tenant_id: str
    kind: int
    state: int
    total: int


class Reconciled(NamedTuple):
    """When the newest complete run of a provider account began."""

    tenant_id: str
    provider: str
    since: datetime


async def holds_due(pool: Pool, now: datetime) -> list[Waiting]:
    """Return the holds that are due and not expired yet, by tenant."""
    rows = await pool.fetch(_HOLDS_DUE, now, MOST)
    return [Waiting(row["tenant_id"], row["count"], row["oldest"]) for row in rows]


async def events_parked(pool: Pool) -> list[Waiting]:
    """Return the parked events, by tenant."""
    rows = await pool.fetch(_PARKED, MOST)
    return [Waiting(row["tenant_id"], row["count"], row["oldest"]) for row in rows]


async def findings_open(pool: Pool, tenants: Sequence[tuple[int, str]]) -> list[OpenFindings]:
    """Return the findings of some tenants that are not resolved, by tenant, class and severity."""
    rows = await pool.fetch(_FINDINGS, *_columns(tenants), MOST_OF_STATE)
    return [OpenFindings(row["tenant_id"], row["class"], row["severity"], row["count"]) for row in rows]


async def tenants_after(pool: Pool, tenant_id: str) -> list[tuple[int, str]]:
    """Return the keys and ids of some tenants after one, by id; none: there are no more."""
    rows = await pool.fetch(_PAGE, tenant_id, _TENANTS)
    return [(row["tenant_key"], row["tenant_id"]) for row in rows]


async def payments_open(
    pool: Pool, tenants: Sequence[tuple[int, str]], states: Sequence[tuple[int, int]]
) -> list[OpenPayments]:
    """Return the payments of some tenants in some states.

    Args:
        tenants: keys and ids.
        states: kinds of payments with states of them.
    """
    rows = await pool.fetch(
        _PAYMENTS,
        *_columns(tenants),
        [kind for kind, _ in states],
        [state for _, state in states],
        MOST_OF_STATE,
    )
    return [OpenPayments(row["tenant_id"], row["kind"], row["state"], row["count"]) for row in rows]


async def reconciled(pool: Pool, tenants: Sequence[tuple[int, str]]) -> list[Reconciled]:
    """Return when the newest complete runs of some tenants began, by provider account that has any run."""
    rows = await pool.fetch(_RECONCILED, *_columns(tenants), _RUNS)
    return [Reconciled(row["tenant_id"], row["provider"], row["since"]) for row in rows]


def _columns(tenants: Sequence[tuple[int, str]]) -> tuple[list[int], list[str]]:
    return [key for key, _ in tenants], [tenant_id for _, tenant_id in tenants]
