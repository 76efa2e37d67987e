"""What operators type is read one way, or refused with a word on how to say it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer
from defter.reconciliation.v1 import finding_pb2

from ledger_server.operator import words
from ledger_server.operator.words import Window

NOW = datetime(2026, 11, 20, 17, 46, 33, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("1d12h", timedelta(hours=36)),
        ("1w", timedelta(days=7)),
        ("0s", timedelta(0)),
    ],
)
def test_read_duration_adds_its_parts_up(text: str, expected: timedelta) -> None:
    """Numbers with units, as many as wanted."""
    assert words.duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "1", "h", "-1h", "1.5h", "1 h", "1y", "1H", "1h ", "٣h", "9999w", "999999999w", "9" * 40 + "s"],
)
def test_read_duration_that_is_none_says_how(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"length of time|too long"):
        words.duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-19", datetime(2026, 11, 19, tzinfo=UTC)),
        ("2026-11-19T10:30", datetime(2026, 11, 19, 10, 30, tzinfo=UTC)),
        ("2026-11-19T10:30Z", datetime(2026, 11, 19, 10, 30, tzinfo=UTC)),
        ("2026-11-19 10:30:15", datetime(2026, 11, 19, 10, 30, 15, tzinfo=UTC)),
        ("2026-11-19T00:30+01:00", datetime(2026, 11, 18, 23, 30, tzinfo=UTC)),
    ],
)
def test_read_time_is_utc(text: str, expected: datetime) -> None:
    """Without a zone it is UTC; with one it is converted."""
    found = words.moment(text)

    assert found == expected
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-02-30", "2026-11-19T25:00", "0001-01-01T00:00+05:00"]
)
def test_read_time_that_is_none_says_how(text: str) -> None:
    """Even one that lies before all calendars."""
    with pytest.raises(ValueError, match="is no time"):
        words.moment(text)


def test_read_day_is_whole_day_in_utc() -> None:
    """From midnight to midnight."""
    begin = datetime(2026, 11, 19, tzinfo=UTC)

    assert words.day("2026-11-19") == Window(begin, begin + timedelta(days=1))


@pytest.mark.parametrize("text", ["", "2026-11-19T10:00", "2026-13-01", "9999-12-31"])
def test_read_day_that_is_none_says_how(text: str) -> None:
    """A day has no hour, and one more behind it."""
    with pytest.raises(ValueError, match="is no day"):
        words.day(text)


@pytest.mark.parametrize(
    ("last", "begin", "end"),
    [
        ("1d", "2026-11-19T17:00", "2026-11-20T17:00"),
        ("1w", "2026-11-13T17:00", "2026-11-20T17:00"),
        ("2h", "2026-11-20T15:46", "2026-11-20T17:46"),
    ],
)
def test_window_of_last_span_ends_at_full_hour_or_minute(last: str, begin: str, end: str) -> None:
    """So that a retry within the hour, or the minute, says the same window."""
    found = words.window(NOW, from_=None, to=None, last=words.duration(last), on=None)

    assert found == Window(words.moment(begin), words.moment(end))


def test_window_without_end_ends_at_full_minute() -> None:
    """What has no end ends now, as nearly as a retry can say again."""
    found = words.window(NOW, from_=NOW - timedelta(hours=1), to=None, last=None, on=None)

    assert found == Window(NOW - timedelta(hours=1), NOW.replace(second=0, microsecond=0))


def test_read_name_takes_any_case_and_dashes() -> None:
    """As the contract writes it, or as fingers do; a number is none."""
    read = words.one_of(finding_pb2.FindingClass.DESCRIPTOR, "FINDING_CLASS_")

    assert (
        read("missing-in-ledger") == read("MISSING_IN_LEDGER") == finding_pb2.FINDING_CLASS_MISSING_IN_LEDGER
    )
    for text in ("UNSPECIFIED", "1", "", "FINDING_CLASS_MISSING_IN_LEDGER"):
        with pytest.raises(typer.BadParameter, match="is none of MISSING_IN_LEDGER, "):
            read(text)
