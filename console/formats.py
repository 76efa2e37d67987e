"""Owns how numbers, amounts and times are written: by language, in one zone for a page."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime, format_timedelta
from babel.numbers import format_decimal, format_percent, get_decimal_symbol
from google.protobuf.timestamp_pb2 import Timestamp

from console.catalogue import Language
from defter_client import Currencies, CurrencyNotKnown, Money

_LOCALES: Final[dict[Language, Locale]] = {"en": Locale("en", "GB"), "tr": Locale("tr", "TR")}
_MINUS: Final = "\N{MINUS SIGN}"


class Formats:
    """Writes for one page."""

    def __init__(
        self, language: Language, zone: ZoneInfo, currencies: Currencies | None, now: datetime
    ) -> None:
        """Take what the page is for.

        Args:
            currencies: of the ledger; None: amounts are told in minor units.
            now: with a zone.
        """
        self._locale = _LOCALES[language]
        self._zone = zone
        self._currencies = currencies
        self._now = now

    def amount(self, minor: int, currency_code: str) -> str:
        """Return an amount without its currency, which stands beside it; a minus is no hyphen."""
        exact = self._exact(minor, currency_code)
        if exact is None:
            return f"{self.number(minor)} /"
        places = max(0, -int(exact.as_tuple().exponent))
        pattern = "#,##0" + (f".{'0' * places}" if places else "")
        text = format_decimal(exact, pattern, self._locale, decimal_quantization=False)
        return text.replace("-", _MINUS)

    def change(self, minor: int, currency_code: str) -> str:
        """Return what an amount changed, with its sign; empty where it changed nothing."""
        return "" if not minor else ("+" if minor > 0 else "") + self.amount(minor, currency_code)

    def typed(self, minor: int, currency_code: str) -> str:
        """Return an amount as somebody types it: without groups, in the way of their language."""
        text = self.plain(minor, currency_code)
        return text.replace(".", get_decimal_symbol(self._locale))

    def plain(self, minor: int, currency_code: str) -> str:
        """Return an amount for a machine: a point, no groups, a hyphen; minor units of unknown currencies."""
        exact = self._exact(minor, currency_code)
        return str(minor) if exact is None else f"{exact:f}"

    def number(self, value: int) -> str:
        """Return a whole number."""
        return format_decimal(value, "#,##0", self._locale).replace("-", _MINUS)

    def permille(self, value: int) -> str:
        """Return parts of a thousand as percent."""
        return format_percent(Decimal(value) / 1_000, "#,##0.0%", self._locale).replace("-", _MINUS)

    def date(self, day: date) -> str:
        """Return a day."""
        return format_date(day, "d MMM yyyy", locale=self._locale)

    def time(self, at: Timestamp) -> str:
        """Return a time in the page's zone; empty for none."""
        moment = moment_of(at)
        return "" if moment is None else self._written(moment)

    def now(self) -> str:
        """Return the time of the page."""
        return self._written(self._now)

    def age(self, at: Timestamp) -> str:
        """Return how long ago a time was, in its largest unit."""
        moment = moment_of(at)
        if moment is None:
            return ""
        return format_timedelta(max(self._now - moment, timedelta()), locale=self._locale, threshold=1.2)

    def zone(self) -> str:
        """Return the zone with its distance from UTC now."""
        offset = self._now.astimezone(self._zone).strftime("%z")
        return f"{self._zone.key} (UTC{offset[:3]}:{offset[3:]})"

    def _written(self, moment: datetime) -> str:
        return format_datetime(
            moment.astimezone(self._zone), "d MMM yyyy HH:mm:ss", tzinfo=self._zone, locale=self._locale
        )

    def _exact(self, minor: int, currency_code: str) -> Decimal | None:
        if self._currencies is None:
            return None
        try:
            return self._currencies.decimal(Money(minor, currency_code))
        except CurrencyNotKnown:
            return None


def moment_of(at: Timestamp) -> datetime | None:
    """Return a time of the ledger; None for none."""
    if not at.seconds and not at.nanos:
        return None
    return datetime.fromtimestamp(at.seconds, UTC) + timedelta(microseconds=at.nanos // 1_000)


def iso(at: Timestamp) -> str:
    """Return a time for a machine, in UTC; empty for none."""
    moment = moment_of(at)
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")


def typed_time(text: str, zone: ZoneInfo) -> Timestamp | None:
    """Return what was typed into a field of date and time, which is of the page's zone.

    Raises:
        ValueError: it is no time.
    """
    if not text:
        return None
    typed = datetime.fromisoformat(text)
    if typed.tzinfo is None:
        typed = typed.replace(tzinfo=zone)
    found = Timestamp()
    found.FromDatetime(typed.astimezone(UTC))
    return found
