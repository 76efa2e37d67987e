"""Owns the geometry of bar charts that compare two sides; the template draws them as SVG.

Each group has a scale of its own, since amounts of two currencies have no common one. The numbers stand at
the bars and in a table beside the chart, so a chart shows nothing that can't be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 360
_LABEL: Final = 16
_BAR: Final = 12
_GAP: Final = 8
_TITLE: Final = 20


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with its label above it.

    Attributes:
        kind: `first` or `second`: which side it is of.
        text_y: the label's base line.
    """

    kind: str
    label: str
    number: str
    text_y: int
    x: int
    y: int
    width: int
    height: int = _BAR


@dataclass(frozen=True, slots=True)
class Group:
    """The bars of one currency."""

    title: str
    title_y: int
    zero_x: int
    top: int
    bottom: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, in units of its own."""

    width: int
    height: int
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sides of one currency: exact numbers, and as they are written."""

    title: str
    first: int
    second: int
    first_written: str
    second_written: str


def paired(pairs: Sequence[Pair], first: str, second: str) -> Chart:
    """Return a chart of pairs, one group each.

    Args:
        first: what the first side is called.
        second: what the second one is.
    """
    groups, y = [], 0
    for pair in pairs:
        least, most = min(pair.first, pair.second, 0), max(pair.first, pair.second, 0)
        span = most - least or 1
        zero = -least * WIDTH // span
        title_y, y = y + _TITLE - 6, y + _TITLE
        top, bars = y, []
        for kind, label, amount, number in (
            ("first", first, pair.first, pair.first_written),
            ("second", second, pair.second, pair.second_written),
        ):
            # Integers alone: amounts have up to 64 bits, which a float would round.
            length = abs(amount) * WIDTH // span
            length = max(length, 1) if amount else 0
            bars.append(
                Bar(
                    kind=kind,
                    label=label,
                    number=number,
                    text_y=y + _LABEL - 4,
                    x=min(zero if amount > 0 else max(zero - length, 0), WIDTH - length),
                    y=y + _LABEL,
                    width=length,
                )
            )
            y += _LABEL + _BAR
        groups.append(Group(pair.title, title_y, zero, top, y, tuple(bars)))
        y += _GAP
    return Chart(WIDTH, max(y, 1), tuple(groups))
