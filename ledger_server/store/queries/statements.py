"""Owns the reads of an account's statement."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

from asyncpg import Record
from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    SmallInteger,
    Text,
    bindparam,
    case,
    literal_column,
    null,
    select,
    true,
    tuple_,
)

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.accounts import AccountKind, Counters, Direction
from ledger_server.domain.ledger.transactions import Phase, TransactionType
from ledger_server.store.database import AnyConnection
from ledger_server.store.lane_store import counters_of
from ledger_server.store.queries.rendering import (
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
_NEWEST: Final = 2**63 - 1


class LinePosition(NamedTuple):
    """Where a line stands in the statements of a tenant."""

    sequence: int
    leg: int


OLDEST: Final = LinePosition(0, -1)
NEWEST: Final = LinePosition(_NEWEST, -1)


class StatementLine(NamedTuple):
    """One line of an account's statement, with the counters after it.

    `type` is None for a line that only changed pending money; `hold_record` then is the record that
    wrote it.
    """

    position: LinePosition
    account_kind: AccountKind
    phase: Phase
    direction: Direction
    amount: int
    pending_change: int
    after: Counters
    type: TransactionType | None
    reference: str
    effective_time: datetime
    record_time: datetime
    hold_record: bytes | None


def statement_page_sql() -> str:
    """Return the statement behind `statement_page`, oldest line first, pending ones included."""
    return _statement(newest_first=False, include_pending=True).page.text


async def statement_page(
    connection: AnyConnection,
    key: TenantKey,
    account_id: str,
    *,
    after: LinePosition = OLDEST,
    before: LinePosition = NEWEST,
    newest_first: bool = False,
    include_pending: bool = True,
    size: int,
) -> Page[StatementLine, LinePosition]:
    """Return a page of lines strictly between two positions; empty too if there is no such account."""
    statement = _statement(newest_first, include_pending)
    values: Mapping[str, object] = {
        "key": key,
        "account_id": account_id,
        "low_sequence": after.sequence,
        "low_leg": after.leg,
        "high_sequence": before.sequence,
        "high_leg": before.leg,
    }
    page = await fetch_page(connection, statement, values, size, _position)
    return Page([_line(row) for row in page.items], page.next)


@cache
def _statement(newest_first: bool, include_pending: bool) -> ListStatement:
    # The planner knows the order of one account's rows only if the account is not reached by a join.
    position = tuple_(postings.c.sequence, postings.c.leg)
    drive: Select[Any] = select(*postings.c, _of_account(accounts.c.kind).label("kind")).where(
        postings.c.tenant_key == _KEY,
        postings.c.account_number == _of_account(accounts.c.account_number),
        within(position, _bound("low"), _bound("high")),
    )
    drive = drive.order_by(
        *(
            (postings.c.sequence.desc(), postings.c.leg.desc())
            if newest_first
            else (postings.c.sequence, postings.c.leg)
        )
    )
    line = drive.limit(number("count" if include_pending else "scan")).subquery("line")
    record = look_up(
        "written",
        (
            journal.c.transaction_type,
            journal.c.reference,
            journal.c.effective_time,
            journal.c.record_time,
            case((line.c.amount == literal_column("0"), journal.c.record), else_=null()).label("hold_record"),
        ),
        journal.c.tenant_key == _KEY,
        journal.c.sequence == line.c.sequence,
    )
    page = (
        select(*(column for column in line.c if column.name != "tenant_key"), *record.c)
        .select_from(line)
        .join(record, true())
        .order_by(
            *((line.c.sequence.desc(), line.c.leg.desc()) if newest_first else (line.c.sequence, line.c.leg))
        )
        .limit(number("count"))
    )
    if include_pending:
        return ListStatement(render(page), None)
    end = (
        drive.with_only_columns(postings.c.sequence, postings.c.leg)
        .offset(number("scan") - literal_column("1"))
        .limit(literal_column("1"))
    )
    return ListStatement(render(page.where(line.c.amount > literal_column("0"))), render(end))


def _of_account(column: ColumnElement[int]) -> ScalarSelect[int]:
    wanted = bindparam("account_id", type_=Text)
    return (
        select(column).where(accounts.c.tenant_key == _KEY, accounts.c.account_id == wanted).scalar_subquery()
    )


def _bound(name: str) -> Any:
    return tuple_(number(f"{name}_sequence"), bindparam(f"{name}_leg", type_=SmallInteger))


def _position(row: Record) -> LinePosition:
    return LinePosition(row["sequence"], row["leg"])


def _line(row: Record) -> StatementLine:
    return StatementLine(
        position=_position(row),
        account_kind=AccountKind(row["kind"]),
        phase=Phase(row["phase"]),
        direction=Direction(row["direction"]),
        amount=row["amount"],
        pending_change=row["pending_change"],
        after=counters_of(row),
        type=TransactionType(row["transaction_type"]) if row["amount"] else None,
        reference=row["reference"] or "",
        effective_time=row["effective_time"],
        record_time=row["record_time"],
        hold_record=row["hold_record"],
    )
