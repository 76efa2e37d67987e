"""Owns providers' records: staging them by page, and reading them back payment by payment.

All statements name one tenant and enter by an index; none holds more than a page. If several indexes look
alike to the planner while a table is empty, the ORDER BY decides which one it takes (`payment_store.py`).
A record is found by its name with a comparison of all columns of the primary key. By equality alone, every
index that begins with the provider looks alike as long as nobody has analysed the table, and the smallest one
may be taken: it reads all records of the provider for each record that is sought.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.comparison import ProviderRecordName, Verdict
from ledger_server.store.database import AnyConnection, Pool

# Tiers as `MatchTier` numbers them: by our id, then by the provider's.
_STAGE: Final = """
INSERT INTO provider_records AS known (tenant_key, provider, kind, record_id, provider_ref, payment_ref,
    our_id, state, amount, currency_code, create_time, provider_type, batch, run_number, payment_number, tier,
    match_key, verdict)
SELECT $1, $2, g.kind, g.record_id, g.provider_ref, g.payment_ref, g.our_id, g.state, g.amount,
    g.currency_code, g.create_time, g.provider_type, g.batch, $3,
    COALESCE(own.payment_number, by_ref.payment_number, by_payment.payment_number),
    CASE WHEN own.payment_number IS NOT NULL THEN 1
        WHEN by_ref.payment_number IS NOT NULL OR by_payment.payment_number IS NOT NULL THEN 2 ELSE 0 END,
    CASE WHEN own.payment_number IS NOT NULL THEN g.our_id
        WHEN by_ref.payment_number IS NOT NULL THEN g.provider_ref
        WHEN by_payment.payment_number IS NOT NULL THEN g.payment_ref END,
    CASE WHEN $3::bigint IS NULL THEN 1 ELSE 2 END
FROM unnest($4::smallint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::smallint[],
    $11::bigint[], $12::text[], $13::timestamptz[], $14::text[], $15::text[])
    AS g(kind, record_id, provider_ref, payment_ref, our_id, own_number, state, amount, currency_code,
        create_time, provider_type, batch)
LEFT JOIN LATERAL (
    SELECT payment_number, provider FROM payments
    WHERE tenant_key = $1 AND payment_number BETWEEN g.own_number AND g.own_number
    ORDER BY payment_number LIMIT 1
) AS own ON own.provider = $2
LEFT JOIN LATERAL (
    SELECT payment_number FROM payment_refs
    WHERE tenant_key = $1 AND provider = $2 AND provider_ref = g.provider_ref LIMIT 1
) AS by_ref ON true
LEFT JOIN LATERAL (
    SELECT payment_number FROM payment_refs
    WHERE tenant_key = $1 AND provider = $2 AND provider_ref = g.payment_ref LIMIT 1
) AS by_payment ON true
ON CONFLICT (tenant_key, provider, kind, record_id) DO UPDATE SET
    provider_ref = excluded.provider_ref, payment_ref = excluded.payment_ref, our_id = excluded.our_id,
    state = excluded.state, amount = excluded.amount, currency_code = excluded.currency_code,
    create_time = excluded.create_time, provider_type = excluded.provider_type,
    batch = COALESCE(excluded.batch, known.batch),
    run_number = COALESCE(excluded.run_number, known.run_number),
    payment_number = excluded.payment_number, tier = excluded.tier, match_key = excluded.match_key,
    verdict = CASE WHEN excluded.run_number IS NULL THEN known.verdict ELSE excluded.verdict END
