"""Owns the reads of a verification: everything, in order, in pieces that fit into memory.

Other reads may rely on the ledger having written what they read. A verification must be able to read rows
that somebody else has changed, in order to name them: see `readable.py`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.adjustments.adjustment import AdjustmentPolicy
from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.accounts import Account, Counters
from ledger_server.domain.ledger.holds import Hold
from ledger_server.domain.payments.calls import OwedCall
from ledger_server.domain.payments.withdrawal import WithdrawalPolicy
from ledger_server.store.adjustment_rows import ADJUSTMENT_TABLES
from ledger_server.store.database import AnyConnection
from ledger_server.store.finding_rows import FINDING_TABLES
from ledger_server.store.lane_store import HOLD_ACCOUNTS, counters_of
from ledger_server.store.ledger_rows import COUNTERS, JOURNAL, LEDGER_TABLES, POSTINGS, listed
from ledger_server.store.payment_rows import PAYMENT_TABLES
from ledger_server.store.queries.readable import (
    readable_account,
    readable_adjustment_policy,
    readable_columns,
    readable_hold,
    readable_policy,
    readable_time,
)
from ledger_server.store.queries.rendering import PAGE_BYTES
from ledger_server.store.queries.snapshot import REPORT_SECONDS
from ledger_server.store.queries.transactions import PostedRecord

JOURNAL_COLUMNS: Final = tuple(JOURNAL)
POSTING_COLUMNS: Final = tuple(POSTINGS)
_CURSOR_ROWS: Final = 1_000

_HEAD: Final = f"""
SELECT tenant_id, sequence, chain_hash, {readable_time("record_time")}, balance_enforcement,
    {readable_time("create_time")}, withdrawal_policy, adjustment_policy, epochs
