"""Owns the reads of holds: by number, and as lists in the order of their placing.

Open holds are few and have indexes of their own; a list of them sorts what it finds there. An account's
holds of any state are found through the statement lines that placed them, all others by number.
"""

from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

from asyncpg import Record
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    SmallInteger,
    Text,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger import holds as rules
from ledger_server.domain.ledger.holds import Hold, HoldState
from ledger_server.store.database import AnyConnection
from ledger_server.store.lane_store import HOLD_ACCOUNTS, HOLD_COLUMNS, hold_of
from ledger_server.store.queries.rendering import (
    ListStatement,
    Page,
    fetch_page,
    look_up,
    number,
    render,
    time,
    within,
)
from ledger_server.store.tables import accounts, holds, postings, tenants

_KEY: Final = number("key")
_OPEN: Final[ColumnElement[int]] = literal_column("1")
_HELD: Final[ColumnElement[int]] = literal_column("2")
_HOLD: Final = f"""
SELECT {HOLD_COLUMNS}, t.record_time AS head_time FROM holds h {HOLD_ACCOUNTS}
JOIN tenants t ON t.tenant_key = $1
WHERE h.tenant_key = $1 AND h.hold_number = $2
"""


class HoldFilter(NamedTuple):
    """Which holds are listed; a field that is None or empty is no condition. The state is that of now."""

    account_id: str = ""
    state: HoldState | None = None
    expire_before: datetime | None = None
    only_limit_breached: bool = False


class _Shape(NamedTuple):
    """The shape of a statement: which conditions it has, not their values."""

    account: bool
    state: HoldState | None
    expire_before: bool
    limit_breached: bool
    newest_first: bool


async def hold(connection: AnyConnection, key: TenantKey, hold_number: int, now: datetime) -> Hold | None:
    """Return a hold as it stands now: after its expire time it is EXPIRED, recorded or not."""
    row = await connection.fetchrow(_HOLD, key, hold_number)
    return None if row is None else _as_of_now(row, now)


async def list_holds(
    connection: AnyConnection,
    key: TenantKey,
    wanted: HoldFilter,
    *,
    after: int,
    before: int,
    newest_first: bool,
    size: int,
    now: datetime,
) -> Page[Hold, int]:
    """Return a page of holds whose number lies strictly between two others, as they stand now."""
    shape = _Shape(
        account=bool(wanted.account_id),
        state=wanted.state,
        expire_before=wanted.expire_before is not None,
        limit_breached=wanted.only_limit_breached,
        newest_first=newest_first,
    )
    values = {
        "key": key,
        "low": after,
        "high": before,
        "account_id": wanted.account_id,
        "state": wanted.state,
        "expire_before": wanted.expire_before,
        "now": now,
    }
    page = await fetch_page(connection, _statement(shape), values, size, _number)
    return Page([_as_of_now(row, now) for row in page.items], page.next)


def _as_of_now(row: Record, now: datetime) -> Hold:
    found = hold_of(row)
    # A hold that was past at the tenant's newest record is past, even if this clock lags.
    return rules.expire(found) if found.due(max(now, row["head_time"])) else found


@cache
def _statement(shape: _Shape) -> ListStatement:
    if shape.state is HoldState.OPEN:
        return ListStatement(render(_with_accounts(_open(shape), shape)), None)
    if shape.account:
        scanned, column = _lines_that_hold(shape), postings.c.sequence
    else:
        scanned = (
            select(*holds.c)
            .where(holds.c.tenant_key == _KEY, within(holds.c.hold_number, number("low"), number("high")))
            .order_by(_ordered(holds.c.hold_number, shape))
        )
        if shape.limit_breached:  # these have an index of their own
            scanned = scanned.where(holds.c.limit_breached)
        column = holds.c.hold_number
    end = (
        scanned.with_only_columns(column.label("hold_number"))
        .offset(number("scan") - literal_column("1"))
        .limit(literal_column("1"))
    )
    scan = scanned.limit(number("scan")).subquery("scan")
    if shape.account:
        found = look_up("found", holds.c, holds.c.tenant_key == _KEY, holds.c.hold_number == scan.c.sequence)
        page = (
            select(*found.c)
            .select_from(scan)
            .join(found, true())
            .where(scan.c.phase == _HELD, *_residual(found, shape))
            .order_by(_ordered(scan.c.sequence, shape))
        )
    else:
        page = select(*scan.c).where(*_residual(scan, shape)).order_by(_ordered(scan.c.hold_number, shape))
    filtered = shape.account or shape.state is not None or shape.expire_before or shape.limit_breached
    return ListStatement(
        render(_with_accounts(page.limit(number("count")), shape)), render(end) if filtered else None
    )


