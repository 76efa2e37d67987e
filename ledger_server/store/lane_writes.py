"""Owns how a lane writes: a batch of facts becomes rows, in one round trip when it is small.

All statements run on a connection of the lane's pool (see `database.py`) and name one tenant.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from ledger_server.domain.accounts import Account
from ledger_server.domain.commands import Method, RequestKey
from ledger_server.domain.facts import (
    AccountChanged,
    EnforcementChanged,
    Fact,
    FactKind,
    FindingChanged,
    HoldCaptured,
    HoldChanged,
    TransactionPosted,
    WithdrawalPolicySet,
)
from ledger_server.domain.holds import Hold
from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection
from ledger_server.store.finding_rows import FINDING_TABLES, FINDING_UPSERTS, FindingRows
from ledger_server.store.lane_store import HEAD_COLUMNS, Head
from ledger_server.store.payment_rows import (
    PAYMENT_TABLES,
    PAYMENT_UPSERTS,
    PaymentRows,
    policy_text,
)


class JournalRow(Struct, frozen=True, gc=False):
    """A fact on its way to the journal."""

    sequence: int
    fact: Fact
    request: RequestKey | None
    digest: bytes | None
    record_time: datetime
    record: bytes
    chain_hash: bytes
    content: bytes = b""
    """The fact's own message, as it stands in the record."""


class HeadMoved(Exception):
    """Another process has written to the journal since this lane last looked."""


_POSTING_KINDS: Final = frozenset({FactKind.TRANSACTION_POSTED, FactKind.HOLD_CAPTURED})

# The columns behind `tenant_key` with their types, in the order of the row builders below.
JOURNAL: Final = {
    "sequence": "bigint",
    "kind": "smallint",
    "method": "smallint",
    "idempotency_key": "text",
    "player_id": "text",
    "request_digest": "bytea",
    "transaction_type": "smallint",
    "reference": "text",
    "reverses": "bigint",
    "limit_breached": "boolean",
    "effective_time": "timestamptz",
    "record_time": "timestamptz",
    "closes_batch": "boolean",
    "record": "bytea",
    "chain_hash": "bytea",
}
POSTINGS: Final = {
    "account_number": "bigint",
    "sequence": "bigint",
    "leg": "smallint",
    "phase": "smallint",
    "direction": "smallint",
    "amount": "bigint",
    "pending_change": "bigint",
    "posted_debits": "bigint",
    "posted_credits": "bigint",
    "pending_debits": "bigint",
    "pending_credits": "bigint",
    "version": "bigint",
}
_HOLDS: Final = {
    "hold_number": "bigint",
    "debit_account_number": "bigint",
    "credit_account_number": "bigint",
    "currency_code": "text",
    "amount": "bigint",
    "captured": "bigint",
    "released": "bigint",
    "state": "smallint",
    "expire_time": "timestamptz",
    "transaction_type": "smallint",
    "reference": "text",
    "metadata": "jsonb",
    "place_time": "timestamptz",
    "end_time": "timestamptz",
    "limit_breached": "boolean",
}
_ACCOUNTS: Final = {
    "account_number": "bigint",
    "account_id": "text",
    "kind": "smallint",
    "currency_code": "text",
    "state": "smallint",
    "min_available": "bigint",
    "max_balance": "bigint",
    "open_time": "timestamptz",
    "metadata": "jsonb",
}
# What a later fact may change of a row.
_UPSERTS: Final = {
    **PAYMENT_UPSERTS,
    **FINDING_UPSERTS,
    "holds": (
        "hold_number",
        ("amount", "captured", "released", "state", "expire_time", "end_time", "limit_breached"),
    ),
    "accounts": ("account_number", ("state", "min_available", "max_balance")),
}
_TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "journal": JOURNAL,
    "postings": POSTINGS,
    "holds": _HOLDS,
    "accounts": _ACCOUNTS,
    **PAYMENT_TABLES,
    **FINDING_TABLES,
}

# Up to so many records one statement is better; beyond that COPY is. From about 60 records on COPY costs
# both processes less, at 1,000 half as much; but it takes four round trips, and the next records wait.
ONE_STATEMENT: Final = 256

_SET_HEAD: Final = "UPDATE tenants SET sequence = $2, chain_hash = $3, record_time = $4 WHERE tenant_key = $1"
_SET_ENFORCEMENT: Final = "UPDATE tenants SET balance_enforcement = $2 WHERE tenant_key = $1"
_SET_POLICY: Final = "UPDATE tenants SET withdrawal_policy = $2::text::jsonb WHERE tenant_key = $1"
_INSERT_TENANT: Final = f"""
INSERT INTO tenants (tenant_key, {HEAD_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant_key) DO NOTHING
"""