"""
_FORGET: Final = """
WITH page AS (
    SELECT ctid FROM provider_records
    WHERE tenant_key = $1 AND provider = $2 AND run_number BETWEEN $3 AND $3
    ORDER BY run_number, payment_number, kind, record_id LIMIT $4
)
UPDATE provider_records r SET run_number = NULL FROM page WHERE r.ctid = page.ctid AND r.tenant_key = $1
"""
# Records that only a settlement report told of take part in every run over their time.
_ADOPT: Final = """
WITH page AS (
    SELECT kind, record_id, create_time FROM provider_records
    WHERE tenant_key = $1 AND provider = $2 AND batch IS NOT NULL AND create_time >= $4 AND create_time < $5
        AND (create_time, kind, record_id) > ($6, $7::smallint, $8)
    ORDER BY create_time, kind, record_id LIMIT $9
), adopted AS (
    UPDATE provider_records r SET run_number = $3, verdict = 2
    FROM page CROSS JOIN LATERAL (
        SELECT ctid, tenant_key, provider, kind, record_id FROM provider_records
        WHERE (tenant_key, provider, kind, record_id) >= ($1, $2, page.kind, page.record_id)
        ORDER BY tenant_key, provider, kind, record_id LIMIT 1
    ) AS place
    WHERE (place.tenant_key, place.provider, place.kind, place.record_id)
            = ($1, $2, page.kind, page.record_id)
        AND r.ctid = place.ctid AND r.tenant_key = $1 AND r.run_number IS DISTINCT FROM $3
    RETURNING r.kind, r.record_id
)
SELECT page.kind, page.record_id, page.create_time, adopted.kind IS NOT NULL AS adopted
FROM page LEFT JOIN adopted ON adopted.kind = page.kind AND adopted.record_id = page.record_id
ORDER BY page.create_time, page.kind, page.record_id
"""
_RECORD_COLUMNS: Final = """payment_number, kind, record_id, provider_ref, payment_ref, our_id, state, amount,
    currency_code, create_time, provider_type, batch"""
_MATCHED: Final = f"""
SELECT {_RECORD_COLUMNS} FROM provider_records
WHERE tenant_key = $1 AND provider = $2 AND run_number = $3 AND payment_number > $4
ORDER BY payment_number, kind, record_id LIMIT $5
"""
_UNMATCHED: Final = f"""
SELECT {_RECORD_COLUMNS}, EXISTS (
    SELECT 1 FROM settlement_batches b
    WHERE r.kind = 6 AND b.tenant_key = $1 AND b.provider = $2
        AND b.batch_id = ANY(ARRAY[r.provider_ref, r.batch]) AND b.state = 4
) AS settled
FROM provider_records r
WHERE tenant_key = $1 AND provider = $2 AND run_number BETWEEN $3 AND $3 AND payment_number IS NULL
    AND (kind, record_id) > ($4::smallint, $5)
ORDER BY run_number, payment_number, kind, record_id LIMIT $6
"""
_ELSEWHERE: Final = f"""
SELECT {_RECORD_COLUMNS} FROM provider_records
WHERE tenant_key = $1 AND provider = $2 AND payment_number BETWEEN $3 AND $3
    AND (create_time < $4 OR create_time >= $5)
ORDER BY payment_number LIMIT 1000
"""
_SET_VERDICTS: Final = """
UPDATE provider_records r SET verdict = given.verdict
FROM unnest($3::smallint[], $4::text[], $5::smallint[]) AS given(kind, record_id, verdict)
CROSS JOIN LATERAL (
    SELECT ctid, tenant_key, provider, kind, record_id FROM provider_records
    WHERE (tenant_key, provider, kind, record_id) >= ($1, $2, given.kind, given.record_id)
    ORDER BY tenant_key, provider, kind, record_id LIMIT 1
) AS place
WHERE (place.tenant_key, place.provider, place.kind, place.record_id)
        = ($1, $2, given.kind, given.record_id)
    AND r.ctid = place.ctid AND r.tenant_key = $1
