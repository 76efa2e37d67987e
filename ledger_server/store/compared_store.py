"""Owns the payments that a run looks at and the findings that it has seen: by page, each by an index."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.payments.calls import CallKind
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.store.database import AnyConnection, Pool
from ledger_server.store.payment_rows import DEPOSIT, WITHDRAWAL


class Compared(NamedTuple):
    """A payment to compare; `twin` is another one that had its provider's ref before it."""

    number: int
    kind: int
    body: bytes
    twin: int | None


class Changed(NamedTuple):
    """How far a walk through changed payments has come."""

    update_time: datetime
    number: int


class Unseen(NamedTuple):
    """A finding that a run has not seen."""

    fingerprint: bytes
    body: bytes


# The other payment that has the ref of payment p, if there is one.
_TWIN: Final = """LEFT JOIN LATERAL (
    SELECT payment_number AS twin FROM payment_refs
    WHERE tenant_key = $1 AND provider = p.provider AND provider_ref = p.provider_ref LIMIT 1
) AS owner ON true"""
_SELECT: Final = "p.payment_number, p.kind, p.body, NULLIF(owner.twin, p.payment_number) AS twin"
_BY_NUMBER: Final = f"""
SELECT {_SELECT} FROM unnest($2::bigint[]) AS wanted(payment_number)
CROSS JOIN LATERAL (
    SELECT payment_number, kind, provider, provider_ref, body FROM payments
    WHERE tenant_key = $1 AND payment_number BETWEEN wanted.payment_number AND wanted.payment_number
    ORDER BY payment_number LIMIT 1
) AS p {_TWIN}
"""
_HAS_RECORDS: Final = """(
    SELECT true FROM provider_records r
    WHERE r.tenant_key = $1 AND r.provider = $2 AND r.run_number = $3
        AND r.payment_number BETWEEN p.payment_number AND p.payment_number
    ORDER BY r.payment_number, r.kind LIMIT 1
) IS TRUE"""
_CHANGED: Final = f"""
SELECT p.update_time, {_SELECT}, p.create_time < $6 AND NOT {_HAS_RECORDS} AS wanted FROM (
    SELECT payment_number, kind, provider, provider_ref, body, create_time, update_time FROM payments
    WHERE tenant_key = $1 AND provider = $2 AND (update_time, payment_number) > ($4, $5)
    ORDER BY update_time, payment_number LIMIT $7
) AS p {_TWIN}
ORDER BY p.update_time, p.payment_number
"""
_PENDING: Final = f"""
SELECT {_SELECT}, p.provider = $2 AND p.create_time < $7 AND NOT {_HAS_RECORDS} AS wanted FROM (
    SELECT payment_number, kind, provider, provider_ref, body, create_time FROM payments
    WHERE tenant_key = $1 AND kind = $4 AND state = $5 AND payment_number > $6
    ORDER BY payment_number LIMIT $8
) AS p {_TWIN}
ORDER BY p.payment_number
"""
_OPEN_REFUNDS: Final = f"""
WITH calls AS MATERIALIZED (
    SELECT payment_number, provider, kind FROM outbox WHERE tenant_key = $1 AND open
)
SELECT DISTINCT payment_number FROM calls
WHERE provider = $2 AND kind = {CallKind.REFUND:d} AND payment_number > $3 ORDER BY payment_number LIMIT $4
"""
_SEE: Final = """
INSERT INTO finding_sightings (tenant_key, fingerprint, run_number, seen_time)
SELECT $1, fingerprint, $2, $3 FROM unnest($4::bytea[]) AS seen(fingerprint)
ON CONFLICT (tenant_key, fingerprint) DO UPDATE SET run_number = $2, seen_time = $3
"""
_UNSEEN: Final = """
SELECT fingerprint, body FROM reconciliation_findings f
WHERE tenant_key = $1 AND provider = $2 AND state IN (1, 2, 5) AND fingerprint > $4
    AND (class = 8 OR (subject_time >= $5 AND subject_time < $6))
    AND NOT EXISTS (
        SELECT 1 FROM finding_sightings s
        WHERE s.tenant_key = $1 AND s.fingerprint = f.fingerprint AND s.run_number = $3
    )
ORDER BY fingerprint LIMIT $7
"""
_ALL_MATCH: Final = """
SELECT COALESCE(bool_and(verdict = 2), false) FROM (
    SELECT verdict FROM provider_records
    WHERE tenant_key = $1 AND provider = $2 AND run_number = $3 AND payment_number BETWEEN $4 AND $4
    ORDER BY payment_number, kind
) AS listed
"""
_EVENT_DONE: Final = """
SELECT state <> 2 FROM provider_events WHERE tenant_key = $1 AND provider = $2 AND event_id = $3
"""

