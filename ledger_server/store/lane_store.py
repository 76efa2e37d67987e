"""Owns the lane's few hot statements: read the head, load what commands name, write a batch.

All run on a connection of the lane's pool (see `database.py`), name one tenant, and use an index.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from asyncpg import Record
from msgspec import Struct

from ledger_server.domain.accounts import ZERO, Account, AccountKind, AccountState, Counters, Limits
from ledger_server.domain.commands import Enforcement, Method
from ledger_server.domain.facts import (
    AccountChanged,
    EnforcementChanged,
    Fact,
    FactKind,
    HoldCaptured,
    HoldChanged,
    TransactionPosted,
)
from ledger_server.domain.holds import Hold, HoldState
from ledger_server.domain.ids import TenantKey
from ledger_server.domain.transactions import TransactionType
from ledger_server.store.database import AnyConnection


class Head(Struct, frozen=True, kw_only=True):
    """The newest record of a tenant's journal, and how strict the tenant is."""

    tenant_id: str
    sequence: int
    chain_hash: bytes
    record_time: datetime
    enforcement: Enforcement
    create_time: datetime


class RequestKey(NamedTuple):
    """What makes a request the same request: the scope of D5 within a tenant."""

    method: Method
    idempotency_key: str
    player_id: str = ""


class StoredOutcome(NamedTuple):
    """What was decided for a request, and the digest of the request it was decided for."""

    digest: bytes
    record: bytes


class LoadedAccount(NamedTuple):
    """An account, its counters, and when its next open hold expires."""

    account: Account
    counters: Counters
    next_expiry: datetime | None


class JournalRow(NamedTuple):
    """A fact on its way to the journal."""

    sequence: int
    fact: Fact
    request: RequestKey | None
    digest: bytes | None
    record_time: datetime
    record: bytes
    chain_hash: bytes


class HeadMoved(Exception):
    """Another process has written to the journal since this lane last looked."""


_HEAD_COLUMNS: Final = "tenant_id, sequence, chain_hash, record_time, balance_enforcement, create_time"
_READ_HEAD: Final = f"SELECT {_HEAD_COLUMNS} FROM tenants WHERE tenant_key = $1"
_LOCK_HEAD: Final = f"{_READ_HEAD} FOR UPDATE"

_LOAD_ACCOUNTS: Final = """
SELECT a.account_number, a.account_id, a.kind, a.currency_code, a.state, a.min_available,
    a.max_balance, a.open_time, a.metadata, p.posted_debits, p.posted_credits, p.pending_debits,
    p.pending_credits, p.version,
    LEAST(
        (SELECT min(h.expire_time) FROM holds h WHERE h.tenant_key = $1
            AND h.debit_account_number = a.account_number AND h.state = 1),
        (SELECT min(h.expire_time) FROM holds h WHERE h.tenant_key = $1
            AND h.credit_account_number = a.account_number AND h.state = 1)
    ) AS next_expiry
FROM unnest($2::text[]) AS wanted(account_id)
JOIN accounts a ON a.tenant_key = $1 AND a.account_id = wanted.account_id
LEFT JOIN LATERAL (
    SELECT posted_debits, posted_credits, pending_debits, pending_credits, version
    FROM postings WHERE tenant_key = $1 AND account_number = a.account_number
    ORDER BY sequence DESC, leg DESC LIMIT 1
) p ON true
"""