def _open(shape: _Shape) -> Select[Any]:
    """Return open holds through the indexes of open holds alone."""
    conditions = [
        holds.c.tenant_key == _KEY,
        holds.c.state == _OPEN,
        within(holds.c.expire_time, _now(), time("expire_before"))
        if shape.expire_before
        else or_(holds.c.expire_time.is_(None), holds.c.expire_time > _now()),
    ]
    if shape.limit_breached:
        conditions.append(holds.c.limit_breached)
    numbers = select(holds.c.hold_number).where(*conditions)
    either: Select[Any] | CompoundSelect[Any] = numbers
    if shape.account:
        debited = numbers.where(holds.c.debit_account_number == _account_number())
        credited = numbers.where(holds.c.credit_account_number == _account_number())
        either = union_all(debited, credited)
    # OFFSET keeps the planner from walking through all holds by number instead, open or not.
    found_open = either.offset(literal_column("0")).subquery("open")
    chosen = (
        select(found_open.c.hold_number)
        .where(within(found_open.c.hold_number, number("low"), number("high")))
        .order_by(_ordered(found_open.c.hold_number, shape))
        .limit(number("count"))
        .subquery("numbered")
    )
    found = look_up("found", holds.c, holds.c.tenant_key == _KEY, holds.c.hold_number == chosen.c.hold_number)
    return select(*found.c).select_from(chosen).join(found, true())


def _lines_that_hold(shape: _Shape) -> Select[Any]:
    """Return an account's lines that placed a hold: the line's sequence is the hold's number."""
    return (
        select(postings.c.sequence, postings.c.phase)
        .where(
            postings.c.tenant_key == _KEY,
            postings.c.account_number == _account_number(),
            within(postings.c.sequence, number("low"), number("high")),
        )
        .order_by(_ordered(postings.c.sequence, shape))
    )


def _residual(source: Any, shape: _Shape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    stored = source.c.state == bindparam("state", type_=SmallInteger)
    if shape.state is HoldState.EXPIRED:
        due = (source.c.state == _OPEN) & (source.c.expire_time <= _now())
        conditions.append(or_(stored, due))
    elif shape.state is not None:
        conditions.append(stored)
    if shape.expire_before:
        conditions.append(source.c.expire_time < time("expire_before"))
    if shape.limit_breached:
        conditions.append(source.c.limit_breached)
    return conditions


def _with_accounts(page: Select[Any], shape: _Shape) -> Select[Any]:
    """Return the page with the ids of its accounts."""
    chosen = page.subquery("chosen")
    debit, credit = (
        look_up(
            name,
            (accounts.c.account_id.label(f"{name}_account_id"),),
            accounts.c.tenant_key == _KEY,
            accounts.c.account_number == chosen.c[f"{name}_account_number"],
        )
        for name in ("debit", "credit")
    )
    head = tenants.alias("head")
    return (
        select(
            *(column for column in chosen.c if column.name != "tenant_key"),
            *debit.c,
            *credit.c,
            head.c.record_time.label("head_time"),
        )
        .select_from(chosen)
        .join(debit, true())
        .join(credit, true())
        .join(head, head.c.tenant_key == _KEY)
        .order_by(_ordered(chosen.c.hold_number, shape))
    )


def _now() -> ColumnElement[Any]:
    newest = select(tenants.c.record_time).where(tenants.c.tenant_key == _KEY).scalar_subquery()
    return func.greatest(time("now"), newest)


def _account_number() -> ColumnElement[int]:
    wanted = bindparam("account_id", type_=Text)
    return (
        select(accounts.c.account_number)
        .where(accounts.c.tenant_key == _KEY, accounts.c.account_id == wanted)
        .scalar_subquery()
    )


def _ordered(position: ColumnElement[int], shape: _Shape) -> ColumnElement[int]:
    return position.desc() if shape.newest_first else position.asc()


def _number(row: Record) -> int:
    return int(row["hold_number"])
