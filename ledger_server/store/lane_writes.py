"""Owns how a lane writes: the rows of a batch go out in one commit, in one round trip when it is small.

A large batch goes out in pieces, since one statement of hundreds of megabytes would keep both processes busy,
and everybody else in them waiting, for seconds.

All statements run on a connection of the lane's pool (see `database.py`) and name one tenant. Each of them
that moves a head compares the record times with the database's clock: what was decided at a wrong time, or
long ago by a process that stood still since, is not written.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, assert_never

from ledger_server.domain.ids import Epoch, TenantKey, epochs_text, is_epoch
from ledger_server.domain.ledger.accounts import Account
from ledger_server.domain.ledger.holds import Hold
from ledger_server.domain.state.facts import (
    AccountChanged,
    AccountContinued,
    AdjustmentChanged,
    AdjustmentPolicySet,
    EnforcementChanged,
    EpochBegun,
    FindingChanged,
    HoldCaptured,
    HoldChanged,
    PlayerForgotten,
    RequestRejected,
    TransactionPosted,
    WithdrawalPolicySet,
)
from ledger_server.store.adjustment_rows import (
    ADJUSTMENT_TABLES,
    ADJUSTMENT_UPSERTS,
    AdjustmentRows,
    adjustment_policy_text,
)
from ledger_server.store.array_literals import array_literals
from ledger_server.store.database import AnyConnection
from ledger_server.store.finding_rows import FINDING_TABLES, FINDING_UPSERTS, FindingRows
from ledger_server.store.lane_store import HEAD_COLUMNS, Head
from ledger_server.store.ledger_rows import (
    LEDGER_TABLES,
    LEDGER_UPSERTS,
    JournalRow,
    account_row,
    forgotten_row,
    hold_row,
    journal_rows,
    posting_rows,
)
from ledger_server.store.payment_rows import (
    PAYMENT_TABLES,
    PAYMENT_UPSERTS,
    PaymentRows,
    policy_text,
)


class HeadMoved(Exception):
    """Another process has written to the journal since this lane last looked.

    Or the batch was decided at another time than it is now: the lane decides again under the lock, and asks
    for the time anew.
    """


class TimeRefused(Exception):
    """A batch that was decided under the head's lock has a record time that the database's clock denies."""


_TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    **LEDGER_TABLES,
    **PAYMENT_TABLES,
    **FINDING_TABLES,
    **ADJUSTMENT_TABLES,
}
# The places of those columns whose values may be long.
_LONG: Final = {
    name: tuple(place for place, kind in enumerate(columns.values()) if kind in {"text", "jsonb", "bytea"})
    for name, columns in _TABLES.items()
}
_AS_TEXT: Final = frozenset(kind for columns in _TABLES.values() for kind in columns.values()) - {"bytea"}
_UPSERTS: Final = {**LEDGER_UPSERTS, **PAYMENT_UPSERTS, **FINDING_UPSERTS, **ADJUSTMENT_UPSERTS}
# Tables whose rows may change, with the number of the record that made the row in front.
_NUMBERED: Final = frozenset({"accounts", "holds"})

# Up to so many records one statement is better; beyond that COPY is. From about 60 records on COPY costs
# both processes less, at 1,000 half as much; but it takes four round trips, and the next records wait.
ONE_STATEMENT: Final = 256
# And up to so many bytes of records: as text, bytes become twice as many, on both sides.
ONE_STATEMENT_BYTES: Final = 256 * 1024
# A larger batch is written piece by piece, in one database transaction: so many rows of a table at a time,
# and so many bytes, or one row if that has more. Others in the process have their turn between two pieces.
PIECE_ROWS: Final = 2_000
PIECE_BYTES: Final = 1024 * 1024

# A journal's time never goes back, nor into what is final because somebody asked (`final_time.py`). Where
# either is ahead of the clock, that time is kept until the clock has come that far, so it is no wrong time.
# Without a window (a test brings its own clock) any later time is right.
_IN_TIME: Final = """(({first} > final_time) IS NOT FALSE AND ({window} IS NULL
    OR ({first} >= defter_now() - {window} AND {last} <=
        GREATEST(defter_now() + {window}, record_time, final_time + interval '1 microsecond'))))