HOLD_COLUMNS: Final = """
h.hold_number, h.currency_code, h.amount, h.captured, h.released, h.state, h.expire_time,
h.transaction_type, h.reference, h.metadata, h.place_time, h.end_time, h.limit_breached,
d.account_id AS debit_account_id, c.account_id AS credit_account_id
"""
HOLD_ACCOUNTS: Final = """
JOIN accounts d ON d.tenant_key = $1 AND d.account_number = h.debit_account_number
JOIN accounts c ON c.tenant_key = $1 AND c.account_number = h.credit_account_number
"""
_LOAD_HOLDS: Final = f"""
SELECT {HOLD_COLUMNS} FROM unnest($2::bigint[]) AS wanted(hold_number)
JOIN holds h ON h.tenant_key = $1 AND h.hold_number = wanted.hold_number {HOLD_ACCOUNTS}
"""
_LOAD_DUE_HOLDS: Final = f"""
SELECT {HOLD_COLUMNS} FROM (
    SELECT h.hold_number FROM unnest($2::bigint[]) AS a(account_number)
    JOIN holds h ON h.tenant_key = $1 AND h.debit_account_number = a.account_number
        AND h.state = 1 AND h.expire_time <= $3
    UNION
    SELECT h.hold_number FROM unnest($2::bigint[]) AS a(account_number)
    JOIN holds h ON h.tenant_key = $1 AND h.credit_account_number = a.account_number
        AND h.state = 1 AND h.expire_time <= $3
) AS due JOIN holds h ON h.tenant_key = $1 AND h.hold_number = due.hold_number {HOLD_ACCOUNTS}
"""
_NEXT_EXPIRIES: Final = """
SELECT a.account_number, LEAST(
    (SELECT min(h.expire_time) FROM holds h WHERE h.tenant_key = $1
        AND h.debit_account_number = a.account_number AND h.state = 1 AND h.expire_time > $3),
    (SELECT min(h.expire_time) FROM holds h WHERE h.tenant_key = $1
        AND h.credit_account_number = a.account_number AND h.state = 1 AND h.expire_time > $3)
) AS next_expiry FROM unnest($2::bigint[]) AS a(account_number)
"""
_LOAD_TRANSACTIONS: Final = """
SELECT j.sequence, j.record, r.sequence AS reversed_by
FROM unnest($2::bigint[]) AS wanted(sequence)
JOIN journal j ON j.tenant_key = $1 AND j.sequence = wanted.sequence
    AND j.transaction_type IS NOT NULL
LEFT JOIN journal r ON r.tenant_key = $1 AND r.reverses = j.sequence
"""
_FIND_OUTCOMES: Final = """
SELECT j.method, j.idempotency_key, j.player_id, j.request_digest, j.record
FROM unnest($2::smallint[], $3::text[], $4::text[]) AS wanted(method, idempotency_key, player_id)
JOIN journal j ON j.tenant_key = $1 AND j.idempotency_key = wanted.idempotency_key
    AND j.method = wanted.method AND j.player_id = wanted.player_id
"""

_JOURNAL_COLUMNS: Final = (
    "tenant_key",
    "sequence",
    "kind",
    "method",
    "idempotency_key",
    "player_id",
    "request_digest",
    "transaction_type",
    "reference",
    "reverses",
    "limit_breached",
    "effective_time",
    "record_time",
    "closes_batch",
    "record",
    "chain_hash",
)
_POSTING_COLUMNS: Final = (
    "tenant_key",
    "account_number",
    "sequence",
    "leg",
    "phase",
    "direction",
    "amount",
    "pending_change",
    "posted_debits",
    "posted_credits",
    "pending_debits",
    "pending_credits",
    "version",
)
_WRITE_HOLDS: Final = """
INSERT INTO holds (tenant_key, hold_number, debit_account_number, credit_account_number,
    currency_code, amount, captured, released, state, expire_time, transaction_type, reference,
    metadata, place_time, end_time, limit_breached)
SELECT $1, u.* FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[],
    $7::bigint[], $8::bigint[], $9::smallint[], $10::timestamptz[], $11::smallint[], $12::text[],
    $13::jsonb[], $14::timestamptz[], $15::timestamptz[], $16::boolean[]) AS u
ON CONFLICT (tenant_key, hold_number) DO UPDATE SET amount = excluded.amount,
    captured = excluded.captured, released = excluded.released, state = excluded.state,
    expire_time = excluded.expire_time, end_time = excluded.end_time,
    limit_breached = excluded.limit_breached
"""
_WRITE_ACCOUNTS: Final = """
INSERT INTO accounts (tenant_key, account_number, account_id, kind, currency_code, state,
    min_available, max_balance, open_time, metadata)
SELECT $1, u.* FROM unnest($2::bigint[], $3::text[], $4::smallint[], $5::text[], $6::smallint[],
    $7::bigint[], $8::bigint[], $9::timestamptz[], $10::jsonb[]) AS u
ON CONFLICT (tenant_key, account_number) DO UPDATE SET state = excluded.state,
    min_available = excluded.min_available, max_balance = excluded.max_balance
"""
_INSERT_TENANT: Final = f"""
INSERT INTO tenants (tenant_key, {_HEAD_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant_key) DO NOTHING
"""


async def read_head(connection: AnyConnection, key: TenantKey, *, lock: bool) -> Head | None:
    """Return the tenant's head, locked until the end of the database transaction if so asked."""
    row = await connection.fetchrow(_LOCK_HEAD if lock else _READ_HEAD, key)
    if row is None:
        return None
    return Head(
        tenant_id=row["tenant_id"],
        sequence=row["sequence"],
        chain_hash=row["chain_hash"],
        record_time=row["record_time"],
        enforcement=Enforcement(row["balance_enforcement"]),
        create_time=row["create_time"],
    )


