"""Owns the display of amounts: in major units, exactly, with the currency."""

from collections.abc import Mapping
from typing import Final

from defter.ledger.v1 import tenant_pb2
from iso4217 import Currency

from defter_client import LedgerClient, LedgerError

_PATIENCE_SECONDS: Final = 5.0
_MOST_DIGITS: Final = 40
_ISO: Final = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}


class Money:
    """Shows amounts."""

    def __init__(self, places: Mapping[str, int] | None = None) -> None:
        self._places = _ISO if places is None else places

    def show(self, amount_minor: int, currency_code: str) -> str:
        """Return `1,234.56 EUR`; for an unknown currency the minor units, marked as such."""
        number = self.exact(amount_minor, currency_code, grouped=True)
        if number is None:
            return f"{amount_minor:,} minor units of {currency_code or 'no currency'}"
        return f"{number} {currency_code}"

    def exact(self, amount_minor: int, currency_code: str, *, grouped: bool = False) -> str | None:
        """Return `1234.56`; None for an unknown currency.

        Args:
            grouped: whether thousands are set apart, as in `1,234.56`.
        """
        places = self._places.get(currency_code)
        if places is None:
            return None
        # Integers all the way: a float would show large amounts wrong.
        whole, rest = divmod(abs(amount_minor), 10**places)
        sign = "-" if amount_minor < 0 else ""
        fraction = f".{rest:0{places}}" if places else ""
        return f"{sign}{whole:{',' if grouped else ''}}{fraction}"

    def minor(self, amount: str, currency_code: str) -> int:
        """Return the minor units of an amount such as `1234.56`.

        Raises:
            ValueError: the currency is unknown, or the amount is none of it, or is not positive.
        """
        places = self._places.get(currency_code)
        if places is None:
            raise ValueError(f"{currency_code!r} is no currency of this ledger")
        whole, mark, fraction = amount.partition(".")
        digits = whole + fraction
        well_formed = digits.isascii() and digits.isdigit() and bool(whole) and bool(fraction) == bool(mark)
        if not well_formed or len(digits) > _MOST_DIGITS or len(fraction) > places:
            raise ValueError(f"{amount!r} is no amount of {currency_code}, which has {places} decimal places")
        found = int(whole + fraction.ljust(places, "0"))
        if not found:
            raise ValueError("an amount is more than 0")
        return found


async def kept_money(ledger: LedgerClient) -> Money:
    """Return the display for the server's currencies and no other, for amounts that programs read.

    Raises:
        LedgerError: the server does not tell; what ISO 4217 says need not be what the database has.
    """
    told = await ledger.tenants.list_currencies(tenant_pb2.ListCurrenciesRequest())
    return Money({each.currency_code: each.decimal_places for each in told.currencies})


async def known_money(ledger: LedgerClient) -> Money:
    """Return the display for the server's currencies, which have the decimal places kept in its database.

    If the server does not tell, only the currencies of ISO 4217 are known, and others are shown in minor
    units.
    """
    try:
        told = await ledger.tenants.list_currencies(
            tenant_pb2.ListCurrenciesRequest(), timeout=_PATIENCE_SECONDS
        )
    except LedgerError:
        return Money()
    return Money({each.currency_code: each.decimal_places for each in told.currencies})
