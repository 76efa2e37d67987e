"""Owns the lists of deposits, withdrawals and provider events, in the order in which they were begun.

Each list starts from the narrowest index that its filter allows; the other conditions filter the rows found
there.
"""

from functools import cache
from typing import Any, Final, NamedTuple

from asyncpg import Record
from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    SmallInteger,
    Table,
    bindparam,
    func,
    literal_column,
    select,
)

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.payments.events import EventState
from ledger_server.store.database import AnyConnection
from ledger_server.store.payment_store import find_refs
from ledger_server.store.queries.rendering import (
    PAGE_BYTES,
    ListStatement,
    Page,
    fetch_page,
    number,
    render,
    within,
)
from ledger_server.store.tables import payments, provider_events

_KEY: Final = number("key")

# The conditions by which an index is entered, between tenant and number. The first that fits is taken.
_PAYMENT_LEADS: Final = (
    ("player_id", "kind"),
    ("kind", "state"),
    ("provider", "kind"),
    ("kind",),
)
_EVENT_LEADS: Final = (("payment_number",), ("state",), ("provider",), ())


class PaymentFilter(NamedTuple):
    """Which payments of a kind are listed; a field that is None or empty is no condition.

    `kind` is `payment_rows.DEPOSIT` or `WITHDRAWAL`; a `provider_ref` comes with its provider.
    """

    kind: int
    player_id: str = ""
    state: int | None = None
    provider: str = ""
    provider_ref: str = ""


class EventFilter(NamedTuple):
    """Which events are listed; None or an empty field is no condition. A payment comes with its kind."""

    provider: str = ""
    state: EventState | None = None
    payment_number: int | None = None
    payment_kind: int | None = None


async def list_payments(
    connection: AnyConnection, key: TenantKey, wanted: PaymentFilter, *, after: int, before: int, size: int
) -> Page[bytes, int]:
    """Return a page of the messages of payments whose number lies strictly between two others."""
    if wanted.provider_ref:
        places = await find_refs(connection, key, [(wanted.provider, wanted.provider_ref)])
        found = places.get((wanted.provider, wanted.provider_ref))
        if found is None:
            return Page([], None)
        after, before = max(after, found - 1), min(before, found + 1)
        wanted = wanted._replace(provider_ref="")
    asked = frozenset(name for name, value in wanted._asdict().items() if value)
    values = {**wanted._asdict(), "key": key, "low": after, "high": before}
    return await _bodies(connection, _payments(asked), values, size)


async def list_events(
    connection: AnyConnection, key: TenantKey, wanted: EventFilter, *, after: int, before: int, size: int
) -> Page[bytes, int]:
    """Return a page of the messages of events whose number lies strictly between two others."""
    asked = {name for name in ("provider", "payment_number") if getattr(wanted, name)}
    values = {**wanted._asdict(), "key": key, "low": after, "high": before}
    return await _bodies(connection, _events(frozenset(asked), wanted.state), values, size)


async def _bodies(
    connection: AnyConnection, statement: ListStatement, values: dict[str, object], size: int
) -> Page[bytes, int]:
    page = await fetch_page(connection, statement, values, size, _position)
    return Page([row["body"] for row in page.items], page.next)


@cache
def _payments(asked: frozenset[str]) -> ListStatement:
    lead = next(lead for lead in _PAYMENT_LEADS if asked.issuperset(lead))
    entered = [payments.c[name] == _parameter(payments.c[name]) for name in lead]
    rest = sorted(asked - set(lead))
    return _list(
        payments, payments.c.payment_number, entered, {name: _parameter(payments.c[name]) for name in rest}
    )


@cache
def _events(asked: frozenset[str], state: EventState | None) -> ListStatement:
    wanted: dict[str, ColumnElement[Any]] = {
        name: payment_of_kind() if name == "payment_number" else _parameter(provider_events.c[name])
        for name in asked
    }
    if state is not None:
        # A literal: only for a literal can the planner tell whether a partial index covers the state.
        wanted["state"] = literal_column(str(int(state)), SmallInteger)
    leads = _EVENT_LEADS if state is not EventState.APPLIED else (_EVENT_LEADS[0], *_EVENT_LEADS[2:])
    lead = next(lead for lead in leads if wanted.keys() >= set(lead))
    entered = [provider_events.c[name] == wanted.pop(name) for name in lead]
    return _list(provider_events, provider_events.c.event_number, entered, wanted)


def _list(
    table: Table,
    position: Column[int],
    entered: list[ColumnElement[bool]],
    rest: dict[str, ColumnElement[Any]],
) -> ListStatement:
    """Return the list that enters an index by some conditions and filters by the others."""
    drive = (
        select(position.label("position"), *(table.c[name] for name in rest), table.c.body)
        .where(table.c.tenant_key == _KEY, *entered, within(position, number("low"), number("high")))
        .order_by(position)
    )
    scanned = drive.limit(number("scan")).subquery("scanned")
    wanted = (
        select(scanned.c.position, scanned.c.body)
        .where(*(scanned.c[name] == value for name, value in rest.items()))
        .order_by(scanned.c.position)
        .limit(number("count"))
        .subquery("wanted")
    )
    # The length of a stored value is known without reading it, so only bodies that are returned are read.
    running = func.sum(func.octet_length(wanted.c.body)).over(order_by=wanted.c.position, rows=(None, 0))
    page = select(wanted.c.position, wanted.c.body, running.label("bytes")).subquery("page")
    fitting = page.c.bytes - func.octet_length(page.c.body) < literal_column(str(PAGE_BYTES))
    return ListStatement(
        render(select(*page.c).where(fitting).order_by(page.c.position)),
        _end(drive, position) if rest else None,
    )


def _end(drive: Select[Any], position: Column[int]) -> Any:
    last = drive.with_only_columns(position.label("position"))
    return render(last.offset(number("scan") - literal_column("1")).limit(literal_column("1")))


def _parameter(column: Column[Any]) -> ColumnElement[Any]:
    return bindparam(column.name, type_=column.type)


def payment_of_kind() -> ColumnElement[Any]:
    """Return the payment of that number, or nothing if it is a payment of the other kind."""
    return (
        select(payments.c.payment_number)
        .where(
            payments.c.tenant_key == _KEY,
            payments.c.payment_number == number("payment_number"),
            payments.c.kind == bindparam("payment_kind", type_=SmallInteger),
        )
        .scalar_subquery()
    )


def _position(row: Record) -> int:
    return int(row["position"])