async def load_accounts(
    connection: AnyConnection, key: TenantKey, account_ids: Sequence[str]
) -> dict[str, LoadedAccount]:
    """Return those of the accounts that exist."""
    rows = await connection.fetch(_LOAD_ACCOUNTS, key, account_ids)
    return {
        row["account_id"]: LoadedAccount(account_of(row), counters_of(row), row["next_expiry"])
        for row in rows
    }


async def load_holds(connection: AnyConnection, key: TenantKey, numbers: Sequence[int]) -> dict[int, Hold]:
    """Return those of the holds that exist."""
    rows = await connection.fetch(_LOAD_HOLDS, key, numbers)
    return {row["hold_number"]: hold_of(row) for row in rows}


async def load_due_holds(
    connection: AnyConnection, key: TenantKey, account_numbers: Sequence[int], now: datetime
) -> dict[int, Hold]:
    """Return the open holds on these accounts whose time has come."""
    rows = await connection.fetch(_LOAD_DUE_HOLDS, key, account_numbers, now)
    return {row["hold_number"]: hold_of(row) for row in rows}


async def next_expiries(
    connection: AnyConnection, key: TenantKey, account_numbers: Sequence[int], now: datetime
) -> dict[int, datetime | None]:
    """Return for each account when its next open hold after `now` expires."""
    rows = await connection.fetch(_NEXT_EXPIRIES, key, account_numbers, now)
    return {row["account_number"]: row["next_expiry"] for row in rows}


async def load_transactions(
    connection: AnyConnection, key: TenantKey, sequences: Sequence[int]
) -> dict[int, tuple[bytes, int | None]]:
    """Return the records that post these transactions, each with the sequence of its reversal."""
    rows = await connection.fetch(_LOAD_TRANSACTIONS, key, sequences)
    return {row["sequence"]: (row["record"], row["reversed_by"]) for row in rows}


async def find_outcomes(
    connection: AnyConnection, key: TenantKey, requests: Sequence[RequestKey]
) -> dict[RequestKey, StoredOutcome]:
    """Return what was decided before for these requests."""
    methods, keys, players = zip(*requests, strict=True)
    rows = await connection.fetch(_FIND_OUTCOMES, key, methods, keys, players)
    return {
        RequestKey(Method(row["method"]), row["idempotency_key"], row["player_id"]): StoredOutcome(
            row["request_digest"], row["record"]
        )
        for row in rows
    }


async def move_head(connection: AnyConnection, key: TenantKey, *, from_sequence: int, to: JournalRow) -> None:
    """Begin a database transaction and move the head, which also locks it; one round trip.

    Raises:
        HeadMoved: the head is not where the caller believes; nothing was written.
    """
    status = await connection.execute(f"BEGIN; {_head_update(key, to)} AND sequence = {from_sequence:d}")
    if status != "UPDATE 1":
        raise HeadMoved


async def set_head(connection: AnyConnection, key: TenantKey, to: JournalRow) -> None:
    """Move the head, whose lock the caller holds."""
    await connection.execute(_head_update(key, to))


def _head_update(key: TenantKey, to: JournalRow) -> str:
    # The values are integers, bytes and a time of our own, so they may stand in the statement; that
    # way it can travel together with BEGIN.
    return (
        f"UPDATE tenants SET sequence = {to.sequence:d}, chain_hash = '\\x{to.chain_hash.hex()}',"
        f" record_time = '{to.record_time.isoformat()}' WHERE tenant_key = {key:d}"
    )


async def insert_tenant(connection: AnyConnection, key: TenantKey, head: Head) -> bool:
    """Write the head of a new tenant; return False where the tenant exists."""
    status = await connection.execute(
        _INSERT_TENANT,
        key,
        head.tenant_id,
        head.sequence,
        head.chain_hash,
        head.record_time,
        head.enforcement,
        head.create_time,
    )
    return bool(status == "INSERT 0 1")


async def write_batch(
    connection: AnyConnection,
    key: TenantKey,
    rows: Sequence[JournalRow],
    account_numbers: Mapping[str, int],
) -> None:
    """Write everything that a batch of facts changes, within the caller's database transaction.

    Args:
        account_numbers: of the accounts that changed holds name.
    """
    await connection.copy_records_to_table(
        "journal", records=_journal_records(key, rows), columns=_JOURNAL_COLUMNS
    )
    postings = _posting_records(key, rows)
    if postings:
        await connection.copy_records_to_table("postings", records=postings, columns=_POSTING_COLUMNS)
    accounts: dict[int, Account] = {}
    holds: dict[int, Hold] = {}
    enforcement: Enforcement | None = None
    for row in rows:
        fact = row.fact
        if type(fact) is TransactionPosted:
            continue
        if isinstance(fact, HoldChanged | HoldCaptured):
            holds[fact.hold.number] = fact.hold
        elif isinstance(fact, AccountChanged):
            accounts[fact.account.number] = fact.account
        elif isinstance(fact, EnforcementChanged):
            enforcement = fact.enforcement
    if accounts:
        await connection.execute(_WRITE_ACCOUNTS, key, *_columns(map(_account_row, accounts.values())))
    if holds:
        hold_rows = (_hold_row(hold, account_numbers) for hold in holds.values())
        await connection.execute(_WRITE_HOLDS, key, *_columns(hold_rows))
    if enforcement is not None:
        await connection.execute(
            "UPDATE tenants SET balance_enforcement = $2 WHERE tenant_key = $1", key, enforcement
        )


