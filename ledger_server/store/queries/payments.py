"""Owns the lists of deposits, withdrawals and provider events, in the order in which they were begun.

Each list starts from the narrowest index that its filter allows; the other conditions filter the rows found
there.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

from asyncpg import Record
from sqlalchemy import (
    Column,
    ColumnElement,
    LargeBinary,
    Select,
    SmallInteger,
    Table,
    any_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.payments.events import EventState
from ledger_server.store.database import AnyConnection
from ledger_server.store.payment_store import find_refs, payments_named
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

# The filters by which an index is entered, between tenant and number. The first that fits is taken.
_PAYMENT_LEADS: Final = ("player_id", "reference", "states", "provider")
_EVENT_LEADS: Final = (("payment_number",), ("state",), ("provider",), ())


class PaymentFilter(NamedTuple):
    """Which payments of a kind are listed; a field that is None or empty is no condition.

    `kind` is `payment_rows.DEPOSIT` or `WITHDRAWAL`, `states` are of that kind. Amounts are bounds that lie
    within, in minor units of `currency`. `written` are the bytes that any body with the reference contains.
    """

    kind: int
    player_id: str = ""
    states: frozenset[int] = frozenset()
    provider: str = ""
    provider_ref: str = ""
    currency: str = ""
    min_amount: int = 0
    max_amount: int = 0
    reference: str = ""
    written: bytes = b""
    newest_first: bool = False


class EventFilter(NamedTuple):
    """Which events are listed; None or an empty field is no condition. A payment comes with its kind."""

    provider: str = ""
    state: EventState | None = None
    payment_number: int | None = None
    payment_kind: int | None = None


async def list_payments(
    connection: AnyConnection, key: TenantKey, wanted: PaymentFilter, *, after: int, before: int, size: int
) -> Page[bytes, int]:
    """Return a page of the messages of payments whose number lies strictly between two others.

    Of payments that an earlier version wrote, some may have another reference than the one that is asked for:
    one that only contains it, or anything else that does.
    """
    if wanted.provider_ref:
        return await _named(connection, key, wanted, after=after, before=before, size=size)
    statement, values = _asked(wanted)
    return await _bodies(connection, statement, {**values, "key": key, "low": after, "high": before}, size)


async def _named(
    connection: AnyConnection, key: TenantKey, wanted: PaymentFilter, *, after: int, before: int, size: int
) -> Page[bytes, int]:
    """Return a page of the payments with a provider's ref, each looked up by its number: there are few."""
    if wanted.provider:
        places = await find_refs(connection, key, [(wanted.provider, wanted.provider_ref)])
        numbers = list(places.values())
    else:
        numbers = await payments_named(connection, key, wanted.provider_ref)
    numbers = sorted((each for each in numbers if after < each < before), reverse=wanted.newest_first)
    statement, values = _asked(wanted)
    found: list[bytes] = []
    for at, found_at in enumerate(numbers):
        place = {"key": key, "low": found_at - 1, "high": found_at + 1}
        found += (await _bodies(connection, statement, {**values, **place}, 1)).items
        full = len(found) == size or sum(map(len, found)) >= PAGE_BYTES
        if full and at + 1 < len(numbers):
            return Page(found, found_at)
    return Page(found, None)


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


def _asked(wanted: PaymentFilter) -> tuple[ListStatement, dict[str, object]]:
    """Return the statement for a filter without provider refs, and the values of its parameters."""
    conditions = wanted._replace(provider_ref="", written=b"", newest_first=False)._asdict()
    asked = frozenset(name for name, value in conditions.items() if value) - {"kind"}
    states = sorted(wanted.states)
    values = {
        **wanted._asdict(),
        **{f"state_{at}": state for at, state in enumerate(states)},
        "states": states,
    }
    return _payments(asked, len(states), newest_first=wanted.newest_first), values


