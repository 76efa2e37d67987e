"""Owns the reading of amounts that people type: exactly, in the way of their language, or not at all."""

import re
from decimal import Decimal
from typing import Final

from console.catalogue import N_, Language
from defter_client import AmountNotExact, Currencies, CurrencyNotKnown

_MARKS: Final[dict[Language, tuple[str, str]]] = {"en": (".", ","), "tr": (",", ".")}
"""Of each language the decimal mark, and what stands between groups of three digits."""
_MOST: Final = 40
_GROUP: Final = 3
AMBIGUOUS: Final = N_("This can be read in two ways. Write it without separators between thousands.")
NO_AMOUNT: Final = N_("This is no amount.")
TOO_FINE: Final = N_("The currency has fewer decimal places than this.")
NOT_POSITIVE: Final = N_("The amount has to be above zero.")


class NotAnAmount(ValueError):
    """What was typed is no amount, or not one alone.

    Attributes:
        sentence: says so to a person, in English; `catalogue` translates it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def signed_amount(text: str, language: Language, currency_code: str, currencies: Currencies | None) -> int:
    """Return an amount in minor units that may be zero or have a minus in front; else as `typed_amount`."""
    wanted = text.strip().replace("\N{MINUS SIGN}", "-")
    if not wanted.startswith("-"):
        return _amount(wanted, language, currency_code, currencies)
    return -_amount(wanted[1:], language, currency_code, currencies)


def typed_amount(text: str, language: Language, currency_code: str, currencies: Currencies | None) -> int:
    """Return an amount above zero in minor units.

    `1234,56` and `1.234,56` are one amount in Turkish, and `1.234` is none: whoever has learnt to write
    numbers in English would mean another one. In English it is the same with the marks exchanged.

    Args:
        text: without the currency.
        currencies: of the ledger; where it has not told the currency, the amount is typed in minor units.
    Raises:
        NotAnAmount: nothing was rounded or guessed.
    """
    minor = _amount(text.strip(), language, currency_code, currencies)
    if minor <= 0:
        raise NotAnAmount(NOT_POSITIVE)
    return minor


def _amount(wanted: str, language: Language, currency_code: str, currencies: Currencies | None) -> int:
    point, group = _MARKS[language]
    whole, mark, decimals = wanted.partition(point)
    if not wanted or len(wanted) > _MOST or not (wanted.isascii() and wanted.isprintable()):
        raise NotAnAmount(NO_AMOUNT)
    grouped = re.fullmatch(rf"[1-9][0-9]{{0,2}}(?:{re.escape(group)}[0-9]{{3}})+", whole)
    if grouped is None and not re.fullmatch(r"[0-9]+", whole):
        raise NotAnAmount(NO_AMOUNT)
    if grouped is not None and not mark and whole.count(group) == 1:
        raise NotAnAmount(AMBIGUOUS)
    if mark and not re.fullmatch(r"[0-9]+", decimals):
        raise NotAnAmount(NO_AMOUNT)
    return _minor(whole.replace(group, ""), decimals, currency_code, currencies)


def _minor(whole: str, decimals: str, currency_code: str, currencies: Currencies | None) -> int:
    number = f"{whole}.{decimals}" if decimals else whole
    counted = Currencies({}) if currencies is None else currencies
    try:
        minor, one = (counted.money(each, currency_code).amount_minor for each in (number, "1"))
    except AmountNotExact:
        raise NotAnAmount(TOO_FINE if decimals else NO_AMOUNT) from None
    except CurrencyNotKnown:
        if decimals or Decimal(number) >= 2**63:
            raise NotAnAmount(NO_AMOUNT) from None
        return int(number)
    if len(decimals) == _GROUP and one < 10**_GROUP:
        # "1.000" is exact as one, and is how others write a thousand.
        raise NotAnAmount(AMBIGUOUS)
    return minor
