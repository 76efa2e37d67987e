"""Own the table of how far behind its records a commit makes instants final."""

from __future__ import annotations

import pytest

from ledger_server.engine.lane.final_ahead import MOST_SECONDS, FinalAhead


@pytest.mark.parametrize(
    ("asked", "commits", "milliseconds"),
    [
        pytest.param(None, [(0, 2), (4, 6), (8, 10)], None, id="nobody reads by time"),
        pytest.param(0, [(0, 2)], None, id="nothing is known yet"),
        pytest.param(0, [(0, 2), (4, 6)], None, id="only one commit has come to its end"),
        pytest.param(0, [(0, 2), (4, 8), (10, 12)], 6, id="most of the time to the end of the next one"),
        pytest.param(0, [(0, 2), (8, 10), (12, 14), (20, 22)], 4.5, id="the shortest lately"),
        pytest.param(
            0,
            [(0, 1), (1, 2), *((n, n + 2) for n in range(10, 70, 8))],
            7.5,
            id="of what is long ago nothing",
        ),
        pytest.param(0, [(0, 2), (500, 502), (900, 902)], 1000 * MOST_SECONDS, id="at most the bound"),
        pytest.param(0, [(0, 2), (4, 8), (1500, 1502)], None, id="the last reader has been gone for a while"),
        pytest.param(9, [(0, 2), (4, 8), (10, 12)], 6, id="somebody began to read meanwhile"),
    ],
)
def test_commit_promises_part_of_the_time_until_the_next_one_ends_while_somebody_reads_by_time(
    asked: int | None, commits: list[tuple[int, int]], milliseconds: float | None
) -> None:
    """Too long a promise would let record times run ahead of the clock, so it is short and bounded."""
    now = 0.0
    ahead = FinalAhead(lambda: now)
    span = None
    for begin, end in commits:
        if asked is not None and now <= asked / 1000 <= begin / 1000:
            now = asked / 1000
            ahead.asked()
        now = begin / 1000
        span = ahead.begun()
        now = end / 1000
        ahead.ended()

    assert (span and round(span.total_seconds() * 1000, 3)) == milliseconds
