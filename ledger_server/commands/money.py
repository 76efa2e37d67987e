"""Owns how amounts are shown: in major units, exactly, with their currency."""

import json
import os
from collections.abc import Mapping
from typing import Final

from iso4217 import Currency

EXTRA_CURRENCIES: Final = "DEFTER_EXTRA_CURRENCIES"
_ISO: Final = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}


class BadSetting(Exception):
    """An environment variable says something that has no meaning."""


def exponents(environment: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Return the decimal places of ISO 4217's currencies and of the assets that the server's setting names.

    Raises:
        BadSetting: that setting can't be read.
    """
    text = environment.get(EXTRA_CURRENCIES, "")
    try:
        extra = json.loads(text) if text else {}
        return {**_ISO, **{str(code): int(places) for code, places in extra.items()}}
    except (ValueError, TypeError, AttributeError):
        raise BadSetting(f"{EXTRA_CURRENCIES}: a JSON object of codes and decimal places") from None


class Money:
    """Shows amounts."""

    def __init__(self, places: Mapping[str, int] | None = None) -> None:
        self._places = exponents() if places is None else places

    def show(self, amount_minor: int, currency_code: str) -> str:
        """Return `1,234.56 EUR`; where nobody here knows the currency, the minor units, and say so."""
        places = self._places.get(currency_code)
        if places is None:
            return f"{amount_minor:,} minor units of {currency_code or 'no currency'}"
        # Integers all the way: a float would show large amounts wrong.
        whole, rest = divmod(abs(amount_minor), 10**places)
        sign = "-" if amount_minor < 0 else ""
        fraction = f".{rest:0{places}}" if places else ""
        return f"{sign}{whole:,}{fraction} {currency_code}"