"""
_OF_OBJECT: Final = f"""
SELECT {_RECORD_COLUMNS} FROM provider_records
WHERE tenant_key = $1 AND provider = $2 AND payment_number BETWEEN $3 AND $3 AND kind = $4 AND verdict > 1
ORDER BY payment_number LIMIT 1000
"""


class Group(NamedTuple):
    """The records of one payment."""

    payment: int
    records: list[ProviderRecord]


class Settled(NamedTuple):
    """How far a walk through the records of settlement reports has come."""

    create_time: datetime
    kind: int = 0
    record_id: str = ""


class Unmatched(NamedTuple):
    """A record without a payment; `settled` if it is a settlement whose batch was moved to the bank."""

    record: ProviderRecord
    settled: bool


async def forget_run(connection: AnyConnection, key: TenantKey, provider: str, run: int, size: int) -> int:
    """Delete records that an earlier try of a run has listed, at most so many; return how many."""
    status: str = await connection.execute(_FORGET, key, provider, run, size)
    return int(status.rpartition(" ")[2])


async def stage(
    connection: AnyConnection,
    key: TenantKey,
    provider: str,
    run: int | None,
    records: Mapping[ProviderRecordName, tuple[ProviderRecord, int | None]],
) -> None:
    """Write a page of records, each with the payment that it belongs to.

    Args:
        run: the run that has listed them; None for records of a settlement report.
        records: each with the number in our id, if the provider echoes one.
    """
    columns: list[list[Any]] = [[] for _ in range(12)]
    # In order, so that two writers never deadlock.
    for name in sorted(records):
        record, own = records[name]
        values = (
            record.kind,
            record.record_id,
            record.provider_ref,
            record.payment_ref or None,
            record.our_id or None,
            own,
            record.state,
            record.amount,
            record.currency,
            record.create_time,
            record.provider_type,
            record.batch or None,
        )
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    await connection.execute(_STAGE, key, provider, run, *columns)


async def adopt_settled(
    connection: AnyConnection,
    key: TenantKey,
    provider: str,
    run: int,
    after: Settled,
    *,
    to_time: datetime,
    size: int,
) -> tuple[int, Settled | None]:
    """Let the next records that settlement reports told of a window take part in a run.

    Returns:
        How many records, and the position that was reached; None at the end.
    """
    rows = await connection.fetch(_ADOPT, key, provider, run, after.create_time, to_time, *after, size)
    count = sum(row["adopted"] for row in rows)
    if len(rows) < size:
        return count, None
    return count, Settled(rows[-1]["create_time"], rows[-1]["kind"], rows[-1]["record_id"])


async def matched_groups(
    pool: Pool, key: TenantKey, provider: str, run: int, *, after: int, size: int
) -> list[Group]:
    """Return the next payments that have records in a run, each with all of them."""
    while True:
        rows = await pool.fetch(_MATCHED, key, provider, run, after, size)
        groups: list[Group] = []
        for row in rows:
            if not groups or groups[-1].payment != row["payment_number"]:
                groups.append(Group(row["payment_number"], []))
            groups[-1].records.append(_provider_record(row))
        if len(rows) < size:
            return groups
        # The last group may continue beyond the page.
        if len(groups) > 1:
            return groups[:-1]
        size *= 4


async def unmatched_provider_records(
    pool: Pool, key: TenantKey, provider: str, run: int, *, after: ProviderRecordName, size: int
) -> list[Unmatched]:
    """Return the next records of a run that belong to no payment."""
    rows = await pool.fetch(_UNMATCHED, key, provider, run, after[0], after[1], size)
    return [Unmatched(_provider_record(row), row["settled"]) for row in rows]


async def provider_records_elsewhere(
    pool: Pool, key: TenantKey, provider: str, payment: int, *, between: tuple[datetime, datetime]
) -> list[ProviderRecord]:
    """Return a payment's records outside a stretch of time, as earlier runs have read them."""
    rows = await pool.fetch(_ELSEWHERE, key, provider, payment, *between)
    return [_provider_record(row) for row in rows]


async def set_verdicts(
    connection: AnyConnection, key: TenantKey, provider: str, verdicts: Mapping[ProviderRecordName, Verdict]
) -> None:
    """Write a run's verdicts on records that did not simply match."""
    if verdicts:
        names = sorted(verdicts)
        await connection.execute(
            _SET_VERDICTS,
            key,
            provider,
            [kind for kind, _ in names],
            [record_id for _, record_id in names],
            [verdicts[name] for name in names],
        )


async def provider_records_of_kind(
    connection: AnyConnection, key: TenantKey, provider: str, payment: int, kind: ProviderRecordKind
) -> Sequence[ProviderRecord]:
    """Return the records of one kind that belong to a payment, the oldest first."""
    return [_provider_record(row) for row in await connection.fetch(_OF_OBJECT, key, provider, payment, kind)]


def _provider_record(row: Record) -> ProviderRecord:
    return ProviderRecord(
        kind=ProviderRecordKind(row["kind"]),
        record_id=row["record_id"],
        provider_ref=row["provider_ref"],
        payment_ref=row["payment_ref"] or "",
        our_id=row["our_id"] or "",
        state=RemoteState(row["state"]),
        amount=row["amount"],
        currency=row["currency_code"],
        create_time=row["create_time"],
        provider_type=row["provider_type"],
        batch=row["batch"] or "",
    )
