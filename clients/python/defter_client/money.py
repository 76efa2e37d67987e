"""Own amounts: decimals become minor units exactly, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation, Rounded
from typing import Final

from defter.ledger.v1 import tenant_pb2

from defter_client.currencies import ISO_4217

_MOST_MINOR: Final = 2**63 - 1
# The usual context has 28 digits, or as many as the caller's process gave it, and rounds in silence.
_EXACT: Final = Context(prec=100, traps=[Inexact, InvalidOperation, Rounded])
SHIPPED: Final[Mapping[str, int]] = {"USDT": 6, "USDC": 6, "BTC": 8, "ETH": 9}
"""What a ledger knows beside ISO 4217 without a setting."""


class AmountNotExact(ValueError):
    """The amount has no exact value in minor units, or is none that a ledger can count."""


class CurrencyNotKnown(LookupError):
    """The registry does not have the currency."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units of a currency, as the ledger counts."""

    amount_minor: int
    currency_code: str


class Currencies:
    """Currencies with their decimal places."""

    def __init__(self, decimal_places: Mapping[str, int]) -> None:
        self._decimal_places = dict(decimal_places)

    @classmethod
    def of(cls, told: Iterable[tenant_pb2.Currency]) -> Currencies:
        """Return those of a ledger, as `ListCurrencies` answers them: what it counts in is binding."""
        return cls({each.currency_code: each.decimal_places for each in told})

    def money(self, amount: str | int | Decimal, currency_code: str) -> Money:
        """Return an amount of major units, such as `"10.50"`, in minor units.

        Args:
            amount: a decimal number as text, an integer, or a Decimal; a float has no exact decimals.
        Raises:
            TypeError: it is a float, or something else.
            AmountNotExact: it has more decimal places than the currency, or is no number to count.
            CurrencyNotKnown: there is no such currency.
        """
        places = self._places(currency_code)
        if isinstance(amount, bool) or not isinstance(amount, str | int | Decimal):
            raise TypeError(f"an amount is a text, an integer or a Decimal, and not {type(amount).__name__}")
        minor = _minor(_parsed(amount) if isinstance(amount, str) else Decimal(amount), places)
        if minor is None:
            raise AmountNotExact(f"{amount} {currency_code} is no whole number of {places} decimal places")
        return Money(minor, currency_code)

    def decimal(self, money: Money) -> Decimal:
        """Return an amount in major units, exactly.

        Raises:
            CurrencyNotKnown: there is no such currency.
        """
        return _EXACT.scaleb(Decimal(money.amount_minor), -self._places(money.currency_code))

    def text(self, money: Money) -> str:
        """Return an amount as `10.50 EUR`.

        Raises:
            CurrencyNotKnown: there is no such currency.
        """
        return f"{self.decimal(money):f} {money.currency_code}"

    def _places(self, currency_code: str) -> int:
        try:
            return self._decimal_places[currency_code]
        except KeyError:
            raise CurrencyNotKnown(currency_code) from None


def _minor(amount: Decimal, places: int) -> int | None:
    """Return an amount in minor units, or None if it has no exact value that a ledger can count."""
    try:
        minor = _EXACT.scaleb(amount, places)
        is_whole = minor.is_finite() and minor == _EXACT.to_integral_value(minor)
        is_exact = is_whole and -_MOST_MINOR <= minor <= _MOST_MINOR
    except (Inexact, InvalidOperation, Rounded):
        return None
    return int(minor) if is_exact else None


def _parsed(text: str) -> Decimal:
    """Return a number that is written in ASCII digits with a point, and nothing else."""
    digits = text.removeprefix("-").replace(".", "", 1)
    if not digits.isascii() or not digits.isdecimal():
        raise AmountNotExact(f"not an amount: {text!r}")
    return Decimal(text)


STANDARD: Final = Currencies({**ISO_4217, **SHIPPED})
"""ISO 4217 and what a ledger ships; one with settings of its own is asked: `Currencies.of`."""
