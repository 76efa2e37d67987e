"""Owns the reads of accounts with their counters as of now: by id, many at one moment, and as a list."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    SmallInteger,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.accounts import Account, AccountKind, AccountState, Counters
from ledger_server.store.database import AnyConnection
from ledger_server.store.lane_store import account_of, counters_of
from ledger_server.store.ledger_rows import COUNTERS
from ledger_server.store.queries.rendering import (
    ListStatement,
    Page,
    Rendered,
    fetch,
    fetch_page,
    look_up,
    number,
    render,
    time,
)
from ledger_server.store.tables import accounts, holds, postings, tenants

_KEY: Final = number("key")


class AccountNow(NamedTuple):
    """An account and its counters as of the record `sequence`; holds that are due count as released."""

    account: Account
    counters: Counters
    sequence: int


class AccountFilter(NamedTuple):
    """Which accounts are listed; a field that is None or empty is no condition."""

    prefix: str = ""
    kind: AccountKind | None = None
    currency: str = ""
    state: AccountState | None = None


async def accounts_now(
    connection: AnyConnection, key: TenantKey, account_ids: Sequence[str], now: datetime
) -> dict[str, AccountNow]:
    """Return those of the accounts that exist, all from one moment."""
    values = {"key": key, "account_ids": account_ids, "now": now}
    rows = await fetch(connection, _by_id(), values)
    return {row["account_id"]: account_now_of(row) for row in rows}


async def list_accounts(
    connection: AnyConnection,
    key: TenantKey,
    wanted: AccountFilter,
    *,
    after: str,
    size: int,
    now: datetime,
) -> Page[AccountNow, str]:
    """Return a page of accounts by id.

    Args:
        after: the id behind which the page begins, or empty.
    """
    statement = _list(bool(wanted.prefix), *(bool(value) for value in wanted[1:]))
    values = {
        "key": key,
        "now": now,
        "after": after,
        # Ids are ASCII, so every id with the prefix lies below the prefix followed by this.
        "from": wanted.prefix,
        "to": wanted.prefix + "\x7f",
        "kind": wanted.kind,
        "currency": wanted.currency,
        "state": wanted.state,
    }
    page = await fetch_page(connection, statement, values, size, lambda row: str(row["account_id"]))
    return Page([account_now_of(row) for row in page.items], page.next)


def account_now_of(row: Record) -> AccountNow:
    """Return the account in a row of `with_counters`."""
    counters = counters_of(row)
    due_debits, due_credits = row["due_debits"], row["due_credits"]
    if due_debits or due_credits:
        counters = without_due(counters, due_debits or 0, due_credits or 0)
    return AccountNow(account_of(row), counters, row["head_sequence"])


def without_due(counters: Counters, due_debits: int, due_credits: int) -> Counters:
    """Return the counters without the pending money of due holds; no statement line is written."""
    return Counters(
        counters.posted_debits,
        counters.posted_credits,
        counters.pending_debits - due_debits,
        counters.pending_credits - due_credits,
        counters.version,
    )


def with_counters(chosen: FromClause) -> Select[Any]:
    """Return a statement that adds their counters as of now to rows of the accounts table.

    A hold that was past at the tenant's newest record is past, even if this process's clock lags.
    """
    head = tenants.alias("head")
    newest = _newest_posting(chosen)
    now = func.greatest(time("now"), head.c.record_time)
    return (
        select(
            *chosen.c,
            *(newest.c[name] for name in COUNTERS),
            _due(chosen, holds.c.debit_account_number, now).label("due_debits"),
            _due(chosen, holds.c.credit_account_number, now).label("due_credits"),
            head.c.sequence.label("head_sequence"),
        )
        .select_from(head)
        .join(chosen, true())
        .outerjoin(newest, true())
        .where(head.c.tenant_key == _KEY)
    )


def _newest_posting(chosen: FromClause) -> FromClause:
    return (
        select(*(postings.c[name] for name in COUNTERS))
        .where(postings.c.tenant_key == _KEY, postings.c.account_number == chosen.c.account_number)
        .order_by(postings.c.sequence.desc(), postings.c.leg.desc())
        .limit(literal_column("1"))
        .lateral("newest")
    )


def _due(chosen: FromClause, side: ColumnElement[int], now: ColumnElement[Any]) -> ColumnElement[Any]:
    remaining = holds.c.amount - holds.c.captured - holds.c.released
    return (
        select(cast(func.sum(remaining), BigInteger))
        .where(
            holds.c.tenant_key == _KEY,
            side == chosen.c.account_number,
            holds.c.state == literal_column("1"),
            holds.c.expire_time <= now,
        )
        .scalar_subquery()
    )


@cache
def _by_id() -> Rendered:
    ids = (
        func.unnest(bindparam("account_ids", type_=ARRAY(Text)))
        .table_valued("account_id")
        .render_derived("wanted")
    )
    wanted = accounts.c.account_id == ids.c.account_id
    found = look_up("found", accounts.c, accounts.c.tenant_key == _KEY, wanted)
    chosen = select(*found.c).select_from(ids).join(found, true()).subquery("chosen")
    return render(with_counters(chosen))


@cache
def _list(prefix: bool, kind: bool, currency: bool, state: bool) -> ListStatement:
    drive = select(*accounts.c).where(
        accounts.c.tenant_key == _KEY, accounts.c.account_id > bindparam("after", type_=Text)
    )
    if prefix:
        drive = drive.where(
            accounts.c.account_id >= bindparam("from", type_=Text),
            accounts.c.account_id < bindparam("to", type_=Text),
        )
    drive = drive.order_by(accounts.c.account_id)
    scanned = drive.limit(number("scan")).subquery("scanned")
    page = select(*scanned.c)
    if kind:
        page = page.where(scanned.c.kind == bindparam("kind", type_=SmallInteger))
    if currency:
        page = page.where(scanned.c.currency_code == bindparam("currency", type_=Text))
    if state:
        page = page.where(scanned.c.state == bindparam("state", type_=SmallInteger))
    chosen = page.order_by(scanned.c.account_id).limit(number("count")).subquery("chosen")
    return ListStatement(
        render(with_counters(chosen).order_by(chosen.c.account_id)),
        render(
            drive.with_only_columns(accounts.c.account_id)
            .offset(number("scan") - literal_column("1"))
            .limit(literal_column("1"))
        )
        if kind or currency or state
        else None,
    )