def account_of(row: Record) -> Account:
    """Return the account in a row of the accounts table."""
    return Account(
        number=row["account_number"],
        account_id=row["account_id"],
        kind=AccountKind(row["kind"]),
        currency=row["currency_code"],
        state=AccountState(row["state"]),
        limits=Limits(min_available=row["min_available"], max_balance=row["max_balance"]),
        open_time=row["open_time"],
        metadata=_metadata_of(row["metadata"]),
    )


def counters_of(row: Record) -> Counters:
    """Return the counters in a row of the postings table, or zero where there is none yet."""
    if row["version"] is None:
        return ZERO
    return Counters(
        row["posted_debits"],
        row["posted_credits"],
        row["pending_debits"],
        row["pending_credits"],
        row["version"],
    )


def hold_of(row: Record) -> Hold:
    """Return the hold in a row of `HOLD_COLUMNS`."""
    return Hold(
        number=row["hold_number"],
        debit_account_id=row["debit_account_id"],
        credit_account_id=row["credit_account_id"],
        currency=row["currency_code"],
        amount=row["amount"],
        captured=row["captured"],
        released=row["released"],
        state=HoldState(row["state"]),
        expire_time=row["expire_time"],
        type=TransactionType(row["transaction_type"]),
        reference=row["reference"] or "",
        metadata=_metadata_of(row["metadata"]),
        place_time=row["place_time"],
        end_time=row["end_time"],
        limit_breached=row["limit_breached"],
    )


def _metadata_of(text: str | None) -> Mapping[str, str]:
    return json.loads(text) if text else {}


def _metadata_text(metadata: Mapping[str, str]) -> str | None:
    return json.dumps(dict(metadata)) if metadata else None


def _columns(rows: Iterable[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return list(zip(*rows, strict=True))


def _journal_records(key: TenantKey, rows: Sequence[JournalRow]) -> list[tuple[Any, ...]]:
    last = rows[-1].sequence
    records = []
    for sequence, fact, request, digest, record_time, record, chain_hash in rows:
        method, idempotency_key, player_id = request or (None, None, "")
        kind = fact.kind
        if kind is FactKind.TRANSACTION_POSTED or kind is FactKind.HOLD_CAPTURED:
            transaction = fact.transaction  # type: ignore[union-attr]  # both kinds carry one
            posted = (
                transaction.type,
                transaction.reference or None,
                transaction.reverses,
                transaction.limit_breached,
                transaction.effective_time,
            )
        else:
            posted = (None, None, None, False, record_time)
        records.append(
            (
                key,
                sequence,
                kind,
                method,
                idempotency_key,
                player_id,
                digest,
                *posted,
                record_time,
                sequence == last,
                record,
                chain_hash,
            )
        )
    return records


def _posting_records(key: TenantKey, rows: Sequence[JournalRow]) -> list[tuple[int, ...]]:
    return [
        (
            key,
            line.account.number,
            row.sequence,
            leg,
            line.phase,
            line.direction,
            line.amount,
            line.pending_change,
            line.after.posted_debits,
            line.after.posted_credits,
            line.after.pending_debits,
            line.after.pending_credits,
            line.after.version,
        )
        for row in rows
        for leg, line in enumerate(getattr(row.fact, "lines", ()))
    ]


def _account_row(account: Account) -> tuple[object, ...]:
    return (
        account.number,
        account.account_id,
        account.kind,
        account.currency,
        account.state,
        account.limits.min_available,
        account.limits.max_balance,
        account.open_time,
        _metadata_text(account.metadata),
    )


def _hold_row(hold: Hold, account_numbers: Mapping[str, int]) -> tuple[object, ...]:
    return (
        hold.number,
        account_numbers[hold.debit_account_id],
        account_numbers[hold.credit_account_id],
        hold.currency,
        hold.amount,
        hold.captured,
        hold.released,
        hold.state,
        hold.expire_time,
        hold.type,
        hold.reference or None,
        _metadata_text(hold.metadata),
        hold.place_time,
        hold.end_time,
        hold.limit_breached,
    )
