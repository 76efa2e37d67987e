"""Owns the geometry of charts: bars by label, as numbers that a template draws as SVG.

It knows no words and no money. Every chart stands beside a table of the same figures; the picture is for
the eye alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

WIDTH: Final = 640
_LABELS: Final = 150
"""Room on the left for the names of rows."""
_FIGURES: Final = 150
"""Room on the right for the figures behind the bars."""
_BAR: Final = 14
_GAP: Final = 3
_BETWEEN: Final = 10
_PLOT: Final = WIDTH - _LABELS - _FIGURES
MOST_ROWS: Final = 60
"""Rows of one chart; more can't be read, and are in the table."""
_SHORTEST: Final = 2
"""What is not nothing is seen, however small it is."""
SERIES: Final = 4
"""Kinds of bar that the style sheet tells apart, by colour and by pattern."""


@dataclass(frozen=True, slots=True)
class Value:
    """One figure of a row.

    Attributes:
        size: how long its bar is; one unit for the whole chart. A negative one is drawn as long, and marked.
        text: the figure as it is written.
        series: which of the chart's kinds it is, from 0.
    """

    size: int
    text: str
    series: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a label with a bar for each of its values."""

    label: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its place."""

    x: int
    y: int
    width: int
    height: int
    text: str
    text_y: int
    series: int
    is_negative: bool


@dataclass(frozen=True, slots=True)
class DrawnRow:
    """A row with its place."""

    label: str
    label_y: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart to be drawn by `macros.html`, `chart`.

    Attributes:
        left_out: rows that are not drawn; the table has them.
        series: the names of the kinds of bar, for the legend; none for a single kind.
    """

    width: int
    height: int
    axis_x: int
    rows: tuple[DrawnRow, ...]
    left_out: int
    series: tuple[str, ...]


def bars(rows: Sequence[Row], series: Sequence[str] = ()) -> Chart:
    """Return the chart of some rows, the longest bar as wide as there is room.

    Args:
        series: what the kinds of bar are called, at most four; they tell more than one kind apart.
    """
    assert len(series) <= SERIES
    shown = rows[:MOST_ROWS]
    longest = max((abs(value.size) for row in shown for value in row.values), default=0)
    drawn: list[DrawnRow] = []
    top = _GAP
    for row in shown:
        placed: list[Bar] = []
        begin = top
        for value in row.values:
            placed.append(
                Bar(
                    x=_LABELS,
                    y=top,
                    width=_length(value.size, longest),
                    height=_BAR,
                    text=value.text,
                    text_y=top + _BAR - 3,
                    series=min(value.series, SERIES - 1),
                    is_negative=value.size < 0,
                )
            )
            top += _BAR + _GAP
        top = max(top, begin + _BAR + _GAP)
        drawn.append(DrawnRow(label=short(row.label), label_y=begin + _BAR - 3, bars=tuple(placed)))
        top += _BETWEEN
    return Chart(
        width=WIDTH,
        height=max(top - _BETWEEN, _BAR),
        axis_x=_LABELS,
        rows=tuple(drawn),
        left_out=len(rows) - len(shown),
        series=tuple(series),
    )


def _length(size: int, longest: int) -> int:
    """Return a bar's length, by whole numbers: sums of money are longer than a float is exact."""
    if not size or not longest:
        return 0
    return max(_SHORTEST, int(Fraction(abs(size), longest) * _PLOT))


def short(label: str, most: int = 20) -> str:
    """Return a label that fits into its room; the table has all of it."""
    return label if len(label) <= most else label[: most - 1] + "…"
