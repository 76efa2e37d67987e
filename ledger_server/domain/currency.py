"""Owns which currencies there are and how many decimal places each has."""

import re
from collections.abc import Mapping
from typing import Final

MAX_EXPONENT: Final = 18
"""Of more decimal places not even ten major units would fit into an amount, which has 63 bits."""

_CODE: Final = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,15}")


class CurrencyRegistry:
    """The currencies that accounts may have, each with its exponent (decimal places of a major unit)."""

    __slots__ = ("_exponents",)

    def __init__(self, exponents: Mapping[str, int]) -> None:
        self._exponents = dict(exponents)

    def __contains__(self, currency_code: object) -> bool:
        return currency_code in self._exponents

    def __len__(self) -> int:
        return len(self._exponents)

    def exponent(self, currency_code: str) -> int:
        """Return the number of decimal places; KeyError for an unknown currency."""
        return self._exponents[currency_code]

    def extended(self, assets: Mapping[str, int]) -> "CurrencyRegistry":
        """Return a registry that has more currencies.

        Raises:
            ValueError: one has a broken code or exponent, or is there already. Amounts are stored in
                minor units, so another exponent would change what the stored ones mean.
        """
        for code, exponent in assets.items():
            if not _CODE.fullmatch(code):
                raise ValueError(f"{code!r} is no currency code: 1 to 16 of `A-Z 0-9 . _ -`")
            if code in self:
                raise ValueError(f"{code} is a currency already, with {self.exponent(code)} decimal places")
            if not 0 <= exponent <= MAX_EXPONENT:
                raise ValueError(f"{code} has {exponent} decimal places; 0 to {MAX_EXPONENT} are possible")
        return CurrencyRegistry({**self._exponents, **assets})