@cache
def _payments(asked: frozenset[str], states: int = 0, *, newest_first: bool = False) -> ListStatement:
    """Return the list for the filters that are set, with that many states."""
    lead = next((lead for lead in _PAYMENT_LEADS if lead in asked), "")
    kind = payments.c.kind == _parameter(payments.c.kind)
    ways: list[list[ColumnElement[bool]]]
    match lead:
        case "states":
            # Each state has its own place in the index.
            ways = [
                [kind, payments.c.state == bindparam(f"state_{at}", type_=SmallInteger)]
                for at in range(states)
            ]
        case "reference":
            reference = bindparam("reference", type_=payments.c.reference.type)
            named = (payments.c.reference == reference) & (payments.c.reference != literal_column("''"))
            ways = [[kind, named], [kind, payments.c.reference.is_(None)]]
        case "":
            ways = [[kind]]
        case _:
            ways = [[payments.c[lead] == _parameter(payments.c[lead]), kind]]
    # Of those without a known reference the index says nothing more.
    rest = asked - {lead} | (asked & {"reference"})
    return _list(
        payments,
        payments.c.payment_number,
        ways,
        {_COLUMNS[name].name: _COLUMNS[name] for name in sorted(rest)},
        lambda row: [_condition(name, row[_COLUMNS[name].name], row.body) for name in sorted(rest)],
        newest_first=newest_first,
    )


_COLUMNS: Final[dict[str, Column[Any]]] = {
    "player_id": payments.c.player_id,
    "states": payments.c.state,
    "provider": payments.c.provider,
    "currency": payments.c.currency_code,
    "min_amount": payments.c.amount,
    "max_amount": payments.c.amount,
    "reference": payments.c.reference,
}


def _condition(name: str, column: ColumnElement[Any], body: ColumnElement[Any]) -> ColumnElement[bool]:
    value: ColumnElement[Any] = bindparam(name, type_=column.type)
    match name:
        case "states":
            return column == any_(bindparam("states", type_=ARRAY(SmallInteger)))
        case "min_amount":
            return column >= value
        case "max_amount":
            return column <= value
        case "reference":
            written = bindparam("written", type_=LargeBinary)
            unread = column.is_(None) & (func.pg_catalog.position(body, written) > literal_column("0"))
            return or_(column == value, unread)
        case _:
            return column == value


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
    return _list(
        provider_events,
        provider_events.c.event_number,
        [entered],
        {name: provider_events.c[name] for name in wanted},
        lambda row: [row[name] == value for name, value in wanted.items()],
    )


def _list(
    table: Table,
    position: Column[int],
    ways: list[list[ColumnElement[bool]]],
    rest: dict[str, Column[Any]],
    conditions: Callable[[Any], list[ColumnElement[bool]]],
    *,
    newest_first: bool = False,
) -> ListStatement:
    """Return the list that enters an index in some ways, whose rows are merged, and filters by the rest.

    Args:
        ways: the conditions of each; no row may fulfil those of two.
        rest: the columns by which is filtered.
        conditions: returns what they must fulfil, of a row with these columns and `body`.
    """

    def in_order(place: ColumnElement[Any]) -> ColumnElement[Any]:
        return place.desc() if newest_first else place

    entered = [
        select(position.label("position"), *rest.values(), table.c.body)
        .where(table.c.tenant_key == _KEY, *way, within(position, number("low"), number("high")))
        .order_by(in_order(position))
        for way in ways
    ]
    if len(entered) == 1:
        [drive] = entered
        ends: ColumnElement[Any] = position
    else:
        each = [select(*way.limit(number("scan")).subquery().c) for way in entered]
        merged = union_all(*each).subquery("merged")
        drive = select(*merged.c).order_by(in_order(merged.c.position))
        ends = merged.c.position
    scanned = drive.limit(number("scan")).subquery("scanned")
    wanted = (
        select(scanned.c.position, scanned.c.body)
        .where(*conditions(scanned.c))
        .order_by(in_order(scanned.c.position))
        .limit(number("count"))
        .subquery("wanted")
    )
    # The length of a stored value is known without reading it, so only bodies that are returned are read.
    running = func.sum(func.octet_length(wanted.c.body)).over(
        order_by=in_order(wanted.c.position), rows=(None, 0)
    )
    page = select(wanted.c.position, wanted.c.body, running.label("bytes")).subquery("page")
    fitting = page.c.bytes - func.octet_length(page.c.body) < literal_column(str(PAGE_BYTES))
    return ListStatement(
        render(select(*page.c).where(fitting).order_by(in_order(page.c.position))),
        _end(drive, ends) if rest else None,
    )


def _end(drive: Select[Any], position: ColumnElement[Any]) -> Any:
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