FROM tenants WHERE tenant_key = $1
"""
_JOURNAL: Final = f"""
SELECT {readable_columns(JOURNAL)} FROM (
    SELECT {", ".join(JOURNAL_COLUMNS)}, sum(octet_length(record)) OVER (
        ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM (
        SELECT {", ".join(JOURNAL_COLUMNS)} FROM journal
        WHERE tenant_key = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4
    ) AS counted
) AS measured
WHERE bytes_before IS NULL OR bytes_before < {PAGE_BYTES}
ORDER BY sequence
"""
_OUTSIDE: Final = """
SELECT
    (SELECT min(sequence) FROM journal WHERE tenant_key = $1 AND sequence < 1) AS before,
    (SELECT min(sequence) FROM journal WHERE tenant_key = $1 AND sequence > $2) AS after
"""
_POSTINGS: Final = f"""
SELECT {", ".join(f"p.{name}" for name in POSTING_COLUMNS)}
FROM unnest($2::bigint[], $3::bigint[]) AS wanted(account_number, sequence)
CROSS JOIN LATERAL (
    SELECT {", ".join(POSTING_COLUMNS)} FROM postings
    WHERE tenant_key = $1 AND account_number = wanted.account_number AND sequence = wanted.sequence
    OFFSET 0
) AS p
"""
_ACCOUNTS: Final = f"""
SELECT {readable_columns(LEDGER_TABLES["accounts"], "a")},
    p.sequence, {listed(COUNTERS, "p")}
FROM accounts a
LEFT JOIN LATERAL (
    SELECT sequence, {listed(COUNTERS)} FROM postings
    WHERE tenant_key = $1 AND account_number = a.account_number
    ORDER BY sequence DESC, leg DESC LIMIT 1
) AS p ON true
WHERE a.tenant_key = $1 ORDER BY a.account_number
"""
_LINE_COUNTS: Final = """
SELECT account_number, count(*) AS line_count, min(sequence) AS first_sequence FROM postings
WHERE tenant_key = $1 GROUP BY account_number ORDER BY account_number
"""
_LINES: Final = """
SELECT p.sequence, p.leg, j.record FROM postings p
LEFT JOIN journal j ON j.tenant_key = $1 AND j.sequence = p.sequence
WHERE p.tenant_key = $1 AND p.account_number = $2 ORDER BY p.sequence, p.leg
"""
# Two records should not name the same original; they could if the unique index was dropped.
_TRANSACTIONS: Final = """
SELECT j.sequence, j.record, (
    SELECT min(r.sequence) FROM journal r WHERE r.tenant_key = $1 AND r.reverses = j.sequence
) AS reversed_by
FROM unnest($2::bigint[]) AS wanted(sequence)
CROSS JOIN LATERAL (
    SELECT sequence, record FROM journal WHERE tenant_key = $1 AND sequence = wanted.sequence OFFSET 0
) AS j
"""
_HOLDS: Final = f"""
SELECT {readable_columns(LEDGER_TABLES["holds"], "h")}, d.account_id AS debit_account_id,
    c.account_id AS credit_account_id
"""
_OPEN_HOLDS: Final = f"{_HOLDS} FROM holds h {HOLD_ACCOUNTS} WHERE h.tenant_key = $1 AND h.state = 1"
_NUMBERED_HOLDS: Final = f"""
{_HOLDS} FROM unnest($2::bigint[]) AS wanted(hold_number)
CROSS JOIN LATERAL (
    SELECT {", ".join(LEDGER_TABLES["holds"])} FROM holds
    WHERE tenant_key = $1 AND hold_number = wanted.hold_number LIMIT 1
) h {HOLD_ACCOUNTS}
"""
_HOLD_COUNT: Final = "SELECT count(*) FROM holds WHERE tenant_key = $1"
_HOLDS_NEVER_PLACED: Final = """
SELECT h.hold_number FROM holds h WHERE h.tenant_key = $1 AND NOT EXISTS (
    SELECT 1 FROM journal j WHERE j.tenant_key = $1 AND j.sequence = h.hold_number AND j.kind = 18)
ORDER BY h.hold_number LIMIT 1
"""


_CHANGED_ROWS: Final = {
    table: f"""
SELECT {readable_columns(columns, "t")}, j.record FROM {table} t
LEFT JOIN LATERAL (
    SELECT record FROM journal WHERE tenant_key = $1 AND sequence = t.changed_by LIMIT 1
) AS j ON true
WHERE t.tenant_key = $1 ORDER BY t.{next(iter(columns))}
"""
    for table, columns in {**PAYMENT_TABLES, **FINDING_TABLES, **ADJUSTMENT_TABLES}.items()
    if "changed_by" in columns
}

_REFS: Final = f"""
SELECT {listed(PAYMENT_TABLES["payment_refs"], "r")}, p.kind, p.body, p.changed_by FROM payment_refs r
LEFT JOIN LATERAL (
    SELECT kind, body, changed_by FROM payments
    WHERE tenant_key = $1 AND payment_number BETWEEN r.payment_number AND r.payment_number
    ORDER BY payment_number LIMIT 1
) AS p ON true
WHERE r.tenant_key = $1 ORDER BY r.provider, r.provider_ref
"""
_PAYMENT_WITHOUT_REF: Final = """
SELECT p.payment_number, p.changed_by FROM payments p
WHERE p.tenant_key = $1 AND p.provider_ref IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM payment_refs r
    WHERE r.tenant_key = $1 AND r.provider = p.provider AND r.provider_ref = p.provider_ref)
ORDER BY p.changed_by LIMIT 1
"""
# Left out: whether a call is open and how often it was tried, which only the dispatcher knows.
_CALLS: Final = f"""
SELECT {listed(("call_number", "kind", "provider", "payment_number", "subject_number"), "o")}, j.record
FROM outbox o
LEFT JOIN LATERAL (
    SELECT record FROM journal WHERE tenant_key = $1 AND sequence = o.call_number LIMIT 1
) AS j ON true
WHERE o.tenant_key = $1 ORDER BY o.call_number
"""

# Whether a key is there, and never the key.
_PLAYERS: Final = """
SELECT player_id, forgotten_by, sealed_key IS NOT NULL AS has_key FROM player_keys WHERE tenant_key = $1
"""

_FINDING_VERSIONS: Final = """
SELECT v.fingerprint, v.version, v.sequence, j.record FROM finding_versions v
LEFT JOIN LATERAL (
    SELECT record FROM journal WHERE tenant_key = $1 AND sequence = v.sequence LIMIT 1
) AS j ON true
WHERE v.tenant_key = $1 ORDER BY v.fingerprint, v.version
"""


class StoredHead(NamedTuple):
    """A tenant's row, as far as it can be read: see `readable.py`."""

    tenant_id: str
    sequence: int
    chain_hash: bytes
    record_time: datetime
    enforcement: int
    create_time: datetime
    policy: WithdrawalPolicy | str
    adjustment_policy: AdjustmentPolicy | str
    epochs: str


