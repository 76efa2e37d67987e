"""Owns the currencies and their decimal places, which never change once an amount was stored with them.

Amounts are stored in minor units, so the decimal places with which a currency was first used are kept in the
database and are binding from then on. Source: decision 22.
"""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from ledger_server.domain.ledger.accounts import MAX_AMOUNT

MAX_EXPONENT: Final = 9
"""With more decimal places, less than a billion major units could go through an account."""

MOST_KEPT: Final = 18
"""The most that earlier versions allowed; a currency in use with more than `MAX_EXPONENT` stays usable."""

SHIPPED: Final[Mapping[str, int]] = {"USDT": 6, "USDC": 6, "BTC": 8, "ETH": 9}
"""The currencies beside ISO 4217 that exist without a setting; ETH is counted in gwei."""

SHIPPED_EARLIER: Final[Mapping[str, int]] = {**SHIPPED, "ETH": 18}
"""The decimal places in versions that did not keep them in the database."""

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

    def exponents(self) -> Mapping[str, int]:
        """Return all currencies with their decimal places."""
        return self._exponents


class Currencies(Struct, frozen=True, kw_only=True):
    """What a server works with, as settings and database have it.

    Attributes:
        kept: the codes of currencies in use; the database has their decimal places, or is about to get them.
        withdrawn: the kept codes that neither ISO 4217 nor a setting has any more; they stay usable.
        notices: what an operator should know, a sentence each.
    """

    registry: CurrencyRegistry
    kept: frozenset[str]
    withdrawn: frozenset[str]
    notices: tuple[str, ...]


def turnover_bound(exponent: int) -> int:
    """Return how many major units one side of an account can count in total."""
    minor: int = 10**exponent
    return MAX_AMOUNT // minor


def currencies_of(
    iso: Mapping[str, int], extra: Mapping[str, int | None], kept: Mapping[str, int | None]
) -> Currencies:
    """Return the currencies that a server works with.

    The kept decimal places are binding. A setting that contradicts them is refused; a contradiction by the
    shipped table or by ISO 4217 is only a notice, since no operator has asked for it.

    Args:
        extra: the setting, in addition to `SHIPPED`; None removes a shipped currency.
        kept: the decimal places in the database; None for a currency that an earlier version used with those
            of its settings.
    Raises:
        ValueError: names the currency, what is wrong, and what is wanted.
    """
    exponents: dict[str, int] = {}
    notices: list[str] = []
    withdrawn: set[str] = set()
    for code, wanted in extra.items():
        found = _set(code, wanted, iso.get(code), kept)
        if found is not None:
            exponents[code] = found
    for code, usual in {**SHIPPED, **iso}.items():
        if code in extra:
            continue
        known = kept.get(code, usual)
        exponents[code] = SHIPPED_EARLIER.get(code, usual) if known is None else known
        if exponents[code] != usual:
            notices.append(
                f"{code} is in use with {exponents[code]} decimal places and keeps them, not {usual}"
            )
    for code, known in kept.items():
        if code in exponents:
            continue
        if known is None:
            raise ValueError(
                f"{code} is in use since an earlier version; say with how many decimal places,"
                f' as in {{"{code}": 2}}'
            )
        exponents[code] = known
        withdrawn.add(code)
        notices.append(f"{code} is withdrawn but in use: it stays usable with {known} decimal places")
    notices += [
        f"{code} has {exponents[code]} decimal places: no more than {turnover_bound(exponents[code]):,}"
        f" {code} can go through a side of an account before it has to be continued"
        for code in sorted(kept)
        if exponents[code] > MAX_EXPONENT
    ]
    return Currencies(
        registry=CurrencyRegistry(exponents),
        kept=frozenset(kept),
        withdrawn=frozenset(withdrawn),
        notices=tuple(notices),
    )


def _set(code: str, wanted: int | None, iso: int | None, kept: Mapping[str, int | None]) -> int | None:
    """Return the decimal places that a setting leads to; None where it takes the currency away."""
    if not _CODE.fullmatch(code):
        raise ValueError(f"{code!r} is no currency code: 1 to 16 of `A-Z 0-9 . _ -`")
    if wanted is None:
        if code not in SHIPPED:
            raise ValueError(f"null takes a shipped asset away ({', '.join(SHIPPED)}), and {code} is none")
        if code in kept:
            raise ValueError(f"{code} can't be taken away: accounts have it")
        return None
    known = kept.get(code)
    if known is not None:
        if wanted != known:
            raise ValueError(
                f"{code} is in use with {known} decimal places, which can't change to {wanted}: every stored"
                f" amount would mean something else; set {known}"
            )
        return known
    if code in kept:
        return _set_open(code, wanted)
    if iso is not None and wanted != iso:
        raise ValueError(f"{code} is a currency already, with {iso} decimal places")
    if not 0 <= wanted <= MAX_EXPONENT:
        raise ValueError(
            f"{code} has {wanted} decimal places; 0 to {MAX_EXPONENT} are possible: with more, less than"
            f" {turnover_bound(MAX_EXPONENT):,} {code} could go through an account (2^63-1 minor units)"
        )
    return wanted


def _set_open(code: str, wanted: int) -> int:
    """Return the decimal places of a currency that an earlier version used with those of its settings."""
    earlier = SHIPPED_EARLIER.get(code)
    if earlier is not None and SHIPPED[code] != earlier and wanted != earlier:
        # Setting the new number during an upgrade would multiply every stored amount by up to a billion.
        raise ValueError(
            f"{code} is in use since an earlier version, which had it with {earlier} decimal places unless"
            f" it was set to {wanted} then: say which by `defter currencies keep {code} {earlier}`,"
            f" or {wanted}"
        )
    if not 0 <= wanted <= MOST_KEPT:
        raise ValueError(
            f"{code} has {wanted} decimal places; 0 to {MOST_KEPT} were possible when it was used"
        )
    return wanted
