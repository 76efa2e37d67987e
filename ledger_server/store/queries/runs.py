"""Owns the lists of runs and of providers' records."""

from datetime import datetime
from typing import Final, NamedTuple

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
# The index is entered by the narrowest condition: a payment, an object at the provider, or the account. A
# page looks at no more rows than `$7`, whatever its filter.
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


class ListedRun(NamedTuple):
    """A run: its position in the list, and its message."""

    begin_time: datetime
    number: int
    body: bytes


class ListedProviderRecord(NamedTuple):
    """A provider's record with its verdict; `wanted` says whether it passes the filter."""

    kind: int
    record_id: str
    provider_ref: str
    payment_ref: str
    our_id: str
    state: int
    amount: int
    currency: str
    create_time: datetime
    provider_type: str
    batch: str
    payment: int | None
    payment_kind: int | None
    tier: int
    match_key: str
    verdict: int
    run: int | None
    wanted: bool


class ProviderRecordFilter(NamedTuple):
    """Which records are listed; a field that is None or empty is no condition."""

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
) -> list[ListedRun]:
    """Return runs, the newest first."""
    rows = await connection.fetch(_RUNS, key, provider, state, *before, size)
    return [ListedRun(row["begin_time"], row["run_number"], row["body"]) for row in rows]


async def list_provider_records(
    connection: AnyConnection,
    key: TenantKey,
    wanted: ProviderRecordFilter,
    *,
    after: tuple[int, str],
    scan: int,
) -> list[ListedProviderRecord]:
    """Look at records after a kind and id, in order; `wanted` says whether a record passes the filter."""
    entry: int | str | None = None
    name = ""
    if wanted.payment is not None:
        name, entry = "payment", wanted.payment
    elif wanted.provider_ref:
        name, entry = "provider_ref", wanted.provider_ref
    rows = await connection.fetch(
        _RECORDS[name], key, wanted.provider, *after, wanted.kind, wanted.verdict, scan, entry
    )
    return [
        ListedProviderRecord(
            kind=row["kind"],
            record_id=row["record_id"],
            provider_ref=row["provider_ref"],
            payment_ref=row["payment_ref"] or "",
            our_id=row["our_id"] or "",
            state=row["state"],
            amount=row["amount"],
            currency=row["currency_code"],
            create_time=row["create_time"],
            provider_type=row["provider_type"],
            batch=row["batch"] or "",
            payment=row["payment_number"],
            payment_kind=row["payment_kind"],
            tier=row["tier"],
            match_key=row["match_key"] or "",
            verdict=row["verdict"],
            run=row["run_number"],
            wanted=row["wanted"],
        )
        for row in rows
    ]
