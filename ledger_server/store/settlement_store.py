"""Owns the rows of settlement reports: lines written by page, batches, and the lock of an import.

All statements name one tenant and enter by an index; none but the sums holds more than a page.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.settled import KnownLine, Place
from ledger_server.domain.reconciliation.settlement import NOTHING, SettlementLine, Totals
from ledger_server.store.database import AnyConnection, Pool

# An import is one database transaction over many pages with rests between them. It locks rows that no posting
# ever touches, so it may last longer than a lane's; a process that stalls still loses it. Its statements are
# few and large, so each is planned for the tables as they are now: they may have been empty a moment ago.
_SETTINGS: Final = """
SET LOCAL statement_timeout = '600s';
SET LOCAL idle_in_transaction_session_timeout = '60s';
SET LOCAL plan_cache_mode = 'force_custom_plan'
"""
_SUM_SECONDS: Final = 600.0

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
# An upsert that always finds its row: of an update with a list, the plan may begin at the wrong end.
_PLACE_LINES: Final = f"""
INSERT INTO settlement_lines ({", ".join(_LINE_COLUMNS)})
SELECT $1, $2, given.line_id, given.batch_id, given.currency_code, given.kind, given.provider_type,
    given.gross, given.fee, given.net, given.is_payout, given.create_time, $3, given.line_number
FROM unnest($4::text[], $5::text[], $6::text[], $7::smallint[], $8::text[], $9::bigint[], $10::bigint[],
    $11::bigint[], $12::boolean[], $13::timestamptz[], $14::bigint[])
    AS given(line_id, batch_id, currency_code, kind, provider_type, gross, fee, net, is_payout, create_time,
        line_number)
ON CONFLICT (tenant_key, provider, line_id) DO UPDATE SET
    batch_id = excluded.batch_id, kind = excluded.kind, is_payout = excluded.is_payout
"""
_SUMS: Final = """
SELECT wanted.batch_id, wanted.currency, s.kind, s.is_payout, s.gross, s.fee, s.line_count, s.last_time
FROM unnest($3::text[], $4::text[]) AS wanted(batch_id, currency)
CROSS JOIN LATERAL (
    SELECT kind, is_payout, sum(gross) AS gross, sum(fee) AS fee, count(*) AS line_count,
        max(create_time) AS last_time
    FROM settlement_lines
    WHERE tenant_key = $1 AND provider = $2 AND batch_id = wanted.batch_id
        AND currency_code = wanted.currency AND batch_id <> ''
    GROUP BY kind, is_payout
) s
"""
_BATCH_COLUMNS: Final = "batch_id, currency_code AS currency, state, version, moved, open_time, body"
_BATCHES: Final = f"""
SELECT b.batch_id, b.currency, b.state, b.version, b.moved, b.open_time, b.body
FROM unnest($3::text[], $4::text[]) AS wanted(batch_id, currency)
CROSS JOIN LATERAL (
    SELECT {_BATCH_COLUMNS} FROM settlement_batches
    WHERE tenant_key = $1 AND provider = $2 AND batch_id = wanted.batch_id
        AND currency_code = wanted.currency
    LIMIT 1
    {{lock}}
) b
"""
_PUT_BATCHES: Final = """
INSERT INTO settlement_batches
    (tenant_key, provider, batch_id, currency_code, state, version, told_version, moved, open_time, body)
SELECT $1, $2, given.batch_id, given.currency, given.state, given.version, 0, given.moved, given.open_time,
    given.body
FROM unnest($3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::bigint[], $8::timestamptz[],
    $9::bytea[]) AS given(batch_id, currency, state, version, moved, open_time, body)
ON CONFLICT (tenant_key, provider, batch_id, currency_code) DO UPDATE SET
    state = excluded.state, version = excluded.version, moved = excluded.moved, body = excluded.body
"""
_UNTOLD: Final = f"""
SELECT {_BATCH_COLUMNS} FROM settlement_batches
WHERE tenant_key = $1 AND provider = $2 AND told_version < version AND (batch_id, currency_code) > ($3, $4)
ORDER BY batch_id, currency_code LIMIT $5
"""
# An upsert that always finds its row, as above.
_TELL: Final = """
INSERT INTO settlement_batches AS known
    (tenant_key, provider, batch_id, currency_code, state, version, told_version, moved, open_time, body)
SELECT $1, $2, given.batch_id, given.currency, 0, given.version, given.version, NULL, given.open_time, ''
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::timestamptz[])
    AS given(batch_id, currency, version, open_time)
ON CONFLICT (tenant_key, provider, batch_id, currency_code) DO UPDATE SET told_version = known.version
WHERE known.version = excluded.version
RETURNING batch_id, currency_code
"""

SettlementBatchName = tuple[str, str]
"""A batch's id and its currency."""


class ReportName(NamedTuple):
    """The identity of an imported file: its bytes, and how they were read."""

    provider: str
    digest: bytes
    format: int
    account: str


