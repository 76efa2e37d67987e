"""Owns the largest amount that a request may name, so that no request can use up an account's counters."""

from collections.abc import Mapping
from typing import Final

from ledger_server.domain.ledger.accounts import MAX_AMOUNT

DEFAULT_MAX_AMOUNT: Final = 10**15
"""Minor units: ten trillion with two decimal places, and a nine-thousandth of what a counter holds."""

OTHERS: Final = "*"
"""Stands for all currencies that have no bound of their own."""


class AmountBounds:
    """The largest amount of each currency that a request may name, in minor units."""

    __slots__ = ("_by_currency", "_others")

    def __init__(self, by_currency: Mapping[str, int] | None = None) -> None:
        """Take the bounds by currency code; the bound of `*` is for all other currencies.

        Raises:
            ValueError: a bound is not between 1 and 2^63-1.
        """
        bounds = dict(by_currency or {})
        for code, bound in bounds.items():
            if not 1 <= bound <= MAX_AMOUNT:
                raise ValueError(f"{code} is bound to {bound}; 1 to {MAX_AMOUNT} minor units are possible")
        self._others = bounds.pop(OTHERS, DEFAULT_MAX_AMOUNT)
        self._by_currency = bounds

    def of(self, currency: str) -> int:
        """Return the bound of a currency, minor units."""
        return self._by_currency.get(currency, self._others)
