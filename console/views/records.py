"""Owns the pages on which anything with an id is read as it stands, field by field."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.exceptions import HTTPException
from starlette.responses import Response

from console.formats import Formats
from console.pages import Page
from console.visit import Visit
from defter_client import messages as m

_MOST_BYTES: Final = 64
_OWN_PAGES: Final = {"dep_": "deposits", "evt_": "events"}
"""What has a page of its own, with its fields on it."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message: its value as text, or what is below it.

    Attributes:
        kind: `text`, `id`, `amount`, `time` or `code`.
    """

    name: str
    value: str = ""
    kind: str = "text"
    below: tuple["Field", ...] = ()


def fields_of(message: Message, formats: Formats) -> tuple[Field, ...]:
    """Return the fields of a message that say something, in the order of the contract."""
    return tuple(_fields(message, formats))


def _fields(message: Message, formats: Formats) -> Iterator[Field]:
    currency = getattr(message, "currency_code", "")
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is None:
                yield Field(field.name, below=tuple(Field(str(k), str(v)) for k, v in sorted(value.items())))
        elif field.is_repeated:
            yield Field(
                field.name,
                below=tuple(
                    _field(field, f"{field.name} {number}", each, currency, formats)
                    for number, each in enumerate(value, 1)
                ),
            )
        else:
            yield _field(field, field.name, value, currency, formats)


def _field(field: FieldDescriptor, name: str, value: Any, currency: str, formats: Formats) -> Field:
    if isinstance(value, Timestamp):
        return Field(name, formats.time(value), "time")
    if isinstance(value, Message):
        return Field(name, below=fields_of(value, formats))
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return Field(name, str(value) if known is None else known.name, "code")
    if isinstance(value, bytes):
        cut = value[:_MOST_BYTES].hex() + ("…" if len(value) > _MOST_BYTES else "")
        return Field(name, cut, "code")
    if isinstance(value, bool):
        return Field(name, "true" if value else "false", "code")
    if isinstance(value, int):
        is_money = field.name.endswith("_minor") and currency
        return Field(
            name, f"{formats.amount(value, currency)} {currency}" if is_money else str(value), "amount"
        )
    return Field(name, str(value), "id" if field.name.endswith("_id") else "text")


async def record(visit: Visit) -> Response:
    """Show what an id is of."""
    ledger, found = visit.ledger, visit.request.path_params["record"]
    for prefix, part in _OWN_PAGES.items():
        if found.startswith(prefix):
            return visit.redirect(visit.path(part, found))
    client = ledger.client
    common: dict[str, Any] = {"tenant_id": visit.tenant_id}
    asks: Mapping[str, tuple[Any, Message]] = {
        "hold_": (client.holds.get_hold, m.GetHoldRequest(**common, hold_id=found)),
        "run_": (client.reconciliation.get_run, m.GetRunRequest(**common, run_id=found)),
        "tx_": (client.postings.get_transaction, m.GetTransactionRequest(**common, transaction_id=found)),
    }
    method, request = next(
        (ask for prefix, ask in asks.items() if found.startswith(prefix)),
        (client.accounts.get_account, m.GetAccountRequest(**common, account_id=found)),
    )
    if not found:
        raise HTTPException(404)
    answer = await ledger.ask(method, request)
    return await _page(visit, found, answer)


async def _page(visit: Visit, found: str, answer: Message) -> Response:
    currencies = await visit.console.currencies.of(visit.ledger)
    formats = Formats(visit.language, visit.console.zone, currencies, visit.now)
    return await visit.page("record.html", record_id=found, fields=fields_of(answer, formats))


PAGES: Final = (Page("/t/{tenant}/records/{record}", record),)