class StoredRecord(NamedTuple):
    """A row of the journal, and its values in the order of `JOURNAL_COLUMNS`."""

    sequence: int
    record: bytes
    chain_hash: bytes
    closes_batch: bool
    values: tuple[Any, ...]


class ChangedRow(NamedTuple):
    """A row of something that changes, by its columns, and the record that changed it last."""

    values: tuple[Any, ...]
    changed_by: int
    payload: bytes | None
    record: bytes | None


class StoredRef(NamedTuple):
    """A ref, and the stored payment that it leads to; None in the payment's fields if there is none."""

    provider: str
    provider_ref: str
    payment: int
    kind: int | None
    body: bytes | None
    changed_by: int | None


class StoredCall(NamedTuple):
    """A call that was ever owed, and the record that it is named after."""

    number: int
    owed: OwedCall
    record: bytes | None


class StoredVersion(NamedTuple):
    """A stored version of a finding, the sequence that it names, and the record there."""

    fingerprint: bytes
    version: int
    sequence: int
    record: bytes | None


class StoredAccount(NamedTuple):
    """An account's row, with the counters and the sequence of its newest line (0: no line)."""

    account: Account
    counters: Counters
    newest_line: int


class LineCount(NamedTuple):
    """How many lines an account has, and where the first one stands."""

    account_number: int
    line_count: int
    first_sequence: int


async def stored_head(connection: AnyConnection, key: TenantKey) -> StoredHead | None:
    """Return the tenant's head."""
    row = await connection.fetchrow(_HEAD, key)
    if row is None:
        return None
    return StoredHead(
        tenant_id=row["tenant_id"],
        sequence=row["sequence"],
        chain_hash=row["chain_hash"],
        record_time=row["record_time"],
        enforcement=row["balance_enforcement"],
        create_time=row["create_time"],
        policy=readable_policy(row["withdrawal_policy"]),
        adjustment_policy=readable_adjustment_policy(row["adjustment_policy"]),
        epochs=row["epochs"],
    )


async def journal_rows(
    connection: AnyConnection, key: TenantKey, *, after: int, until: int, limit: int
) -> Sequence[StoredRecord]:
    """Return rows of the journal by sequence, at least one if there is one."""
    return [
        StoredRecord(row["sequence"], row["record"], row["chain_hash"], row["closes_batch"], tuple(row))
        for row in await connection.fetch(_JOURNAL, key, after, until, limit)
    ]


async def sequences_outside(
    connection: AnyConnection, key: TenantKey, head: int
) -> tuple[int | None, int | None]:
    """Return sequences outside the journal, one below 1 and one above the head; there should be none."""
    [row] = await connection.fetch(_OUTSIDE, key, head)
    return row["before"], row["after"]


async def posting_rows(
    connection: AnyConnection, key: TenantKey, places: Sequence[tuple[int, int]]
) -> Sequence[tuple[Any, ...]]:
    """Return rows of `POSTING_COLUMNS` at these places, pairs of account number and sequence."""
    numbers = [number for number, _ in places]
    rows = await connection.fetch(_POSTINGS, key, numbers, [place for _, place in places])
    return [tuple(row) for row in rows]


async def transactions(
    connection: AnyConnection, key: TenantKey, sequences: Sequence[int]
) -> list[PostedRecord]:
    """Return those records that exist, each with the first one that reverses it."""
    return [PostedRecord(*row) for row in await connection.fetch(_TRANSACTIONS, key, sequences)]


async def stored_accounts(connection: AnyConnection, key: TenantKey) -> AsyncIterator[StoredAccount]:
    """Yield all accounts in the order of their opening."""
    async for row in _stream(connection, _ACCOUNTS, key):
        yield StoredAccount(readable_account(row), counters_of(row), row["sequence"] or 0)


async def line_counts(connection: AnyConnection, key: TenantKey) -> AsyncIterator[LineCount]:
    """Yield how many lines there are of each account number that has any."""
    async for row in _stream(connection, _LINE_COUNTS, key):
        yield LineCount(*row)


