"""Owns the outbox: which calls are owed to providers, and who is making them.

A claim moves the next try into the future, beyond the time that a call can take: should the process die,
the next one claims it again. Several processes may claim at once; none waits for another.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.payments.calls import CallKind
from ledger_server.store.database import Pool

_CLAIM: Final = """
UPDATE outbox SET
    try_count = try_count + 1,
    next_try_time = $3,
    first_try_time = COALESCE(first_try_time, $2)
WHERE tenant_key = $1 AND call_number = ANY (ARRAY(
    SELECT call_number FROM outbox WHERE tenant_key = $1 AND open AND next_try_time <= $2
    ORDER BY next_try_time LIMIT $4 FOR UPDATE SKIP LOCKED
))
RETURNING call_number, kind, provider, payment_number, subject_number, try_count, first_try_time
"""
_POSTPONE: Final = """
UPDATE outbox SET next_try_time = $3, last_error = $4 WHERE tenant_key = $1 AND call_number = $2
"""
_RESTART: Final = """
UPDATE outbox SET first_try_time = $3 WHERE tenant_key = $1 AND call_number = $2 AND try_count = $4
RETURNING first_try_time
"""
_CLOSE: Final = "UPDATE outbox SET open = false WHERE tenant_key = $1 AND call_number = $2"


class ClaimedCall(NamedTuple):
    """A call that this process makes until its lease is over; `try_count` counts this try."""

    number: int
    kind: CallKind
    provider: str
    payment: int
    subject: int
    try_count: int
    first_try_time: datetime


async def claim(
    pool: Pool, key: TenantKey, now: datetime, *, lease: timedelta, limit: int
) -> list[ClaimedCall]:
    """Claim calls whose time has come, the longest due first."""
    rows = await pool.fetch(_CLAIM, key, now, now + lease, limit)
    return [
        ClaimedCall(
            row["call_number"],
            CallKind(row["kind"]),
            row["provider"],
            row["payment_number"],
            row["subject_number"],
            row["try_count"],
            row["first_try_time"],
        )
        for row in rows
    ]


async def postpone(pool: Pool, key: TenantKey, number: int, *, until: datetime, error: str | None) -> None:
    """Let a claimed call rest until a time.

    Args:
        error: what went wrong, for operators; None when nothing did.
    """
    await pool.execute(_POSTPONE, key, number, until, error)


async def restart(pool: Pool, key: TenantKey, call: ClaimedCall, now: datetime) -> ClaimedCall | None:
    """Let a claimed call that was never made count its time from now on; None if somebody else claimed it."""
    first_try_time = await pool.fetchval(_RESTART, key, call.number, now, call.try_count)
    return None if first_try_time is None else call._replace(first_try_time=first_try_time)


async def close(pool: Pool, key: TenantKey, number: int) -> None:
    """End a call: everything that it can bring is recorded."""
    await pool.execute(_CLOSE, key, number)
