"""Owns how runs and providers' records are listed."""

from datetime import datetime
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

_RUNS: Final = """
SELECT run_number, begin_time, body FROM reconciliation_runs
WHERE tenant_key = $1 AND ($2 = '' OR provider = $2) AND ($3 = 0 OR state = $3)
    AND (begin_time, run_number) < ($4, $5)
ORDER BY begin_time DESC, run_number DESC LIMIT $6
"""
_COLUMNS: Final = """kind, record_id, provider_ref, payment_ref, our_id, state, amount, currency_code,
    create_time, provider_type, batch, run_number, payment_number, tier, match_key, verdict, (
        SELECT p.kind FROM payments p
        WHERE p.tenant_key = $1 AND p.payment_number BETWEEN r.payment_number AND r.payment_number
        ORDER BY p.payment_number LIMIT 1
    ) AS payment_kind"""
# Entered by what narrows most: a payment, an object at the provider, or all of the account. A page looks at
# no more rows than `$7`, whatever its filter.
_ENTRIES: Final = {
    "payment": "payment_number = $8",
    "provider_ref": "provider_ref = $8",
    "": "$8::text IS NULL",
}
_RECORDS: Final = {
    name: f"""
SELECT {_COLUMNS},
    ($5::smallint IS NULL OR r.kind = $5) AND ($6::smallint IS NULL OR r.verdict = $6) AS wanted
FROM (
    SELECT * FROM provider_records
    WHERE tenant_key = $1 AND provider = $2 AND (kind, record_id) > ($3::smallint, $4) AND {entry}
    ORDER BY kind, record_id LIMIT $7
) AS r
ORDER BY kind, record_id
"""
    for name, entry in _ENTRIES.items()
}


class RecordFilter(NamedTuple):
    """Which records are listed; what is None or empty is not asked for."""

    provider: str
    payment: int | None = None
    provider_ref: str = ""
    kind: int | None = None
    verdict: int | None = None


async def list_runs(
    connection: AnyConnection,
    key: TenantKey,
    *,
    provider: str,
    state: int,
    before: tuple[datetime, int],
    size: int,
) -> list[Record]:
    """Return runs with number, begin time and message, the newest first."""
    rows: list[Record] = await connection.fetch(_RUNS, key, provider, state, *before, size)
    return rows


async def list_records(
    connection: AnyConnection, key: TenantKey, wanted: RecordFilter, *, after: tuple[int, str], scan: int
) -> list[Record]:
    """Look at records behind a kind and id, in that order; `wanted` says whether the filter has it."""
    entry: int | str | None = None
    name = ""
    if wanted.payment is not None:
        name, entry = "payment", wanted.payment
    elif wanted.provider_ref:
        name, entry = "provider_ref", wanted.provider_ref
    rows: list[Record] = await connection.fetch(
        _RECORDS[name], key, wanted.provider, *after, wanted.kind, wanted.verdict, scan, entry
    )
    return rows
