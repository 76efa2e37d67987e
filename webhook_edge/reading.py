"""Owns the reading of a verified body: field by field, trusting no shape and noting every problem.

What is read here can be stored: texts are bounded and have no NUL or lone surrogate, and no amount is too
large.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias, TypeVar

from defter.payments.v1 import payment_pb2
from google.protobuf.timestamp_pb2 import Timestamp

Type: TypeAlias = payment_pb2.ProviderEventType.ValueType
Unread: TypeAlias = payment_pb2.UnreadReason.ValueType
UNSPECIFIED: Final = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
MOVES_MONEY: Final = frozenset(
    {
        payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED,
        payment_pb2.PROVIDER_EVENT_TYPE_CAPTURE_FAILED,
        payment_pb2.PROVIDER_EVENT_TYPE_REFUND_SUCCEEDED,
        payment_pb2.PROVIDER_EVENT_TYPE_REFUND_FAILED,
        payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN,
        payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_REINSTATED,
        payment_pb2.PROVIDER_EVENT_TYPE_FEE_CHARGED,
        payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID,
        payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_FAILED,
    }
)
"""Types that move money in the books: if such an event can't be read, a person is told."""

MOST_CHARACTERS: Final = 255
_MOST_AMOUNT: Final = 2**63 - 1
_MOST_SECONDS: Final = 253_402_300_799
_FIRST_YEAR: Final = 1970
_CURRENCY: Final = re.compile(r"[A-Z0-9]{3,10}")
_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,18}")

MOST_DEPTH: Final = 64
"""How deep objects and lists may be nested. Python's own bound depends on who calls; providers need ten."""

# The digest stands for the rest of a longer id.
_MOST_PLAIN_ID: Final = 200

_Kind = TypeVar("_Kind", bool, dict[str, object], list[object], int, str)


def parsed(body: bytes) -> object:
    """Return what a body says in JSON, or None where it is no JSON or could be read in more than one way.

    It is None for an object with two fields of one name, for a number that is none or has no end, and for
    what is nested deeper than `MOST_DEPTH`. What was read can be written again, and says the same then.
    """
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError):
        return None
    return value if _is_within_depth(value) else None


class Problem(NamedTuple):
    """Why an event can't be read: the kind, and a sentence that quotes nothing of the event."""

    why: str
    reason: Unread = payment_pb2.UNREAD_REASON_FIELD


class Reader:
    """Reads the fields of a JSON object; `problems` are shared with the objects within it.

    A missing or null field reads as nothing, which is a problem only if the field is required. Fields that
    are not read are no problem: providers add fields as they like.
    """

    def __init__(self, value: object, name: str = "body", problems: list[Problem] | None = None) -> None:
        self.problems: Final[list[Problem]] = [] if problems is None else problems
        self._name: Final = name
        if value is not None and type(value) is not dict:
            self.problems.append(Problem(f"{name} is no object"))
        self._fields: Final[dict[str, object]] = value if isinstance(value, dict) else {}

    def has(self, name: str) -> bool:
        """Return whether the field is there and not null."""
        return self._fields.get(name) is not None

    def is_object(self, name: str) -> bool:
        """Return whether the field holds a whole object, not only its id."""
        return type(self._fields.get(name)) is dict

    def note(self, why: str, reason: Unread = payment_pb2.UNREAD_REASON_FIELD) -> None:
        """Add a problem of the whole event."""
        self.problems.append(Problem(why, reason))

    def text(self, name: str) -> str:
        """Return text for people, cut to a bound."""
        value = (self._read(name, str) or "")[:MOST_CHARACTERS]
        return "".join(each for each in value if each != "\0" and not "\ud800" <= each <= "\udfff")

    def identifier(self, name: str, *, required: bool = False, most: int = MOST_CHARACTERS) -> str:
        """Return an id, a state or a name, never shortened."""
        value = self._read(name, str) or ""
        if len(value) > most or not value.isprintable():
            self._refuse(name, "can't be stored")
            return ""
        if required and not value:
            self._refuse(name, "is missing")
        return value

    def reference(self, name: str) -> str:
        """Return the id of another object, which may be given as an id or as a whole."""
        if self.is_object(name):
            return self.within(name).identifier("id")
        return self.identifier(name)

    def amount(self, name: str, *, in_text: bool = False) -> int | None:
        """Return a required amount of at least zero; `in_text`: digits in a text are accepted too."""
        value: object = self._fields.get(name)
        if in_text and isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if type(value) is not int or not 0 <= value <= _MOST_AMOUNT:
            self._refuse(name, "is no amount")
            return None
        return value

    def number(self, name: str) -> int | None:
        """Return a whole number of any sign."""
        value = self._read(name, int)
        if value is not None and abs(value) > _MOST_AMOUNT:
            self._refuse(name, "is too large")
            return None
        return value

    def flag(self, name: str) -> bool | None:
        """Return a Boolean."""
        return self._read(name, bool)

    def currency(self, name: str) -> str:
        """Return a required currency code in upper case."""
        value = self.identifier(name).upper()
        if not _CURRENCY.fullmatch(value):
            self._refuse(name, "is no currency")
            return ""
        return value

    def seconds(self, name: str) -> Timestamp | None:
        """Return an instant, given in Unix seconds."""
        value = self._read(name, int)
        if value is None or not 0 <= value <= _MOST_SECONDS:
            self._refuse(name, "is no time")
            return None
        return Timestamp(seconds=value)

    def instant(self, name: str) -> Timestamp | None:
        """Return an instant, given as ISO 8601 with an offset."""
        value = self.identifier(name)
        try:
            time = datetime.fromisoformat(value)
            if time.tzinfo is not None and (time := time.astimezone(UTC)).year >= _FIRST_YEAR:
                timestamp = Timestamp()
                timestamp.FromDatetime(time)
                return timestamp
        except (ValueError, OverflowError):
            pass
        self._refuse(name, "is no time")
        return None

    def within(self, name: str) -> "Reader":
        """Return the object in a field; one without fields if there is none."""
        return Reader(self._fields.get(name), name, self.problems)

    def each(self, name: str) -> Iterator["Reader"]:
        """Yield the objects of a list."""
        for value in self._read(name, list[object]) or []:
            yield Reader(value, name, self.problems)

    def _read(self, name: str, kind: type[_Kind]) -> _Kind | None:
        """Return a field of exactly one type: a Boolean does not count as a number."""
        value = self._fields.get(name)
        if type(value) is (getattr(kind, "__origin__", None) or kind):
            return value
        if value is not None:
            self._refuse(name, "has another type")
        return None

    def _refuse(self, name: str, why: str) -> None:
        self.problems.append(Problem(f"{self._name}.{name} {why}"))


