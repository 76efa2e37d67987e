"""Owns the reads of transactions: by sequence, and as lists, each from the narrowest index."""

from functools import cache
from typing import Any, Final, NamedTuple

from asyncpg import Record
from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    SmallInteger,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    true,
)

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.store.database import AnyConnection
from ledger_server.store.queries.rendering import (
    PAGE_BYTES,
    ListStatement,
    Page,
    fetch_page,
    look_up,
    number,
    render,
    within,
)
from ledger_server.store.tables import accounts, journal, postings

_KEY: Final = number("key")
_TRANSACTION: Final = """
SELECT j.sequence, j.record, r.sequence AS reversed_by FROM journal j
LEFT JOIN LATERAL (
    SELECT sequence FROM journal WHERE tenant_key = $1 AND reverses = j.sequence OFFSET 0
) AS r ON true
WHERE j.tenant_key = $1 AND j.sequence = $2 AND j.transaction_type IS NOT NULL
"""


class PostedRecord(NamedTuple):
    """The record that posts a transaction, and the sequence of its reversal."""

    sequence: int
    record: bytes
    reversed_by: int | None = None


class TransactionFilter(NamedTuple):
    """Which transactions are listed; a field that is None or empty is no condition."""

    account_id: str = ""
    type: TransactionType | None = None
    reference: str = ""
    only_limit_breached: bool = False


class _Shape(NamedTuple):
    """The shape of a statement: which conditions it has, not their values."""

    account: bool
    type: bool
    reference: bool
    limit_breached: bool
    newest_first: bool

    @property
    def by_account(self) -> bool:
        """Whether the list starts from the account's lines; other conditions are narrower."""
        return self.account and not self.reference and not self.limit_breached


async def transaction(connection: AnyConnection, key: TenantKey, sequence: int) -> PostedRecord | None:
    """Return the transaction that the record of this sequence posts."""
    row = await connection.fetchrow(_TRANSACTION, key, sequence)
    return None if row is None else PostedRecord(row["sequence"], row["record"], row["reversed_by"])


async def list_transactions(
    connection: AnyConnection,
    key: TenantKey,
    wanted: TransactionFilter,
    *,
    after: int,
    before: int,
    newest_first: bool,
    size: int,
) -> Page[PostedRecord, int]:
    """Return a page of transactions whose sequence lies strictly between two others."""
    shape = _Shape(
        account=bool(wanted.account_id),
        type=wanted.type is not None,
        reference=bool(wanted.reference),
        limit_breached=wanted.only_limit_breached,
        newest_first=newest_first,
    )
    values = {
        "key": key,
        "low": after,
        "high": before,
        "account_id": wanted.account_id,
        "type": wanted.type,
        "reference": wanted.reference,
    }
    page = await fetch_page(connection, _statement(shape), values, size, _sequence)
    return Page([PostedRecord(row["sequence"], row["record"]) for row in page.items], page.next)


@cache
def _statement(shape: _Shape) -> ListStatement:
    drive, end = _drive(shape)
    scanned = drive.subquery("scanned")
    wanted = select(scanned.c.sequence, scanned.c.record)
    if shape.type:
        wanted = wanted.where(scanned.c.transaction_type == bindparam("type", type_=SmallInteger))
    else:
        wanted = wanted.where(scanned.c.transaction_type.is_not(None))
    # The index that the list starts from covers one of these conditions; the others are checked here.
    if shape.limit_breached and shape.reference:
        wanted = wanted.where(scanned.c.limit_breached)
    if shape.by_account:
        # Several legs of a transaction may be on the account; the first in reading order stands for all. A
        # scan that ends between the legs has seen the first one, and the next page begins after the
        # transaction.
        first = (
            select(postings.c.leg)
            .where(*_lines_of_account(), postings.c.sequence == scanned.c.sequence)
            .order_by(_ordered(postings.c.leg, shape))
            .limit(literal_column("1"))
        )
        wanted = wanted.where(scanned.c.leg == first.scalar_subquery())
    elif shape.account:
        wanted = wanted.where(
            select(literal_column("1"))
            .where(
                *_lines_of_account(),
                postings.c.sequence == scanned.c.sequence,
                postings.c.amount > literal_column("0"),
            )
            .offset(literal_column("0"))  # keeps it a look-up, see `look_up`
            .exists()
        )
    wanted = wanted.order_by(_ordered(scanned.c.sequence, shape)).limit(number("count"))
    measured = wanted.subquery("wanted")
    size = func.octet_length(measured.c.record)
    running = func.sum(size).over(order_by=_ordered(measured.c.sequence, shape), rows=(None, 0))
    page = select(measured.c.sequence, measured.c.record, running.label("bytes")).subquery("page")
    return ListStatement(
        render(
            select(*page.c)
            .where(page.c.bytes - func.octet_length(page.c.record) < literal_column(str(PAGE_BYTES)))
            .order_by(_ordered(page.c.sequence, shape))
        ),
        render(end),
    )


def _drive(shape: _Shape) -> tuple[Select[Any], Select[Any]]:
    """Return the rows to look at, in order, and where they end."""
    columns = (
        journal.c.sequence,
        journal.c.transaction_type,
        journal.c.limit_breached,
        journal.c.record,
    )
    position = journal.c.sequence
    start = select(*columns).where(
        journal.c.tenant_key == _KEY, within(position, number("low"), number("high"))
    )
    if shape.reference:
        start = start.where(journal.c.reference == bindparam("reference", type_=Text))
    elif shape.limit_breached:
        start = start.where(journal.c.limit_breached)
    elif shape.by_account:
        return _drive_by_account(shape, columns)
    start = start.order_by(_ordered(position, shape))
    return start.limit(number("scan")), _last(start.with_only_columns(position))


def _drive_by_account(shape: _Shape, columns: tuple[Column[Any], ...]) -> tuple[Select[Any], Select[Any]]:
    position = postings.c.sequence
    lines = (
        select(position, postings.c.leg, postings.c.amount)
        .where(*_lines_of_account(), within(position, number("low"), number("high")))
        .order_by(_ordered(position, shape), _ordered(postings.c.leg, shape))
    )
    line = lines.limit(number("scan")).subquery("line")
    record = look_up("record", columns, journal.c.tenant_key == _KEY, journal.c.sequence == line.c.sequence)
    drive = (
        # The line's sequence and not the record's, since the planner knows the order of the line's.
        select(line.c.sequence, line.c.leg, *(column for column in record.c if column.name != "sequence"))
        .select_from(line)
        .join(record, true())
        .where(line.c.amount > literal_column("0"))
        .order_by(_ordered(line.c.sequence, shape), _ordered(line.c.leg, shape))
    )
    return drive, _last(lines.with_only_columns(position))


def _last(scanned: Select[Any]) -> Select[Any]:
    return scanned.offset(number("scan") - literal_column("1")).limit(literal_column("1"))


def _lines_of_account() -> tuple[ColumnElement[bool], ...]:
    # The planner knows the order of one account's rows only if the account is not reached by a join.
    number_of_account = (
        select(accounts.c.account_number)
        .where(accounts.c.tenant_key == _KEY, accounts.c.account_id == bindparam("account_id", type_=Text))
        .scalar_subquery()
    )
    return postings.c.tenant_key == _KEY, postings.c.account_number == number_of_account


def _ordered(position: ColumnElement[int], shape: _Shape) -> ColumnElement[int]:
    return position.desc() if shape.newest_first else position.asc()


def _sequence(row: Record) -> int:
    return int(row["sequence"])
