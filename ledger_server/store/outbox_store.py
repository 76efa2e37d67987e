"""Owns the outbox: the calls that are owed to providers, and the leases of the processes that make them.

A claim moves the next try into the future, beyond the time that a call can take: if the process dies, another
process claims the call again. Several processes may claim at once; none waits for another. The number of the
claim fences everything that follows: a process that was overtaken changes nothing any more, and sends
nothing.

Times are the database's. A test may say what time it is (`now`); None asks the database.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.payments.calls import CallKind
from ledger_server.store.database import Pool

# The scalar sub-select is evaluated once, so that the index can be searched for it. Tenants of whom enough is
# known are passed over, so that one tenant's backlog hides nobody else's calls.
_DUE: Final = """
SELECT o.tenant_key, t.tenant_id, o.call_number FROM outbox o
JOIN tenants t ON t.tenant_key = o.tenant_key
WHERE o.provider = $1 AND o.open AND o.next_try_time <= (SELECT COALESCE($2::timestamptz, defter_now()))
AND o.tenant_key <> ALL ($3::bigint[]) AND ($4::bigint[] IS NULL OR o.tenant_key = ANY ($4::bigint[]))
ORDER BY o.next_try_time LIMIT $5
"""
_CLAIM: Final = """
UPDATE outbox SET try_count = try_count + 1, named_tries = named_tries + 1,
    next_try_time = clock.now + $4::interval
FROM (SELECT COALESCE($3::timestamptz, defter_now()) AS now) clock
WHERE tenant_key = $1 AND call_number = $2 AND open AND next_try_time <= clock.now
RETURNING call_number, kind, provider, payment_number, subject_number, try_count, rest_count, first_try_time,
    absent_time, stop_reason, clock.now AS claim_time
"""
# One round trip says whether a call may leave and makes durable that it is about to leave.
_PROVE: Final = """
UPDATE outbox SET
    first_try_time = COALESCE(first_try_time, clock.now),
    next_try_time = GREATEST(next_try_time, clock.now + $5::interval)
FROM (SELECT COALESCE($4::timestamptz, defter_now()) AS now) clock
WHERE tenant_key = $1 AND call_number = $2 AND try_count = $3 AND open AND stop_reason IS NULL
AND next_try_time > clock.now
AND (first_try_time IS NULL OR first_try_time + $6::interval > clock.now)
RETURNING true
"""
_REST: Final = """
UPDATE outbox SET
    next_try_time = COALESCE($4::timestamptz, defter_now()) + $5::interval,
    rest_count = CASE WHEN $7 THEN rest_count + 1 ELSE 0 END,
    last_error = $6
WHERE tenant_key = $1 AND call_number = $2 AND try_count = $3
"""
_RESTART: Final = """
UPDATE outbox SET first_try_time = CASE WHEN maybe_made THEN first_try_time END, absent_time = NULL,
    rest_count = 0
WHERE tenant_key = $1 AND call_number = $2 AND try_count = $3 AND open
RETURNING first_try_time
"""
_ABSENT: Final = """
UPDATE outbox SET absent_time = $4 WHERE tenant_key = $1 AND call_number = $2 AND try_count = $3
"""
_STOP: Final = """
UPDATE outbox SET stop_reason = $4, last_error = $4
WHERE tenant_key = $1 AND call_number = $2 AND try_count = $3 AND stop_reason IS NULL
"""
_CLOSE: Final = "UPDATE outbox SET open = false WHERE tenant_key = $1 AND call_number = $2"
_OVERDUE: Final = """
SELECT provider, count(*) AS calls, count(stop_reason) AS stopped,
    extract(epoch FROM max(clock.now - next_try_time))::float8 AS oldest_seconds