PENDING_STATES: Final = (
    (DEPOSIT, int(DepositState.INITIATED)),
    (DEPOSIT, int(DepositState.AUTHORIZED)),
    (WITHDRAWAL, int(WithdrawalState.APPROVED)),
)
"""Kinds and states of payments whose end at the provider is still open."""


async def payments_by_number(pool: Pool, key: TenantKey, numbers: Sequence[int]) -> list[Compared]:
    """Return those of the payments that exist."""
    return [_compared(row) for row in await pool.fetch(_BY_NUMBER, key, numbers)]


async def changed_payments(
    pool: Pool, key: TenantKey, provider: str, run: int, after: Changed, *, before: datetime, size: int
) -> tuple[list[Compared], Changed | None]:
    """Return changed payments without a record in the run, and the position up to which was looked.

    A payment that changes meanwhile moves to the end of the walk, and so is met there.

    Args:
        before: payments that were asked for later are left out.
    """
    rows = await pool.fetch(_CHANGED, key, provider, run, after.update_time, after.number, before, size)
    end = Changed(rows[-1]["update_time"], rows[-1]["payment_number"]) if len(rows) == size else None
    return [_compared(row) for row in rows if row["wanted"]], end


async def pending_payments(
    pool: Pool,
    key: TenantKey,
    provider: str,
    run: int,
    place: tuple[int, int],
    *,
    after: int,
    before: datetime,
    size: int,
) -> tuple[list[Compared], int | None]:
    """Return payments of a kind and state, asked for before a time, without a record in the run."""
    kind, state = place
    rows = await pool.fetch(_PENDING, key, provider, run, kind, state, after, before, size)
    end = int(rows[-1]["payment_number"]) if len(rows) == size else None
    return [_compared(row) for row in rows if row["wanted"]], end


async def payments_with_open_refunds(
    pool: Pool, key: TenantKey, provider: str, *, after: int, size: int
) -> list[int]:
    """Return the numbers of payments with a refund whose end at the provider is still open."""
    rows = await pool.fetch(_OPEN_REFUNDS, key, provider, after, size)
    return [row["payment_number"] for row in rows]


async def see_findings(
    connection: AnyConnection, key: TenantKey, run: int, fingerprints: Sequence[bytes], now: datetime
) -> None:
    """Note that a run has seen these findings."""
    if fingerprints:
        await connection.execute(_SEE, key, run, now, sorted(fingerprints))


async def unseen_findings(
    pool: Pool,
    key: TenantKey,
    provider: str,
    run: int,
    *,
    after: bytes,
    from_time: datetime,
    to_time: datetime,
    size: int,
) -> list[Unseen]:
    """Return unresolved findings of a window, and all stale ones, that a run has not seen."""
    rows = await pool.fetch(_UNSEEN, key, provider, run, after, from_time, to_time, size)
    return [Unseen(row["fingerprint"], row["body"]) for row in rows]


async def all_match(pool: Pool, key: TenantKey, provider: str, run: int, payment: int) -> bool:
    """Whether a run has records of a payment, and the ledger has the same as each of them."""
    return bool(await pool.fetchval(_ALL_MATCH, key, provider, run, payment))


async def event_done(pool: Pool, key: TenantKey, provider: str, event_id: str) -> bool:
    """Whether an event is stored and no longer parked."""
    return bool(await pool.fetchval(_EVENT_DONE, key, provider, event_id))


def _compared(row: Record) -> Compared:
    return Compared(row["payment_number"], row["kind"], row["body"], row["twin"])