def tell_money(event: payment_pb2.ProviderEvent, thing: Reader, name: str, *, in_text: bool = False) -> None:
    """Set a required amount and its required currency."""
    amount = thing.amount(name, in_text=in_text)
    if amount is not None:
        event.provider_amount_minor = amount
    event.currency_code = thing.currency("currency")


def check_says_of_what(event: payment_pb2.ProviderEvent, whole: Reader) -> None:
    """Note a problem if an event can never be booked, whatever becomes known later.

    Such an event names no payment, neither by the provider's id nor by ours, or has an amount without a
    currency.
    """
    if event.type == UNSPECIFIED:
        return
    if not (event.payment_ref or event.payment_id):
        whole.note("it names no payment")
    if event.HasField("provider_amount_minor") and not event.currency_code:
        whole.note("its amount has no currency")


def is_of_family(told: str, families: tuple[str, ...]) -> bool:
    """Return whether an unknown type begins like a type that moves money, in any spelling."""
    return told.strip().lower().startswith(tuple(each.lower() for each in families))


def unread(
    event: payment_pb2.ProviderEvent, problem: Problem, *, moves_money: bool, delivery: str = ""
) -> payment_pb2.ProviderEvent:
    """Return the event as unread: it is stored and acknowledged, moves no money, and a person can look.

    Its id follows from its bytes. So the same bytes are one event, and a later delivery that can be read, for
    example once the configuration is right, is not taken for a duplicate of this one.

    Args:
        moves_money: whether events of that type move money; True if not even the type can be told.
        delivery: what is needed beside the payload to read it again.
    """
    is_body = not event.provider_type and problem.reason == payment_pb2.UNREAD_REASON_FIELD
    event.unread_reason = payment_pb2.UNREAD_REASON_BODY if is_body else problem.reason
    event.moves_money = moves_money or not event.provider_type
    event.delivery = delivery
    event.type = UNSPECIFIED
    event.reason = problem.why[:MOST_CHARACTERS]
    event.read_event_id = event.event_id
    told = event.event_id if len(event.event_id) > _MOST_PLAIN_ID else ""
    digest = hashlib.sha256(told.encode() + event.payload).hexdigest()[:32]
    event.event_id = f"{event.event_id[:_MOST_PLAIN_ID]}:unread:{digest}"
    if not event.HasField("occur_time"):
        # Nothing follows from the time of an unread event, but the ledger requires one.
        event.occur_time.CopyFrom(Timestamp())
    return event


def _object(fields: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(fields)
    if len(found) != len(fields):
        raise ValueError("a field is there twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _is_within_depth(value: object) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return True
    return False
