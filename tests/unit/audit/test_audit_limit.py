"""A caller causes so many lines and no more, and what is left out is counted once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger_server.rpc.audit_limit import AuditLimit

PER_SECOND, BURST, ALL_PER_SECOND, ALL_BURST, MOST_KEYS = 2, 5, 6, 12, 3
CALLS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from([0.0, 0.0, 0.0, 0.1, 1.0, 30.0]), st.booleans()),
    max_size=200,
)


def limit() -> AuditLimit[str]:
    """Return small bounds."""
    return AuditLimit(per_second=PER_SECOND, burst=BURST, all_per_second=ALL_PER_SECOND, all_burst=ALL_BURST)


@given(CALLS)
def test_each_line_is_written_or_counted_once(calls: list[tuple[str, float, bool]]) -> None:
    """In whatever order callers come, and however many of them are forgotten."""
    bounds, now = limit(), 1_000.0
    asked, written, left_out = (
        dict.fromkeys("abcdef", 0),
        dict.fromkeys("abcdef", 0),
        dict.fromkeys("abcdef", 0),
    )
    for key, seconds, looked in calls:
        now += seconds
        asked[key] += 1
        told = bounds.admit(key, now)
        if told is not None:
            written[key] += 1
            left_out[key] += told
        if looked:
            for late, count in bounds.overdue(now, after_seconds=10, most_keys=MOST_KEYS):
                assert count > 0
                left_out[late] += count
    for late, count in bounds.overdue(now, after_seconds=0, most_keys=0):
        left_out[late] += count
    assert {key: written[key] + left_out[key] for key in asked} == asked
    seconds_in_all = now - 1_000.0
    assert sum(written.values()) <= ALL_BURST + ALL_PER_SECOND * seconds_in_all
    assert list(bounds.overdue(now, after_seconds=0, most_keys=0)) == []


def test_flood_of_one_caller_leaves_room_for_others() -> None:
    """Up to what all together may have."""
    bounds = limit()
    flood = [bounds.admit("a", 0.0) for _ in range(1_000)]
    assert flood == [0] * BURST + [None] * (1_000 - BURST)
    assert bounds.admit("b", 0.0) == 0
    assert bounds.admit("a", 10.0) == 1_000 - BURST


def test_what_was_left_out_is_told_though_nothing_follows() -> None:
    """Once, after a while."""
    bounds = limit()
    for _ in range(BURST + 7):
        bounds.admit("a", 0.0)
    assert list(bounds.overdue(9.0, after_seconds=10, most_keys=9)) == []
    assert list(bounds.overdue(10.0, after_seconds=10, most_keys=9)) == [("a", 7)]
    assert list(bounds.overdue(99.0, after_seconds=10, most_keys=9)) == []
