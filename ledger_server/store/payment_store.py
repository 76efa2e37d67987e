"""Owns a lane's reads of payments: payments by number and by ref, and stored events.

As in `lane_store.py`, all statements name one tenant and use an index.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection


class StoredPayment(NamedTuple):
    """A payment's message; `kind` is `payment_rows.DEPOSIT` or `WITHDRAWAL`."""

    kind: int
    body: bytes
    findings: Sequence[bytes]
    """The messages of all its findings."""


class StoredEventRow(NamedTuple):
    """An event's message, which does not have the payload, and the payload."""

    body: bytes
    payload: bytes


# Bounded from both sides and ordered, since only the primary key serves that. For an equality on an empty
# table PostgreSQL would take any index that begins with the tenant, and keep that plan.
_LOAD_PAYMENTS: Final = """
SELECT p.payment_number, p.kind, p.body, ARRAY(
    SELECT body FROM reconciliation_findings WHERE tenant_key = $1 AND payment_number = p.payment_number
) AS findings
FROM unnest($2::bigint[]) AS wanted(payment_number)
CROSS JOIN LATERAL (
    SELECT payment_number, kind, body FROM payments
    WHERE tenant_key = $1 AND payment_number BETWEEN wanted.payment_number AND wanted.payment_number
    ORDER BY payment_number LIMIT 1
) p
"""
_FIND_REFS: Final = """
SELECT wanted.provider, wanted.provider_ref, p.payment_number
FROM unnest($2::text[], $3::text[]) AS wanted(provider, provider_ref)
CROSS JOIN LATERAL (
    SELECT payment_number FROM payment_refs
    WHERE tenant_key = $1 AND provider = wanted.provider AND provider_ref = wanted.provider_ref LIMIT 1
) p
"""
_REFS_NAMED: Final = """
SELECT payment_number FROM payment_refs
WHERE tenant_key = $1 AND provider_ref = $2 AND payment_number > 0 ORDER BY payment_number
"""
_LOAD_EVENTS: Final = """
SELECT e.event_number, e.body
FROM unnest($2::bigint[]) AS wanted(event_number)
CROSS JOIN LATERAL (
    SELECT event_number, body FROM provider_events
    WHERE tenant_key = $1 AND event_number = wanted.event_number LIMIT 1
) e
"""
_READ_EVENT: Final = """
SELECT body, payload FROM provider_events
WHERE tenant_key = $1 AND event_number BETWEEN $2 AND $2 ORDER BY event_number LIMIT 1
"""


async def load_payments(
    connection: AnyConnection, key: TenantKey, numbers: Sequence[int]
) -> dict[int, StoredPayment]:
    """Return those of the payments that exist."""
    rows = await connection.fetch(_LOAD_PAYMENTS, key, numbers)
    return {row["payment_number"]: StoredPayment(row["kind"], row["body"], row["findings"]) for row in rows}


async def find_refs(
    connection: AnyConnection, key: TenantKey, refs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return which payments have these refs, each with its provider."""
    providers, provider_refs = zip(*refs, strict=True)
    rows = await connection.fetch(_FIND_REFS, key, providers, provider_refs)
    return {(row["provider"], row["provider_ref"]): row["payment_number"] for row in rows}


async def payments_named(connection: AnyConnection, key: TenantKey, provider_ref: str) -> list[int]:
    """Return the payments with a ref in their order: one at each provider account, at most."""
    rows = await connection.fetch(_REFS_NAMED, key, provider_ref)
    return list(dict.fromkeys(row["payment_number"] for row in rows))


async def load_events(connection: AnyConnection, key: TenantKey, numbers: Sequence[int]) -> dict[int, bytes]:
    """Return the messages of those of the stored events that exist.

    Payloads are left out: no decision looks at them, no later fact changes them, and those of a hundred
    events may have a hundred megabytes.
    """
    rows = await connection.fetch(_LOAD_EVENTS, key, numbers)
    return {row["event_number"]: row["body"] for row in rows}


async def read_event(connection: AnyConnection, key: TenantKey, number: int) -> StoredEventRow | None:
    """Return a stored event with its payload."""
    row = await connection.fetchrow(_READ_EVENT, key, number)
    return None if row is None else StoredEventRow(row["body"], row["payload"])
