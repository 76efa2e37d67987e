"""Owns the rows of settlement reports: lines written by page, batches as they stand, and who may write.

All statements name one tenant and enter by an index; none but the sums holds more than a page.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.reconciliation.record import RecordKind
from ledger_server.domain.reconciliation.settled import KnownLine, Place
from ledger_server.domain.reconciliation.settlement import SettlementLine, Totals
from ledger_server.store.database import AnyConnection, Pool

# An import is one database transaction over many pages with rests between them. It holds rows that no posting
# ever touches, so it may last longer than a lane's; a process that stalls still loses it.
_TIME_OUTS: Final = (
    "SET LOCAL statement_timeout = '120s'; SET LOCAL idle_in_transaction_session_timeout = '60s'"
)
_SUM_SECONDS: Final = 120.0

_TRY_LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('settlement:' || $2, $1))"
_REPORT: Final = """
SELECT body FROM settlement_reports
WHERE tenant_key = $1 AND provider = $2 AND digest = $3 AND format = $4 AND account = $5
"""
_ADD_REPORT: Final = """
INSERT INTO settlement_reports (tenant_key, provider, digest, format, account, import_time, body)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_KNOWN_LINES: Final = """
SELECT l.line_id, l.batch_id, l.kind, l.is_payout, l.currency_code, l.gross, l.fee
FROM unnest($3::text[]) AS wanted(line_id)
CROSS JOIN LATERAL (
    SELECT line_id, batch_id, kind, is_payout, currency_code, gross, fee FROM settlement_lines
    WHERE tenant_key = $1 AND provider = $2 AND line_id = wanted.line_id LIMIT 1
) l
"""
_LINE_COLUMNS: Final = (
    "tenant_key",
    "provider",
    "line_id",
    "batch_id",
    "currency_code",
    "kind",
    "provider_type",
    "gross",
    "fee",
    "net",
    "is_payout",
    "create_time",
    "report_digest",
    "line_number",
)
_PLACE_LINES: Final = """
UPDATE settlement_lines l SET batch_id = given.batch_id, kind = given.kind, is_payout = given.is_payout
FROM unnest($3::text[], $4::text[], $5::smallint[], $6::boolean[])
    AS given(line_id, batch_id, kind, is_payout)
WHERE l.tenant_key = $1 AND l.provider = $2 AND l.line_id = given.line_id
"""
_SUMS: Final = """
SELECT l.kind, l.is_payout, sum(l.gross) AS gross, sum(l.fee) AS fee, count(*) AS line_count,
    max(l.create_time) AS last_time
FROM settlement_lines l
WHERE l.tenant_key = $1 AND l.provider = $2 AND l.batch_id = $3 AND l.currency_code = $4
GROUP BY l.kind, l.is_payout
"""
_BATCH_COLUMNS: Final = "batch_id, currency_code AS currency, state, version, moved, open_time, body"
_BATCH: Final = f"""
SELECT {_BATCH_COLUMNS} FROM settlement_batches
WHERE tenant_key = $1 AND provider = $2 AND batch_id = $3 AND currency_code = $4
"""
_PUT_BATCH: Final = """
INSERT INTO settlement_batches
    (tenant_key, provider, batch_id, currency_code, state, version, told_version, moved, open_time, body)
VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9)
ON CONFLICT (tenant_key, provider, batch_id, currency_code) DO UPDATE SET
    state = excluded.state, version = excluded.version, moved = excluded.moved, body = excluded.body
"""
_UNTOLD: Final = f"""
SELECT {_BATCH_COLUMNS} FROM settlement_batches
WHERE tenant_key = $1 AND provider = $2 AND told_version < version AND (batch_id, currency_code) > ($3, $4)
ORDER BY batch_id, currency_code LIMIT $5
"""
_TELL: Final = """
UPDATE settlement_batches SET told_version = version
WHERE tenant_key = $1 AND provider = $2 AND batch_id = $3 AND currency_code = $4 AND version = $5
"""

BatchName = tuple[str, str]
"""A batch's id and its currency."""


class ReportName(NamedTuple):
    """What makes an imported file the same again: its bytes, and how they were read."""

    provider: str
    digest: bytes
    format: int
    account: str


class StoredBatch(NamedTuple):
    """A batch; its message stands in `body`, and `moved` is what was confirmed, if it was."""

    batch_id: str
    currency: str
    state: int
    version: int
    moved: int | None
    open_time: datetime
    body: bytes