"""
_HEAD: Final = "sequence = $2, named_sequence = $2, chain_hash = $3, record_time = $4"
_SET_HEAD: Final = f"UPDATE tenants SET {_HEAD} WHERE tenant_key = $1 AND " + _IN_TIME.format(
    first="$5::timestamptz", last="$4::timestamptz", window="$6::interval"
)
_IS_NOW: Final = """
SELECT $2::interval IS NULL OR $1::timestamptz BETWEEN defter_now() - $2 AND defter_now() + $2
"""
_SET_ENFORCEMENT: Final = "UPDATE tenants SET balance_enforcement = $2 WHERE tenant_key = $1"
_SET_POLICY: Final = "UPDATE tenants SET withdrawal_policy = $2::text::jsonb WHERE tenant_key = $1"
_SET_ADJUSTMENT_POLICY: Final = "UPDATE tenants SET adjustment_policy = $2::text::jsonb WHERE tenant_key = $1"
_ADD_EPOCH: Final = "UPDATE tenants SET epochs = epochs || $2::text WHERE tenant_key = $1"
_INSERT_TENANT: Final = f"""
INSERT INTO tenants (tenant_key, {HEAD_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant_key) DO NOTHING
"""


class Start(NamedTuple):
    """Where a batch begins.

    The sequence alone does not tell: a database that was restored may have the same number of other records,
    or has another epoch by now, in which nothing may be written that was decided in the one before.
    """

    sequence: int
    chain_hash: bytes
    epoch: str


# Ids of a history that has ended are never handed out: the epoch is looked at by the commit itself.
_IN_EPOCH: Final = "EXISTS (SELECT 1 FROM history WHERE history_key = 1 AND COALESCE(epoch, '') = {})"


def _quoted(epoch: str) -> str:
    assert not epoch or is_epoch(epoch)
    return f"'{epoch}'"


async def commit_from(
    connection: AnyConnection,
    key: TenantKey,
    start: Start,
    rows: Sequence[JournalRow],
    account_numbers: Mapping[str, int],
    *,
    window: timedelta | None,
    final_time: datetime | None = None,
) -> None:
    """Move the head from where the caller believes it to be and write a batch, in one commit.

    Args:
        start: where the caller believes the head to be, and in which history.
        account_numbers: of the accounts that changed holds name.
        window: how far record times may be from the database's clock; None where a test brings its own.
        final_time: later batches may have no record of this time or an earlier one; None: as before.
    Raises:
        HeadMoved: the head is elsewhere, or the time is another one; nothing was written.
        asyncpg.UniqueViolationError: a request was decided before; nothing was written.
    """
    changes = _changes(rows, account_numbers)
    first, last = rows[0], rows[-1]
    if len(rows) <= ONE_STATEMENT and changes.size <= ONE_STATEMENT_BYTES and not changes.of_tenant:
        moved = await connection.fetchval(
            _one_statement(tuple(changes.tables)),
            key,
            last.sequence,
            last.chain_hash,
            last.record_time,
            start.sequence,
            first.record_time,
            window,
            start.chain_hash,
            start.epoch,
            final_time,
            *(
                literal
                for name, table in changes.tables.items()
                for literal in array_literals(_TABLES[name].values(), table)
            ),
        )
        if not moved:
            raise HeadMoved
        return
    # The values are integers, bytes and times of our own, so they may stand in the statement; that
    # way it can travel together with BEGIN.
    in_time = _IN_TIME.format(
        first=f"'{first.record_time.isoformat()}'::timestamptz",
        last=f"'{last.record_time.isoformat()}'::timestamptz",
        window="NULL::interval" if window is None else f"'{window.total_seconds():f} s'::interval",
    )
    final = "NULL" if final_time is None else f"'{final_time.isoformat()}'"
    status = await connection.execute(
        f"BEGIN; UPDATE tenants SET sequence = {last.sequence:d}, named_sequence = {last.sequence:d},"
        f" chain_hash = '\\x{last.chain_hash.hex()}', record_time = '{last.record_time.isoformat()}',"
        f" final_time = GREATEST(final_time, {final}::timestamptz)"
        f" WHERE tenant_key = {key:d} AND sequence = {start.sequence:d} AND {in_time}"
        f" AND chain_hash = '\\x{start.chain_hash.hex()}' AND {_IN_EPOCH.format(_quoted(start.epoch))}"
    )
    if status != "UPDATE 1":
        raise HeadMoved
    await _write(connection, key, changes, first.sequence)
    await connection.execute("COMMIT")


async def write_locked(
    connection: AnyConnection,
    key: TenantKey,
    rows: Sequence[JournalRow],
    account_numbers: Mapping[str, int],
    *,
    window: timedelta | None,
) -> None:
    """Write a batch within the caller's database transaction, which holds the head's lock.

    Raises:
        TimeRefused: the database's clock denies the record times, or they are final; nothing was written.
    """
    first, last = rows[0], rows[-1]
    status = await connection.execute(
        _SET_HEAD, key, last.sequence, last.chain_hash, last.record_time, first.record_time, window
    )
    if status != "UPDATE 1":
        raise TimeRefused
    await _write(connection, key, _changes(rows, account_numbers), first.sequence)


async def insert_tenant(
    connection: AnyConnection, key: TenantKey, head: Head, *, window: timedelta | None
) -> bool:
    """Write the head of a new tenant; return False where the tenant exists.

    Raises:
        TimeRefused: the database's clock denies the record time; the caller takes everything back.
    """
    if not await is_now(connection, head.record_time, window):
        raise TimeRefused
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


async def is_now(connection: AnyConnection, moment: datetime, window: timedelta | None) -> bool:
    """Whether the database's clock allows a record time."""
    return bool(await connection.fetchval(_IS_NOW, moment, window))


class _Changes(NamedTuple):
    """The rows that a batch writes, by table, those without any left out; and what it sets of the tenant."""

    tables: dict[str, list[tuple[Any, ...]]]
    of_tenant: dict[str, object]
    size: int
    """In bytes, of the values that have no fixed length."""


def _changes(rows: Sequence[JournalRow], account_numbers: Mapping[str, int]) -> _Changes:
    accounts: dict[int, Account] = {}
    holds: dict[int, Hold] = {}
    forgotten: dict[str, int] = {}
    payments = PaymentRows()
    findings = FindingRows()
    adjustments = AdjustmentRows()
    of_tenant: dict[str, object] = {}
    for row in rows:
        fact = row.fact
        if isinstance(fact, TransactionPosted):
            continue
        if isinstance(fact, AccountChanged):
            accounts[fact.account.number] = fact.account
        elif isinstance(fact, HoldChanged | HoldCaptured):
            holds[fact.hold.number] = fact.hold
        elif isinstance(fact, AccountContinued):
            accounts[fact.account.number] = fact.account
            accounts[fact.successor.number] = fact.successor
        elif isinstance(fact, EnforcementChanged | WithdrawalPolicySet | EpochBegun | AdjustmentPolicySet):
            statement, value = _set_of_tenant(fact, row.sequence)
            of_tenant[statement] = value
        elif isinstance(fact, PlayerForgotten):
            forgotten[fact.player_id] = row.sequence
        elif isinstance(fact, FindingChanged):
            findings.add(fact.finding, row.sequence, row.content)
        elif isinstance(fact, AdjustmentChanged):
            adjustments.add(fact.adjustment, row.sequence, row.content)
        elif not isinstance(fact, RequestRejected):  # a refusal is a record and nothing else
            payments.add(fact, row.sequence, row.record_time, row.content)
    tables = {
        "journal": journal_rows(rows),
        "postings": posting_rows(rows),
        "holds": [hold_row(hold, account_numbers) for hold in holds.values()],
        "accounts": [account_row(account) for account in accounts.values()],
        "player_keys": [forgotten_row(*each) for each in forgotten.items()],
        **payments.tables,
        **findings.tables,
        **adjustments.tables,
    }
    written = {name: table for name, table in tables.items() if table}
    # All other texts of a journal's row are short.
    size = sum([len(row.record) for row in rows])
    size += sum([_size(name, table) for name, table in written.items() if name != "journal"])
    return _Changes(written, of_tenant, size)


def _set_of_tenant(
    fact: EnforcementChanged | WithdrawalPolicySet | EpochBegun | AdjustmentPolicySet, sequence: int
) -> tuple[str, object]:
    """Return the statement that sets something of the tenant, and the value that it sets."""
    match fact:
        case EnforcementChanged(enforcement=enforcement):
            return _SET_ENFORCEMENT, enforcement
        case WithdrawalPolicySet(policy=policy):
            return _SET_POLICY, policy_text(policy)
        case AdjustmentPolicySet(policy=wanted):
            return _SET_ADJUSTMENT_POLICY, adjustment_policy_text(wanted)
        case EpochBegun(epoch=epoch):
            return _ADD_EPOCH, epochs_text([Epoch(sequence, epoch)])
        case _:
            assert_never(fact)


def _size(name: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Return the bytes of those values of rows that have no fixed length; a character counts as one byte."""
    return sum([sum([len(row[place] or b"") for row in rows]) for place in _LONG[name]])


def pieces(name: str, table: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Cut the rows of a table, if any, into pieces that are written by one statement each."""
    if len(table) <= PIECE_ROWS and _size(name, table) <= PIECE_BYTES:  # nearly always
        if table:
            yield table
        return
    start = size = 0
    for index, row in enumerate(table):
        row_size = _size(name, (row,))
        if index > start and (index - start == PIECE_ROWS or size + row_size > PIECE_BYTES):
            yield table[start:index]
            start, size = index, 0
        size += row_size
    yield table[start:]


async def _write(connection: AnyConnection, key: TenantKey, changes: _Changes, first_sequence: int) -> None:
    for name, table in changes.tables.items():
        made, changed = _split(name, table, first_sequence)
        for piece in pieces(name, made):
            await connection.copy_records_to_table(
                name,
                records=[(key, *row) for row in piece],
                columns=("tenant_key", *_TABLES[name]),
            )
        for piece in pieces(name, changed):
            insert = _insert(name, 2, "SELECT $1::bigint", text=_AS_TEXT)
            await connection.execute(insert, key, *_arrays(_TABLES[name].values(), piece))
    for statement, value in changes.of_tenant.items():
        await connection.execute(statement, key, value)


def _split(
    name: str, table: Sequence[tuple[Any, ...]], first_sequence: int
) -> tuple[Sequence[tuple[Any, ...]], Sequence[tuple[Any, ...]]]:
    """Return the rows that are not there yet, which COPY writes, and those that may be there.

    Args:
        first_sequence: of the batch; rows that are numbered from there on were made by the batch.
    """
    if name not in _UPSERTS:
        return table, ()
    if name not in _NUMBERED:
        return (), table
    made = [row for row in table if row[0] >= first_sequence]
    return made, [row for row in table if row[0] < first_sequence]


def _arrays(kinds: Iterable[str], rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return rows as one array a column: bytes as they are, since as text they would be twice as many."""
    kinds = tuple(kinds)
    places = [place for place, kind in enumerate(kinds) if kind in _AS_TEXT]
    arrays: list[Any] = list(zip(*rows, strict=True))
    shorter = [tuple(row[place] for place in places) for row in rows]
    literals = array_literals([kinds[place] for place in places], shorter)
    for place, literal in zip(places, literals, strict=True):
        arrays[place] = literal
    return arrays


@functools.cache
def _one_statement(tables: tuple[str, ...]) -> str:
    """Return the statement that moves the head and, only if that succeeds, writes these tables."""
    in_time = _IN_TIME.format(first="$6::timestamptz", last="$4::timestamptz", window="$7::interval")
    head = (
        f"WITH head AS (UPDATE tenants SET {_HEAD}, final_time = GREATEST(final_time, $10::timestamptz)"
        f" WHERE tenant_key = $1 AND sequence = $5 AND {in_time}"
        f" AND chain_hash = $8 AND {_IN_EPOCH.format('$9::text')} RETURNING tenant_key)"
    )
    parts = [head]
    parameter = 11
    for name in tables:
        parts.append(f"{name}_written AS ({_insert(name, parameter, 'SELECT tenant_key FROM head')})")
        parameter += len(_TABLES[name])
    return ", ".join(parts) + " SELECT count(*) FROM head"


@functools.cache
def _insert(name: str, first_parameter: int, tenant: str, *, text: frozenset[str] | None = None) -> str:
    """Return the statement that inserts rows given as one array a column.

    Args:
        text: the types whose arrays come as literals; None: all.
        tenant: a query for the tenant's key; where it returns no row, none is inserted.
    """
    columns = _TABLES[name]
    arrays = ", ".join(
        f"${number}::{'text::' if text is None or kind in text else ''}{kind}[]"
        for number, kind in enumerate(columns.values(), first_parameter)
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