async def commit_from(
    connection: AnyConnection,
    key: TenantKey,
    from_sequence: int,
    rows: Sequence[JournalRow],
    account_numbers: Mapping[str, int],
) -> None:
    """Move the head from where the caller believes it to be and write a batch, in one commit.

    Args:
        account_numbers: of the accounts that changed holds name.
    Raises:
        HeadMoved: the head is elsewhere; nothing was written.
        asyncpg.UniqueViolationError: a request was decided before; nothing was written.
    """
    changes = _changes(rows, account_numbers)
    last = rows[-1]
    if len(rows) <= ONE_STATEMENT and not changes.of_tenant:
        moved = await connection.fetchval(
            _one_statement(tuple(changes.tables)),
            key,
            last.sequence,
            last.chain_hash,
            last.record_time,
            from_sequence,
            *(literal for name, table in changes.tables.items() for literal in array_literals(name, table)),
        )
        if not moved:
            raise HeadMoved
        return
    # The values are integers, bytes and a time of our own, so they may stand in the statement; that
    # way it can travel together with BEGIN.
    status = await connection.execute(
        f"BEGIN; UPDATE tenants SET sequence = {last.sequence:d},"
        f" chain_hash = '\\x{last.chain_hash.hex()}', record_time = '{last.record_time.isoformat()}'"
        f" WHERE tenant_key = {key:d} AND sequence = {from_sequence:d}"
    )
    if status != "UPDATE 1":
        raise HeadMoved
    await _write(connection, key, changes)
    await connection.execute("COMMIT")


async def write_locked(
    connection: AnyConnection,
    key: TenantKey,
    rows: Sequence[JournalRow],
    account_numbers: Mapping[str, int],
) -> None:
    """Write a batch within the caller's database transaction, which holds the head's lock."""
    last = rows[-1]
    await connection.execute(_SET_HEAD, key, last.sequence, last.chain_hash, last.record_time)
    await _write(connection, key, _changes(rows, account_numbers))


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


class _Changes(NamedTuple):
    """The rows that a batch writes, by table, those without any left out; and what it sets of the tenant."""

    tables: dict[str, list[tuple[Any, ...]]]
    of_tenant: dict[str, object]


def _changes(rows: Sequence[JournalRow], account_numbers: Mapping[str, int]) -> _Changes:
    accounts: dict[int, Account] = {}
    holds: dict[int, Hold] = {}
    payments = PaymentRows()
    findings = FindingRows()
    of_tenant: dict[str, object] = {}
    for row in rows:
        fact = row.fact
        if type(fact) is TransactionPosted:
            continue
        if isinstance(fact, HoldChanged | HoldCaptured):
            holds[fact.hold.number] = fact.hold
        elif isinstance(fact, AccountChanged):
            accounts[fact.account.number] = fact.account
        elif isinstance(fact, EnforcementChanged):
            of_tenant[_SET_ENFORCEMENT] = fact.enforcement
        elif isinstance(fact, WithdrawalPolicySet):
            of_tenant[_SET_POLICY] = policy_text(fact.policy)
        elif isinstance(fact, FindingChanged):
            findings.add(fact.finding, row.sequence, row.content)
        else:
            payments.add(fact, row.sequence, row.record_time, row.content)
    tables = {
        "journal": journal_rows(rows),
        "postings": posting_rows(rows),
        "holds": [_hold_row(hold, account_numbers) for hold in holds.values()],
        "accounts": [_account_row(account) for account in accounts.values()],
        **payments.tables,
        **findings.tables,
    }
    return _Changes({name: table for name, table in tables.items() if table}, of_tenant)


async def _write(connection: AnyConnection, key: TenantKey, changes: _Changes) -> None:
    for name, table in changes.tables.items():
        if name in _UPSERTS:
            insert = _insert(name, 2, "SELECT $1::bigint")
            await connection.execute(insert, key, *array_literals(name, table))
        else:
            await connection.copy_records_to_table(
                name,
                records=[(key, *row) for row in table],
                columns=("tenant_key", *_TABLES[name]),
            )
    for statement, value in changes.of_tenant.items():
        await connection.execute(statement, key, value)


