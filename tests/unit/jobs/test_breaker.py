"""A provider that does not answer is left alone, and asked now and then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger_server.jobs.breaker import Breaker

THRESHOLD = 3
FIRST, LONGEST = 1.0, 8.0


def breaker() -> Breaker:
    """Return one that has heard nothing yet."""
    return Breaker(threshold=THRESHOLD, first_pause_seconds=FIRST, max_pause_seconds=LONGEST)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 10)), max_size=60))
def test_note_any_answers_opens_only_after_silences_in_a_row(heard: list[tuple[bool, float]]) -> None:
    """Open: so many silences came since the last answer; a pause is never longer than the longest."""
    one, now, silences = breaker(), 0.0, 0
    for answered, passed in heard:
        now += passed
        silences = 0 if answered else silences + 1
        if answered:
            one.answered()
        else:
            one.silent(now)
        assert one.is_open is (silences >= THRESHOLD)
        assert 0 <= one.pause_left(now) <= LONGEST
        assert one.allowed(now, 0) is (one.pause_left(now) == 0)
        assert one.allowed(now + LONGEST, 0)
        assert one.allowed(now + LONGEST, 1) is not one.is_open


def test_note_silence_of_each_probe_doubles_the_pause() -> None:
    """The longer it says nothing, the more seldom it is asked, up to a bound."""
    one, now, pauses = breaker(), 0.0, []
    for _ in range(THRESHOLD):
        one.silent(now)
    for _ in range(5):
        pauses.append(one.pause_left(now))
        now += pauses[-1]
        one.silent(now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_note_silences_that_were_under_way_when_it_opened_says_nothing_new() -> None:
    """Sixteen calls that time out together are one reason to wait."""
    one = breaker()
    for _ in range(16):
        one.silent(0.0)
    assert one.pause_left(0.0) == FIRST