async def lines_with_records(
    connection: AnyConnection, key: TenantKey, account_number: int
) -> AsyncIterator[tuple[int, int, bytes | None]]:
    """Yield sequence, leg and record of an account's lines in order."""
    async for row in _stream(connection, _LINES, key, account_number):
        yield row["sequence"], row["leg"], row["record"]


async def open_holds(connection: AnyConnection, key: TenantKey) -> AsyncIterator[Hold]:
    """Yield all holds that are stored as open, in no order."""
    async for row in _stream(connection, _OPEN_HOLDS, key):
        yield readable_hold(row)


async def numbered_holds(
    connection: AnyConnection, key: TenantKey, numbers: Sequence[int]
) -> Mapping[int, Hold]:
    """Return those of the holds that exist."""
    rows = await connection.fetch(_NUMBERED_HOLDS, key, numbers)
    return {row["hold_number"]: readable_hold(row) for row in rows}


async def changed_rows(connection: AnyConnection, key: TenantKey, table: str) -> AsyncIterator[ChangedRow]:
    """Yield all rows of such a table in order, each with the record that changed it last."""
    columns = {**PAYMENT_TABLES, **FINDING_TABLES, **ADJUSTMENT_TABLES}[table]
    async for row in _stream(connection, _CHANGED_ROWS[table], key):
        payload = row["payload"] if "payload" in columns else None
        yield ChangedRow(tuple(row)[: len(columns)], row["changed_by"], payload, row["record"])


async def finding_versions(connection: AnyConnection, key: TenantKey) -> AsyncIterator[StoredVersion]:
    """Yield the stored history of all findings, each version with the record that it names."""
    async for row in _stream(connection, _FINDING_VERSIONS, key):
        yield StoredVersion(row["fingerprint"], row["version"], row["sequence"], row["record"])


async def known_players(
    connection: AnyConnection, key: TenantKey
) -> AsyncIterator[tuple[str, int | None, bool]]:
    """Yield all players with personal data, or forgotten: by which record, and whether a key is there."""
    async for row in _stream(connection, _PLAYERS, key):
        yield row["player_id"], row["forgotten_by"], row["has_key"]


async def refs(connection: AnyConnection, key: TenantKey) -> AsyncIterator[StoredRef]:
    """Yield all known refs in order, each with the stored payment that it leads to."""
    async for row in _stream(connection, _REFS, key):
        yield StoredRef(
            row["provider"],
            row["provider_ref"],
            row["payment_number"],
            row["kind"],
            row["body"],
            row["changed_by"],
        )


async def payment_without_ref(connection: AnyConnection, key: TenantKey) -> tuple[int, int] | None:
    """Return number and newest record of a payment that cannot be found by its provider's ref."""
    row = await connection.fetchrow(_PAYMENT_WITHOUT_REF, key, timeout=REPORT_SECONDS)
    return None if row is None else (row["payment_number"], row["changed_by"])


async def owed_calls(connection: AnyConnection, key: TenantKey) -> AsyncIterator[StoredCall]:
    """Yield all calls that were ever owed, in order, each with the record that it is named after."""
    async for row in _stream(connection, _CALLS, key):
        owed = OwedCall(
            kind=row["kind"],
            provider=row["provider"],
            payment=row["payment_number"],
            subject=row["subject_number"],
        )
        yield StoredCall(row["call_number"], owed, row["record"])


async def hold_count(connection: AnyConnection, key: TenantKey) -> int:
    """Return how many holds are stored."""
    return int(await connection.fetchval(_HOLD_COUNT, key, timeout=REPORT_SECONDS))


async def hold_never_placed(connection: AnyConnection, key: TenantKey) -> int | None:
    """Return the number of a stored hold that no record places."""
    found: int | None = await connection.fetchval(_HOLDS_NEVER_PLACED, key, timeout=REPORT_SECONDS)
    return found


def _stream(connection: AnyConnection, statement: str, *arguments: Any) -> AsyncIterator[Record]:
    cursor = connection.cursor(statement, *arguments, prefetch=_CURSOR_ROWS, timeout=REPORT_SECONDS)
    rows: AsyncIterator[Record] = aiter(cursor)
    return rows
