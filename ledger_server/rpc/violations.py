"""Owns the rules of single fields at the border, and the list of the rules that a message breaks."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final, TypeVar

from defter.ledger.v1 import account_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ledger_server.domain.errors import (
    AmountNotPositive,
    AmountTooLarge,
    CurrencyUnknown,
    ExpireTimeGivenTwice,
    FieldMalformed,
    FieldMissing,
    FieldOutOfRange,
    FieldTooLong,
    IdempotencyKeyMalformed,
    IdempotencyKeyMissing,
    LimitsContradict,
    Refused,
    TimeToLiveNotPositive,
    TimeToLiveTooLong,
)
from ledger_server.domain.ledger.accounts import Limits, WantedLimits
from ledger_server.domain.ledger.amounts import AmountBounds
from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.domain.ledger.holds import MAX_TIME_TO_LIVE, Expiry
from ledger_server.engine.records.sealing import MAX_PLAIN_BYTES, plain_of
from ledger_server.engine.records.times import moment

MAX_BATCH: Final = 1_000
"""Items of one batch."""
MAX_KEY: Final = 255
MAX_TENANT_ID: Final = 63
MAX_METADATA: Final = 32
MAX_METADATA_KEY: Final = 64
MAX_METADATA_VALUE: Final = 512
_MAX_SECONDS: Final = 253_402_300_800  # the year 10000
# Further ones are counted but not kept: these are enough to mend the request, and a status has little room.
_MAX_LISTED: Final = 16

TENANT_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
ACCOUNT_ID: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,255}")

_Enum = TypeVar("_Enum", bound=IntEnum)


class Violations:
    """Collects the rules that a message breaks."""

    def __init__(self) -> None:
        self._first: Refused | None = None
        self._listed: list[Refused] = []
        self._count = 0

    def add(self, refused: Refused) -> None:
        """Note one broken rule."""
        if self._first is None or refused.reason < self._first.reason:
            self._first = refused
        if len(self._listed) < _MAX_LISTED:
            self._listed.append(refused)
        self._count += 1

    def check(self) -> None:
        """Raise the first broken rule in the order of precedence, with the list of the others."""
        first = self._first
        if first is None:
            return
        if first not in self._listed:
            self._listed[-1] = first
        first.violations = tuple(self._listed)  # type: ignore[attr-defined]  # for BadRequest only
        first.violation_count = self._count  # type: ignore[attr-defined]  # the same
        raise first

    def tenant_id(self, value: str, path: str = "tenant_id") -> None:
        """Require a well-formed tenant id."""
        if not value:
            self.add(FieldMissing(field=path))
        elif len(value) > MAX_TENANT_ID:
            self.add(FieldTooLong(field=path, limit=MAX_TENANT_ID))
        elif not TENANT_ID.fullmatch(value):
            self.add(FieldMalformed(field=path))

    def idempotency_key(self, value: str, path: str = "idempotency_key") -> None:
        """Require a well-formed idempotency key."""
        if not value:
            self.add(IdempotencyKeyMissing(field=path))
        elif len(value) > MAX_KEY or not value.isascii() or not value.isprintable():
            self.add(IdempotencyKeyMalformed(field=path))

    def account_id(self, value: str, path: str) -> None:
        """Require a well-formed account id."""
        if not value:
            self.add(FieldMissing(field=path))
        elif len(value) > MAX_KEY:
            self.add(FieldTooLong(field=path, limit=MAX_KEY))
        elif not ACCOUNT_ID.fullmatch(value):
            self.add(FieldMalformed(field=path))

    def identifier(self, value: str, path: str) -> None:
        """Require a well-formed id of a transaction or hold; its existence is not checked here."""
        if not value:
            self.add(FieldMissing(field=path))
        else:
            self.text(value, path, MAX_KEY)

    def text(self, value: str, path: str, limit: int) -> None:
        """Allow free text up to a length; NUL is refused, since PostgreSQL can't store it."""
        if len(value) > limit:
            self.add(FieldTooLong(field=path, limit=limit))
        elif "\x00" in value:
            self.add(FieldMalformed(field=path))

    def metadata(self, value: Mapping[str, str], path: str) -> None:
        """Allow a bounded map of strings."""
        if len(value) > MAX_METADATA:
            self.add(FieldTooLong(field=path, limit=MAX_METADATA))
            return
        for key, text in value.items():
            # Metadata keys of our own mark what belongs to a payment.
            if not key or key.startswith("defter_"):
                self.add(FieldMalformed(field=path))
            self.text(key, path, MAX_METADATA_KEY)
            self.text(text, path, MAX_METADATA_VALUE)

    def personal(self, value: Mapping[str, str], path: str) -> None:
        """Allow personal data: a bounded map of strings, bounded as a whole too."""
        self.metadata(value, path)
        if len(value) <= MAX_METADATA and len(plain_of(value)) > MAX_PLAIN_BYTES:
            self.add(FieldTooLong(field=path, limit=MAX_PLAIN_BYTES))

    def currency(self, value: str, path: str, currencies: CurrencyRegistry) -> None:
        """Require a currency of the registry."""
        if not value:
            self.add(FieldMissing(field=path))
        elif value not in currencies:
            self.add(CurrencyUnknown(field=path, currency_code=value[:MAX_METADATA_KEY]))

    def amount(self, value: int, path: str) -> None:
        """Require a positive amount."""
        if value <= 0:
            self.add(AmountNotPositive(field=path, amount_minor=value))

    def bounded(self, value: int, path: str, currency: str, bounds: AmountBounds) -> None:
        """Require an amount that is not larger than its currency's bound."""
        if value > bounds.of(currency):
            self.add(
                AmountTooLarge(
                    field=path,
                    amount_minor=value,
                    currency_code=currency[:MAX_METADATA_KEY],
                    max_amount_minor=bounds.of(currency),
                )
            )

    def enum(self, value: int, path: str, members: Mapping[int, _Enum]) -> _Enum | None:
        """Require a known enum value."""
        member = members.get(value)
        if member is None:
            self.add(FieldMalformed(field=path) if value else FieldMissing(field=path))
        return member

    def time(
        self, message: Message, name: str, *, within: str = "", required: bool = False
    ) -> datetime | None:
        """Read an optional timestamp between 1970 and 9999; `within` is the path of the message."""
        if not message.HasField(name):
            if required:
                self.add(FieldMissing(field=within + name))
            return None
        value: Timestamp = getattr(message, name)
        if not 0 <= value.seconds < _MAX_SECONDS or not 0 <= value.nanos < 1_000_000_000:
            self.add(FieldOutOfRange(field=within + name))
            return None
        return moment(value)

    def expiry(self, message: Message, *, required: bool = False) -> Expiry | None:
        """Read when a hold ends: its `expire_time` or its `time_to_live`, not both."""
        alive = message.HasField("time_to_live")
        expire_time = self.time(message, "expire_time", required=required and not alive)
        if not alive:
            return expire_time
        if message.HasField("expire_time"):
            self.add(ExpireTimeGivenTwice(field="time_to_live"))
        return self._time_to_live(message.time_to_live, "time_to_live")  # type: ignore[attr-defined]

    def _time_to_live(self, value: Duration, path: str) -> timedelta | None:
        """Read a length of time of at least a microsecond, cut to whole ones."""
        seconds, nanos = value.seconds, value.nanos
        if abs(nanos) >= 1_000_000_000 or seconds * nanos < 0:
            self.add(FieldMalformed(field=path))
            return None
        told = _decimal(seconds, nanos)
        if seconds < 0 or (seconds == 0 and nanos < 1_000):
            self.add(TimeToLiveNotPositive(field=path, time_to_live=told))
            return None
        longest = int(MAX_TIME_TO_LIVE.total_seconds())
        if (seconds, nanos) > (longest, 0):
            self.add(TimeToLiveTooLong(field=path, time_to_live=told, max_time_to_live=longest))
            return None
        return timedelta(seconds=seconds, microseconds=nanos // 1_000)

    def limits(self, value: account_pb2.AccountLimits, path: str) -> WantedLimits:
        """Read limits, each a number, unlimited or absent; the lower limit may not exceed the upper one."""
        lower = value.min_available_minor if value.HasField("min_available_minor") else None
        upper = value.max_balance_minor if value.HasField("max_balance_minor") else None
        for number, unlimited, name in (
            (lower, value.min_unlimited, "min_unlimited"),
            (upper, value.max_unlimited, "max_unlimited"),
        ):
            if number is not None and unlimited:
                self.add(FieldMalformed(field=f"{path}.{name}"))
        wanted = WantedLimits(
            min_available=lower,
            max_balance=upper,
            min_unlimited=value.min_unlimited,
            max_unlimited=value.max_unlimited,
        )
        self.ordered(Limits(min_available=lower, max_balance=upper))
        return wanted

    def ordered(self, limits: Limits) -> None:
        """Require that the lower limit does not exceed the upper one."""
        lower, upper = limits.min_available, limits.max_balance
        if lower is not None and upper is not None and lower > upper:
            self.add(LimitsContradict(min_available_minor=lower, max_balance_minor=upper))


def _decimal(seconds: int, nanos: int) -> str:
    """Return a length of time in seconds; both numbers have the same sign."""
    sign = "-" if seconds < 0 or nanos < 0 else ""
    fraction = f".{abs(nanos):09d}".rstrip("0").rstrip(".")
    return f"{sign}{abs(seconds)}{fraction}"


def members(kind: type[_Enum]) -> Mapping[int, _Enum]:
    """Return an enum's members by number, for `Violations.enum`."""
    return {int(member): member for member in kind}