class StoredSettlementBatch(NamedTuple):
    """A batch; its message stands in `body`, and `moved` is what was confirmed, if it was."""

    batch_id: str
    currency: str
    state: int
    version: int
    moved: int | None
    open_time: datetime
    body: bytes

    @property
    def name(self) -> SettlementBatchName:
        """The batch's name within its provider account."""
        return self.batch_id, self.currency


@asynccontextmanager
async def importing(pool: Pool, key: TenantKey, provider: str) -> AsyncIterator[AnyConnection | None]:
    """Begin the database transaction of an import; None while another process imports for the account.

    It is committed at the end of the block, and rolled back if the block raises.
    """
    async with pool.transaction() as connection:
        await connection.execute(_SETTINGS)
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
    """Return those of these lines that are stored."""
    rows = await connection.fetch(_KNOWN_LINES, key, provider, line_ids)
    return {
        row["line_id"]: KnownLine(
            place=Place(
                batch=row["batch_id"], kind=ProviderRecordKind(row["kind"]), is_payout=row["is_payout"]
            ),
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
        records=[(key, provider, *row[:-1], digest, row[-1]) for row in (_line_row(line) for line in lines)],
        columns=_LINE_COLUMNS,
    )


async def place_lines(
    connection: AnyConnection,
    key: TenantKey,
    provider: str,
    digest: bytes,
    lines: Iterable[SettlementLine],
) -> None:
    """Write where known lines belong."""
    columns = zip(*(_line_row(line) for line in lines), strict=True)
    await connection.execute(_PLACE_LINES, key, provider, digest, *columns)


def _line_row(line: SettlementLine) -> tuple[Any, ...]:
    """Return a line in the order of its columns, without those that all lines of a report share."""
    return (
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
        line.line_number,
    )


async def add_up(
    connection: AnyConnection, key: TenantKey, provider: str, names: Sequence[SettlementBatchName]
) -> dict[SettlementBatchName, Totals]:
    """Return the sums of all lines of batches; a batch without lines is left out."""
    rows: list[Record] = await connection.fetch(_SUMS, key, provider, *_columns(names), timeout=_SUM_SECONDS)
    totals: dict[SettlementBatchName, Totals] = {}
    for row in rows:
        more = Totals.of_sum(
            ProviderRecordKind(row["kind"]),
            is_payout=row["is_payout"],
            # PostgreSQL returns sums of 64-bit numbers as numeric, without decimal places.
            gross=int(row["gross"]),
            fee=int(row["fee"]),
            line_count=row["line_count"],
            last_time=row["last_time"],
        )
        name = (row["batch_id"], row["currency"])
        totals[name] = totals.get(name, NOTHING).plus(more)
    return totals


async def read_batches(
    connection: AnyConnection,
    key: TenantKey,
    provider: str,
    names: Sequence[SettlementBatchName],
    *,
    lock: bool = False,
) -> list[StoredSettlementBatch]:
    """Return those of these batches that are stored, ordered by name.

    Args:
        lock: whether the rows are locked, in that order, until the caller's database transaction ends.
    """
    statement = _BATCHES.format(lock="FOR UPDATE" if lock else "")
    return [_batch(row) for row in await connection.fetch(statement, key, provider, *_columns(names))]


async def put_batches(
    connection: AnyConnection, key: TenantKey, provider: str, batches: Sequence[StoredSettlementBatch]
) -> None:
    """Write batches that are new, or that the caller has locked."""
    await connection.execute(
        _PUT_BATCHES,
        key,
        provider,
        *_columns([batch.name for batch in batches]),
        [batch.state for batch in batches],
        [batch.version for batch in batches],
        [batch.moved for batch in batches],
        [batch.open_time for batch in batches],
        [batch.body for batch in batches],
    )


async def untold_batches(
    pool: Pool, key: TenantKey, provider: str, *, after: SettlementBatchName, size: int
) -> list[StoredSettlementBatch]:
    """Return batches that have changed since their finding was last updated."""
    return [_batch(row) for row in await pool.fetch(_UNTOLD, key, provider, *after, size)]


async def set_told(
    pool: Pool, key: TenantKey, provider: str, batches: Sequence[StoredSettlementBatch]
) -> set[SettlementBatchName]:
    """Write that the findings of batches were updated; return the batches that have not changed since."""
    rows = await pool.fetch(
        _TELL,
        key,
        provider,
        *_columns([batch.name for batch in batches]),
        [batch.version for batch in batches],
        [batch.open_time for batch in batches],
    )
    return {(row["batch_id"], row["currency_code"]) for row in rows}


def _columns(names: Sequence[SettlementBatchName]) -> tuple[list[str], list[str]]:
    return [batch_id for batch_id, _ in names], [currency for _, currency in names]


def _batch(row: Record) -> StoredSettlementBatch:
    return StoredSettlementBatch(*(row[name] for name in StoredSettlementBatch._fields))