@asynccontextmanager
async def importing(pool: Pool, key: TenantKey, provider: str) -> AsyncIterator[AnyConnection | None]:
    """Begin the database transaction of an import; None while another process imports for the account.

    It ends with the block, and nothing of it was ever there if the block raises.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_TIME_OUTS)
        locked = await connection.fetchval(_TRY_LOCK, key, provider)
        yield connection if locked else None


async def read_report(connection: AnyConnection, key: TenantKey, name: ReportName) -> bytes | None:
    """Return the message of a file that was imported before."""
    found: bytes | None = await connection.fetchval(_REPORT, key, *name)
    return found


async def add_report(
    connection: AnyConnection, key: TenantKey, name: ReportName, import_time: datetime, body: bytes
) -> None:
    """Write that a file was imported."""
    await connection.execute(_ADD_REPORT, key, *name, import_time, body)


async def known_lines(
    connection: AnyConnection, key: TenantKey, provider: str, line_ids: Sequence[str]
) -> dict[str, KnownLine]:
    """Return those of these lines that there are."""
    rows = await connection.fetch(_KNOWN_LINES, key, provider, line_ids)
    return {
        row["line_id"]: KnownLine(
            place=Place(batch=row["batch_id"], kind=RecordKind(row["kind"]), is_payout=row["is_payout"]),
            currency=row["currency_code"],
            gross=row["gross"],
            fee=row["fee"],
        )
        for row in rows
    }


async def add_lines(
    connection: AnyConnection,
    key: TenantKey,
    provider: str,
    digest: bytes,
    lines: Iterable[SettlementLine],
) -> None:
    """Write a page of new lines."""
    await connection.copy_records_to_table(
        "settlement_lines",
        records=[
            (
                key,
                provider,
                line.line_id,
                line.batch,
                line.currency,
                line.kind,
                line.provider_type,
                line.gross,
                line.fee,
                line.net,
                line.is_payout,
                line.create_time,
                digest,
                line.line_number,
            )
            for line in lines
        ],
        columns=_LINE_COLUMNS,
    )


async def place_lines(
    connection: AnyConnection, key: TenantKey, provider: str, places: Mapping[str, Place]
) -> None:
    """Write where known lines belong, by their ids."""
    await connection.execute(
        _PLACE_LINES,
        key,
        provider,
        list(places),
        [place.batch for place in places.values()],
        [place.kind for place in places.values()],
        [place.is_payout for place in places.values()],
    )


async def add_up(connection: AnyConnection, key: TenantKey, provider: str, batch: BatchName) -> Totals:
    """Return what all lines of a batch add up to."""
    rows: list[Record] = await connection.fetch(_SUMS, key, provider, *batch, timeout=_SUM_SECONDS)
    totals = Totals()
    for row in rows:
        totals = totals.plus(
            Totals.of_sum(
                RecordKind(row["kind"]),
                is_payout=row["is_payout"],
                # Sums of 64-bit numbers are decimals in PostgreSQL, without decimals.
                gross=int(row["gross"]),
                fee=int(row["fee"]),
                line_count=row["line_count"],
                last_time=row["last_time"],
            )
        )
    return totals


async def read_batch(
    connection: AnyConnection, key: TenantKey, provider: str, batch: BatchName, *, lock: bool = False
) -> StoredBatch | None:
    """Return a batch, locked until the caller's database transaction ends if that is asked for."""
    row = await connection.fetchrow(_BATCH + (" FOR UPDATE" if lock else ""), key, provider, *batch)
    return None if row is None else stored_batch(row)


async def put_batch(connection: AnyConnection, key: TenantKey, provider: str, batch: StoredBatch) -> None:
    """Write a batch that is new, or that the caller has locked."""
    await connection.execute(
        _PUT_BATCH,
        key,
        provider,
        batch.batch_id,
        batch.currency,
        batch.state,
        batch.version,
        batch.moved,
        batch.open_time,
        batch.body,
    )


async def untold_batches(
    pool: Pool, key: TenantKey, provider: str, *, after: BatchName, size: int
) -> list[StoredBatch]:
    """Return batches that have changed and whose finding was not looked after since."""
    rows = await pool.fetch(_UNTOLD, key, provider, *after, size)
    return [stored_batch(row) for row in rows]


async def set_told(pool: Pool, key: TenantKey, provider: str, batch: StoredBatch) -> bool:
    """Write that a batch's finding was looked after; return False if it has changed since it was read."""
    status = await pool.execute(_TELL, key, provider, batch.batch_id, batch.currency, batch.version)
    return bool(status == "UPDATE 1")


def stored_batch(row: Record) -> StoredBatch:
    """Return a row of the columns that a batch is read with."""
    return StoredBatch(*(row[name] for name in StoredBatch._fields))