@functools.cache
def _one_statement(tables: tuple[str, ...]) -> str:
    """Return the statement that moves the head and, only if that succeeds, writes these tables."""
    head = (
        "WITH head AS (UPDATE tenants SET sequence = $2, chain_hash = $3, record_time = $4"
        " WHERE tenant_key = $1 AND sequence = $5 RETURNING tenant_key)"
    )
    parts = [head]
    parameter = 6
    for name in tables:
        parts.append(f"{name}_written AS ({_insert(name, parameter, 'SELECT tenant_key FROM head')})")
        parameter += len(_TABLES[name])
    return ", ".join(parts) + " SELECT count(*) FROM head"


@functools.cache
def _insert(name: str, first_parameter: int, tenant: str) -> str:
    """Return the statement that inserts rows given as one array literal a column.

    Args:
        tenant: a query for the tenant's key; where it returns no row, none is inserted.
    """
    columns = _TABLES[name]
    arrays = ", ".join(
        f"${number}::text::{kind}[]" for number, kind in enumerate(columns.values(), first_parameter)
    )
    statement = (
        f"INSERT INTO {name} (tenant_key, {', '.join(columns)})"
        f" SELECT t.*, u.* FROM ({tenant}) AS t, unnest({arrays}) AS u"
    )
    if name in _UPSERTS:
        identity, changing = _UPSERTS[name]
        assignments = ", ".join(f"{column} = excluded.{column}" for column in changing)
        statement += f" ON CONFLICT (tenant_key, {identity}) DO "
        statement += f"UPDATE SET {assignments}" if changing else "NOTHING"
    return statement


def array_literals(name: str, table: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return a table's columns as PostgreSQL array literals.

    Text is much cheaper here than asyncpg's arrays, which ask of each element whether it is an array
    itself (measured, 40 postings in a commit: 10 µs of CPU each instead of 29).
    """
    kinds = _TABLES[name].values()
    return [
        _ARRAY_LITERAL.get(kind, _plain_array)(column)
        for kind, column in zip(kinds, zip(*table, strict=True), strict=True)
    ]


def _plain_array(column: Sequence[int | bool | datetime | None]) -> str:
    return f"{{{_to_json(column)[1:-1].decode()}}}"


def _text_array(column: Sequence[str | None]) -> str:
    # Within quotes, only the backslash and the quote have a meaning.
    escaped = [
        "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for text in column
    ]
    return f"{{{','.join(escaped)}}}"


def _bytes_array(column: Sequence[bytes | None]) -> str:
    escaped = ["NULL" if data is None else f'"\\\\x{data.hex()}"' for data in column]
    return f"{{{','.join(escaped)}}}"


_to_json: Final = msgspec.json.Encoder().encode
_ARRAY_LITERAL: Final[Mapping[str, Callable[[Sequence[Any]], str]]] = {
    "text": _text_array,
    "jsonb": _text_array,
    "bytea": _bytes_array,
}


# What stands in the columns of the request where a record was asked for by nobody.
_NOT_ASKED: Final[tuple[Method | None, str | None, str]] = (None, None, "")


def journal_rows(rows: Sequence[JournalRow]) -> list[tuple[Any, ...]]:
    """Return the journal's rows of one commit, in the order of `JOURNAL`."""
    last = rows[-1].sequence
    records = []
    for row in rows:
        fact, request = row.fact, row.request
        kind = fact.kind
        if request is None:
            asked = _NOT_ASKED
        else:
            asked = (request.method, request.idempotency_key, request.player_id)
        if kind in _POSTING_KINDS:
            transaction = fact.transaction  # type: ignore[union-attr]  # both kinds carry one
            posted = (
                transaction.type,
                transaction.reference or None,
                transaction.reverses,
                transaction.limit_breached,
                transaction.effective_time,
            )
        elif kind is FactKind.HOLD_EXPIRED:
            # Reads of the past find out by this when the hold died, however late that was recorded.
            posted = (None, None, None, False, fact.hold.end_time)  # type: ignore[union-attr]  # it has a hold
        else:
            posted = (None, None, None, False, row.record_time)
        records.append(
            (
                row.sequence,
                kind,
                *asked,
                row.digest,
                *posted,
                row.record_time,
                row.sequence == last,
                row.record,
                row.chain_hash,
            )
        )
    return records


def posting_rows(rows: Sequence[JournalRow]) -> list[tuple[Any, ...]]:
    """Return the statement lines of these facts, in the order of `POSTINGS`."""
    return [
        (
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


def _account_row(account: Account) -> tuple[Any, ...]:
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


def _hold_row(hold: Hold, account_numbers: Mapping[str, int]) -> tuple[Any, ...]:
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


def _metadata_text(metadata: Mapping[str, str]) -> str | None:
    return json.dumps(dict(metadata)) if metadata else None
