"""Owns the picture of a transaction: which leg stands where, as numbers that a template draws as SVG.

Money goes from the left to the right, as accountants say it: the account that is credited gives, the one
that is debited receives. All legs of a currency meet at one bar: nobody can say which is paid from which.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from defter_client import messages as m

WIDTH: Final = 760
ROW: Final = 38
_TOP: Final = 26
_BETWEEN: Final = 14
MOST_LEGS: Final = 12
"""Legs of one side and currency that are drawn; the table has all."""
_ID_LETTERS: Final = 31


@dataclass(frozen=True, slots=True)
class Leg:
    """A leg with its place.

    Attributes:
        y: of the middle of its box.
        gives: whether it stands on the left.
    """

    account_id: str
    amount_minor: int
    currency: str
    y: int
    gives: bool

    @property
    def short_id(self) -> str:
        """Its account as it fits into the box."""
        return short_id(self.account_id)


@dataclass(frozen=True, slots=True)
class Bundle:
    """All legs of a currency.

    Attributes:
        left_out: legs that are not drawn.
    """

    currency: str
    legs: tuple[Leg, ...]
    top: int
    height: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn by `macros.html`, `legs`."""

    width: int
    height: int
    bundles: tuple[Bundle, ...]


def picture(postings: Sequence[m.Posting]) -> Picture:
    """Return the picture of some legs, in the order of the transaction, a currency below the other."""
    top = _TOP
    bundles = []
    for currency in dict.fromkeys(each.currency_code for each in postings):
        ours = [each for each in postings if each.currency_code == currency]
        sides = {
            gives: [each for each in ours if (each.direction == m.DIRECTION_CREDIT) is gives]
            for gives in (True, False)
        }
        rows = max(min(len(side), MOST_LEGS) for side in sides.values())
        height = max(rows, 1) * ROW
        legs = [leg for gives, side in sides.items() for leg in _placed(side, gives, top, height)]
        bundles.append(Bundle(currency, tuple(legs), top, height, len(ours) - len(legs)))
        top += height + _BETWEEN
    return Picture(WIDTH, top - _BETWEEN + 4 if bundles else top, tuple(bundles))


def _placed(side: Sequence[m.Posting], gives: bool, top: int, height: int) -> Iterable[Leg]:
    """Yield the legs of one side, in the middle of the height that the longer one needs."""
    shown = side[:MOST_LEGS]
    begin = top + (height - len(shown) * ROW) // 2
    for number, each in enumerate(shown):
        y = begin + number * ROW + ROW // 2
        yield Leg(each.account_id, each.amount_minor, each.currency_code, y, gives)


def short_id(account_id: str) -> str:
    """Return an id that fits into its box: its beginning and its end tell accounts apart."""
    if len(account_id) <= _ID_LETTERS:
        return account_id
    return f"{account_id[:12]}…{account_id[-(_ID_LETTERS - 13) :]}"
