"""Own the geometry of charts: nothing leaves the picture, nothing that is something is unseen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from console.charts import MOST_ROWS, SERIES, WIDTH, Row, Value, bars

VALUES = st.builds(
    Value, size=st.integers(-(2**70), 2**70), text=st.text(max_size=8), series=st.integers(0, SERIES)
)
ROWS = st.lists(
    st.builds(Row, label=st.text(max_size=40), values=st.lists(VALUES, max_size=3).map(tuple)), max_size=80
)


@given(ROWS)
def test_bars_stay_in_the_picture_and_below_each_other(rows: list[Row]) -> None:
    """Each figure that is not nothing has a bar; sums beyond a float are drawn, too."""
    chart = bars(rows)
    assert len(chart.rows) + chart.left_out == len(rows)
    assert len(chart.rows) <= MOST_ROWS
    below = 0
    for row, drawn in zip(rows, chart.rows, strict=False):
        for value, bar in zip(row.values, drawn.bars, strict=True):
            assert (bar.width > 0) is (value.size != 0)
            assert bar.is_negative is (value.size < 0)
            assert bar.x + bar.width < WIDTH
            assert bar.y >= below
            below = bar.y + bar.height
        assert drawn.label_y <= chart.height
    assert below <= chart.height


@given(st.integers(1, 2**70), st.integers(1, 2**70))
def test_longer_bar_is_the_larger_figure(one: int, other: int) -> None:
    """What is drawn is in proportion."""
    [drawn] = bars([Row("", (Value(one, ""), Value(other, "")))]).rows
    first, second = drawn.bars
    assert first.width <= second.width if one <= other else first.width >= second.width
