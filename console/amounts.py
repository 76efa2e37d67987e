"""Owns amounts that people type: read exactly, and refused where they could mean two things."""

import re
from typing import Final

from console.catalogue import N_
from defter_client import AmountNotExact, Currencies, CurrencyNotKnown

_PLAIN: Final = re.compile(r"(\d{1,19})(?:[.,](\d{1,9}))?", re.ASCII)
# Groups of three are taken where a decimal part behind the other sign shows that they are groups.
_GROUPED: Final = re.compile(r"(\d{1,3}(?:\.\d{3})+),(\d{1,9})|(\d{1,3}(?:,\d{3})+)\.(\d{1,9})", re.ASCII)
_EITHER: Final = re.compile(r"\d{1,3}[.,]\d{3}", re.ASCII)
_THREE: Final = 3
_NONE: Final = Currencies({})

NO_AMOUNT: Final = N_("Type the amount in digits, as 1234.50 or 1234,50.")
TWO_MEANINGS: Final = N_("This could be read in two ways. Type all decimal places, as 1234.50 or 1234,50.")


class AmountUnclear(ValueError):
    """What was typed is no amount.

    Attributes:
        sentence: why, in English.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def typed_minor(text: str, currency_code: str, currencies: Currencies | None) -> int:
    """Return the minor units of what was typed; a minus may stand in front.

    Args:
        currencies: None, or without this currency: amounts are shown in minor units, and typed so.

    Raises:
        AmountUnclear: it is no amount of the currency, or it could be two.
    """
    typed = text.strip().replace("\N{MINUS SIGN}", "-").replace(" ", "").replace("\N{NO-BREAK SPACE}", "")
    sign, digits = ("-", typed[1:]) if typed.startswith("-") else ("", typed)
    grouped, plain = _GROUPED.fullmatch(digits), _PLAIN.fullmatch(digits)
    if grouped is not None:
        whole, part = (grouped[1] or grouped[3]), (grouped[2] or grouped[4])
    elif plain is not None:
        whole, part = plain[1], plain[2] or "0"
    else:
        raise AmountUnclear(NO_AMOUNT)
    exact = f"{sign}{whole.replace('.', '').replace(',', '')}.{part}"
    try:
        minor = (currencies or _NONE).money(exact, currency_code).amount_minor
    except CurrencyNotKnown:
        if part.strip("0"):
            raise AmountUnclear(NO_AMOUNT) from None
        minor = int(f"{sign}{exact.removeprefix('-').partition('.')[0]}")
    except AmountNotExact:
        raise AmountUnclear(TWO_MEANINGS if _EITHER.fullmatch(digits) else NO_AMOUNT) from None
    if _EITHER.fullmatch(digits) and len(part) == _THREE and not part.strip("0"):
        # "1.000" has an exact value as one, and is how others write a thousand.
        raise AmountUnclear(TWO_MEANINGS)
    return minor