FROM outbox, (SELECT COALESCE($1::timestamptz, defter_now()) AS now) clock
WHERE open AND (next_try_time <= clock.now OR stop_reason IS NOT NULL)
GROUP BY provider
"""


class DueCall(NamedTuple):
    """A call that is due and not claimed."""

    key: TenantKey
    tenant_id: str
    number: int


class ClaimedCall(NamedTuple):
    """A call that this process makes until its lease is over.

    Attributes:
        try_count: the number of claims, this one included: a process with an older number was overtaken.
        rest_count: how often the call was put off without progress.
        first_try_time: a time before anything was sent; None if nothing ever was.
        absent_time: when the first proof of absence was made; None if there is none.
        stop_reason: why a person has to look; None while the call may be made.
        claim_time: the database's time of this claim.
    """

    number: int
    kind: CallKind
    provider: str
    payment: int
    subject: int
    try_count: int
    rest_count: int
    first_try_time: datetime | None
    absent_time: datetime | None
    stop_reason: str | None
    claim_time: datetime


class Overdue(NamedTuple):
    """The waiting calls of a provider account; `oldest_seconds` is negative if all of them are stopped."""

    provider: str
    call_count: int
    stopped_count: int
    oldest_seconds: float


async def due(
    pool: Pool,
    provider: str,
    now: datetime | None,
    *,
    full: Sequence[TenantKey],
    tenants: Sequence[TenantKey] | None,
    limit: int,
) -> list[DueCall]:
    """Return the due calls of a provider account, of all tenants, the longest due first.

    Args:
        full: tenants of whom enough calls are known; they are passed over.
        tenants: those that may use the account; None: all.
    """
    rows = await pool.fetch(_DUE, provider, now, full, tenants, limit)
    return [DueCall(TenantKey(row["tenant_key"]), row["tenant_id"], row["call_number"]) for row in rows]


async def claim(
    pool: Pool, key: TenantKey, number: int, now: datetime | None, *, lease: timedelta
) -> ClaimedCall | None:
    """Claim a call; None if it is no longer due because another process was faster."""
    row = await pool.fetchrow(_CLAIM, key, number, now, lease)
    if row is None:
        return None
    return ClaimedCall(
        row["call_number"],
        CallKind(row["kind"]),
        row["provider"],
        row["payment_number"],
        row["subject_number"],
        row["try_count"],
        row["rest_count"],
        row["first_try_time"],
        row["absent_time"],
        row["stop_reason"],
        row["claim_time"],
    )


async def prove(
    pool: Pool,
    key: TenantKey,
    call: ClaimedCall,
    now: datetime | None,
    *,
    lease: timedelta,
    memory: timedelta,
) -> bool:
    """Return whether a claimed call may leave now, and write that it is about to.

    Args:
        lease: for how long the claim must hold; a claim that still holds is extended to that.
        memory: how old the first try may be.
    """
    return bool(await pool.fetchval(_PROVE, key, call.number, call.try_count, now, lease, memory))


async def rest(
    pool: Pool,
    key: TenantKey,
    call: ClaimedCall,
    now: datetime | None,
    *,
    pause: timedelta,
    error: str | None,
    counts: bool,
) -> None:
    """Let a claimed call rest for a time; nothing, if somebody else has claimed it since.

    Args:
        error: what went wrong, for operators; None when nothing did.
        counts: whether there was no progress; the next rest is then longer.
    """
    await pool.execute(_REST, key, call.number, call.try_count, now, pause, error, counts)


async def restart(pool: Pool, key: TenantKey, call: ClaimedCall) -> ClaimedCall | None:
    """Let a claimed call count as never sent; None if somebody else has claimed it since.

    A call that was owed when commits may have been lost still counts as sent when it was owed.
    """
    row = await pool.fetchrow(_RESTART, key, call.number, call.try_count)
    if row is None:
        return None
    return call._replace(first_try_time=row["first_try_time"], absent_time=None, rest_count=0)


async def set_absent(pool: Pool, key: TenantKey, call: ClaimedCall, time: datetime | None) -> None:
    """Write when the first proof of absence was made, or that there is none any more."""
    await pool.execute(_ABSENT, key, call.number, call.try_count, time)


async def stop(pool: Pool, key: TenantKey, call: ClaimedCall, why: str) -> None:
    """Never make a call again: a person has to look."""
    await pool.execute(_STOP, key, call.number, call.try_count, why)


async def close(pool: Pool, key: TenantKey, number: int) -> None:
    """End a call: everything that it can bring is recorded."""
    await pool.execute(_CLOSE, key, number)


async def overdue(pool: Pool, now: datetime | None) -> list[Overdue]:
    """Return the waiting calls by provider account, whether or not this process has an adapter for it."""
    rows = await pool.fetch(_OVERDUE, now)
    return [
        Overdue(row["provider"], row["calls"], row["stopped"], float(row["oldest_seconds"])) for row in rows
    ]
