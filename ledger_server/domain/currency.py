"""Owns which currencies there are and how many decimal places each has."""

from collections.abc import Mapping


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
