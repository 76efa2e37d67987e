"""Own how report files are read whatever their bytes are: layout, damage, and bytes split anywhere."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.errors import ReportMalformed
from ledger_server.domain.reconciliation.settlement import ReportFormat, SettlementLine
from ledger_server.providers.report_rows import MAX_ROW_BYTES
from ledger_server.providers.settlement_reports import MAX_PROBLEMS, ReportReader
from tests.unit.reconciliation.files import LEDGER, cut, file_of, problems, read, rows_of, sample

STRIPE = ReportFormat.STRIPE_PAYOUT_RECONCILIATION
ADYEN = ReportFormat.ADYEN_SETTLEMENT_DETAILS
SAMPLES = {
    STRIPE: sample("stripe_payout_reconciliation.csv"),
    ADYEN: sample("adyen_settlement_details.csv"),
}
BOTH = pytest.mark.parametrize("report_format", list(SAMPLES), ids=lambda item: item.name)
UNREAD = {STRIPE: "description", ADYEN: "Payment Method"}


def unnumbered(lines: list[SettlementLine]) -> list[SettlementLine]:
    """Return lines as they are wherever they stand."""
    return [replace(line, line_number=0) for line in lines]


@BOTH
def test_read_sample_numbers_lines_as_an_editor_does(report_format: ReportFormat) -> None:
    """The header is line 1, and each line has its own identity."""
    lines = read(report_format, SAMPLES[report_format])

    assert [line.line_number for line in lines] == list(range(2, 2 + len(lines)))
    assert len({line.line_id for line in lines}) == len(lines) == len(rows_of(SAMPLES[report_format]))


@BOTH
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda rows: file_of(rows, line_end="\r\n"), id="CRLF"),
        pytest.param(lambda rows: b"\xef\xbb\xbf" + file_of(rows), id="BOM"),
        pytest.param(lambda rows: b"\xef\xbb\xbf" + file_of(rows, quoted=True), id="BOM and all quoted"),
        pytest.param(lambda rows: file_of(rows, reversed(rows[0])), id="columns in another order"),
        pytest.param(
            lambda rows: file_of([{"New, column": 'a "b", c', **row, "": "x"} for row in rows]),
            id="unknown columns",
        ),
        pytest.param(lambda rows: file_of(rows).replace(b"\n", b"\n\n"), id="blank lines"),
    ],
)
def test_read_other_layout_gives_the_same_lines(
    report_format: ReportFormat, change: Callable[[list[dict[str, str]]], bytes]
) -> None:
    """Only the names of columns count, not their order, number, quotes or line ends."""
    data = SAMPLES[report_format]

    changed = read(report_format, change(rows_of(data)))

    assert unnumbered(changed) == unnumbered(read(report_format, data))


@BOTH
def test_read_cell_with_line_breaks_keeps_line_numbers(report_format: ReportFormat) -> None:
    """A quoted cell may span lines; the next row's number is where it stands."""
    rows = rows_of(SAMPLES[report_format])
    rows[0][UNREAD[report_format]] = "one\ntwo\r\n\nfour"

    lines = read(report_format, file_of(rows))

    assert [line.line_number for line in lines[:3]] == [2, 6, 7]


@BOTH
def test_read_file_twice_gives_the_same_lines(report_format: ReportFormat) -> None:
    """Nothing of a line depends on when or where it is read."""
    assert read(report_format, SAMPLES[report_format]) == read(report_format, SAMPLES[report_format])


@BOTH
@given(points=st.lists(st.integers(0, 10_000), max_size=12))
def test_read_bytes_split_anywhere_gives_the_same_lines(
    report_format: ReportFormat, points: list[int]
) -> None:
    """Chunks may end within a line, a quote, a character or the BOM, and may be empty."""
    rows = rows_of(SAMPLES[report_format])
    rows[1][UNREAD[report_format]] = 'a "quoted",\r\nşölen 🎰'
    data = b"\xef\xbb\xbf" + file_of(rows, line_end="\r\n")

    assert read(report_format, cut(data, points)) == read(report_format, data)


@BOTH
def test_read_byte_by_byte_gives_the_same_lines(report_format: ReportFormat) -> None:
    """Even one byte at a time."""
    data = SAMPLES[report_format]

    assert read(report_format, (bytes([byte]) for byte in data)) == read(report_format, data)


@BOTH
def test_read_header_alone_gives_no_lines(report_format: ReportFormat) -> None:
    """A day without movements is a report too."""
    assert read(report_format, SAMPLES[report_format].split(b"\n")[0] + b"\n") == []


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_read_nothing_is_refused(data: bytes) -> None:
    """A file without a header is no report."""
    assert len(problems(ADYEN, data)) == 1


@BOTH
@pytest.mark.parametrize(
    ("damage", "line", "sentence"),
    [
        (lambda data: data[:-1], -1, "does not end with a line break"),
        (lambda data: data[: -len(data.split(b"\n")[-2]) // 2], -1, "does not end with a line break"),
        (lambda data: data.replace(b"2026-10", b'"2026-10', 1), 2, "never closed"),
        (lambda data: data.replace(b"2026-10", b'20"26-10', 1), 2, "never closed"),
        (lambda data: data.replace(b"2026-10", b'20"26-10', 2), 2, "is no time of the form"),
        (lambda data: data.replace(b"2026-10", b'"2026"-10', 1), 2, "not CSV"),
        (lambda data: data.replace(b",2026-10", b",20\r26-10", 1), 2, "not CSV"),
        (lambda data: data.replace(b"EUR,", b"EU\0R,").replace(b"eur,", b"eu\0r,"), 2, "a NUL byte"),
        (lambda data: data.replace(b"2026-10", b"\xff\xfe2026-10", 1), 2, "not UTF-8"),
        (lambda data: data.decode().encode("utf-16"), 1, "not UTF-8"),
        (lambda data: data.replace(b"\n", b"\r"), 1, "does not end with a line break"),
        (lambda data: data.replace(b"2026-10", b"9" * 1_000_000, 1), 2, "more than 65536 bytes"),
        (lambda data: data[:0] + b"9" * 10_000_000, 1, "more than 65536 bytes"),
        (lambda data: b"\x89PNG\r\n\x1a\n" + data, 1, "not UTF-8"),
        (lambda data: data.replace(b",", b";"), 1, "is missing"),
        (lambda data: data[:0] + b"<html><body>502</body></html>\n", 1, "is missing"),
        (lambda data: data.replace(b"\n", b",surplus\n").replace(b",surplus", b"", 1), 2, "cells where the"),
    ],
)
def test_read_damaged_file_is_refused_with_its_line(
    report_format: ReportFormat, damage: Callable[[bytes], bytes], line: int, sentence: str
) -> None:
    """What is no whole CSV file in UTF-8 with the documented columns is refused as a whole."""
    data = damage(SAMPLES[report_format])
    number = data.count(b"\n") + 1 if line == -1 else line

    found = problems(report_format, data)

    assert found[0].startswith(f"line {number}: ")
    assert sentence in found[0]


@BOTH
@given(data=st.binary(max_size=300), at=st.integers(0, 10_000), drop=st.integers(0, 50))
def test_read_hostile_bytes_is_read_or_refused(
    report_format: ReportFormat, data: bytes, at: int, drop: int
) -> None:
    """Whatever bytes come, the only error is that the report is malformed."""
    good = SAMPLES[report_format]
    at %= len(good)
    for hostile in (data, good[:at] + data + good[at + drop :]):
        with suppress(ReportMalformed):
            read(report_format, hostile)


@BOTH
def test_read_file_cut_off_anywhere_is_refused_or_ends_with_a_line(report_format: ReportFormat) -> None:
    """A file that was cut within a line is never taken for a shorter one."""
    data = SAMPLES[report_format]
    for end in range(data.index(b"\n") + 1, len(data)):
        if data[end - 1 : end] != b"\n":
            assert problems(report_format, data[:end])


def test_read_row_of_the_largest_size_passes_and_one_more_byte_does_not() -> None:
    """The bound of a row is exact, however its bytes come."""
    rows = rows_of(SAMPLES[ADYEN])[:1]
    rest = len(file_of(rows).split(b"\n")[1]) + 1 - len(rows[0]["Payment Method"])
    for size, passes in ((MAX_ROW_BYTES, True), (MAX_ROW_BYTES + 1, False)):
        rows[0]["Payment Method"] = "x" * (size - rest)
        data = file_of(rows)
        for chunks in ([data], cut(data, range(0, len(data), 1_000))):
            if passes:
                assert len(read(ADYEN, chunks)) == 1
            else:
                assert "more than 65536 bytes" in problems(ADYEN, chunks)[0]


@BOTH
def test_read_many_wrong_rows_tells_the_first_ten(report_format: ReportFormat) -> None:
    """All problems with their lines, as far as a person wants to read them, and then it stops."""
    net, currency = ("net", "currency") if report_format is STRIPE else ("Net Currency", "Net Currency")
    row = rows_of(SAMPLES[report_format])[0]
    good = [row, {**row, net: "ZZZ", currency: "ZZZ"}]

    found = problems(report_format, file_of(good * 50))

    assert [re.match(r"line (\d+): ", problem)[1] for problem in found] == [  # type: ignore[index]
        str(number) for number in range(3, 3 + 2 * MAX_PROBLEMS, 2)
    ]


@BOTH
def test_read_tenth_wrong_row_ends_the_reading(report_format: ReportFormat) -> None:
    """A file that is refused need not be sent to its end."""
    header = SAMPLES[report_format].split(b"\n")[0] + b"\n"
    reader = ReportReader(report_format, LEDGER)

    assert reader.feed(header + b"wrong\n" * (MAX_PROBLEMS - 1)) == []
    with pytest.raises(ReportMalformed):
        reader.feed(b"wrong\n")


def test_read_other_file_tells_no_more_than_ten_missing_columns() -> None:
    """A refusal stays short whatever the file is."""
    assert len(problems(ADYEN, b"a,b\n1,2\n")) == MAX_PROBLEMS


@BOTH
def test_read_missing_columns_names_them_all(report_format: ReportFormat) -> None:
    """One look at the refusal tells what to ask the vendor for."""
    rows = rows_of(SAMPLES[report_format])
    missing = ["gross", "reporting_category"] if report_format is STRIPE else ["Type", "Net Debit (NC)"]

    found = problems(report_format, file_of(rows, [name for name in rows[0] if name not in missing]))

    assert sorted(found) == sorted(f"line 1: the column {name} is missing" for name in missing)


@BOTH
def test_read_column_twice_is_refused(report_format: ReportFormat) -> None:
    """Which of the two would count is not ours to say."""
    names = b",".join(b"name %d" % number for number in range(200))

    assert problems(report_format, b"a,b,a\n") == ["line 1: columns that are there twice: 'a'"]
    assert len(problems(report_format, names + b"," + names + b"\n")[0]) < 200


@BOTH
def test_read_wrong_file_hands_out_nothing_after_the_problem(report_format: ReportFormat) -> None:
    """Lines of a file that is refused are not even offered from there on."""
    first, *others = SAMPLES[report_format].splitlines(keepends=True)
    reader = ReportReader(report_format, LEDGER)

    assert reader.feed(first + others[0]) != []
    assert reader.feed(b"only,three,cells\n") == []
    assert reader.feed(others[1]) == []
    with pytest.raises(ReportMalformed) as refused:
        reader.finish()
    assert refused.value.metadata["line"] == "3"
    assert refused.value.metadata["problems"].startswith("line 3: 3 cells where the header has ")


def test_read_long_reference_is_refused() -> None:
    """What is kept has a bound, and a sentence about it is short."""
    row = {**rows_of(SAMPLES[ADYEN])[0], "Merchant Reference": "d" * 256}

    (problem,) = problems(ADYEN, file_of([row]))

    assert problem == "line 2: Merchant Reference has 256 characters, more than 255"


AMOUNTS = [
    ("1,234.56", "is no plain decimal"),
    ("1.234,56", "is no plain decimal"),
    ("12,50", "is no plain decimal"),
    ("1e3", "is no plain decimal"),
    ("1E+3", "is no plain decimal"),
    ("0x10", "is no plain decimal"),
    ("NaN", "is no plain decimal"),
    ("Infinity", "is no plain decimal"),
    ("+5.00", "is no plain decimal"),
    ("5.", "is no plain decimal"),
    (".5", "is no plain decimal"),
    ("--5", "is no plain decimal"),
    (" 5.00", "is no plain decimal"),
    ("5 000", "is no plain decimal"),
    ("1_000", "is no plain decimal"),
    ("€5", "is no plain decimal"),
    ("５.００", "is no plain decimal"),
    ("(5.00)", "is no plain decimal"),
    ("9" * 200, "is no plain decimal"),
    ("9" * 300, "has 300 characters"),
    ("99999999999999999.99", "more than 64 bits"),
    ("5.001", "is no whole number of minor units"),
    ("0.000000000000000001", "is no whole number of minor units"),
]


@pytest.mark.parametrize(("written", "sentence"), AMOUNTS)
def test_read_amount_that_is_no_plain_decimal_is_refused(written: str, sentence: str) -> None:
    """No other notation, no rounding, nothing beyond 64 bits, by either vendor."""
    stripe = {**rows_of(SAMPLES[STRIPE])[0], "gross": written}
    adyen = {**rows_of(SAMPLES[ADYEN])[0], "Net Credit (NC)": written}

    for report_format, row in ((STRIPE, stripe), (ADYEN, adyen)):
        (problem,) = problems(report_format, file_of([row]))
        assert sentence in problem
        assert len(problem) < 200


def test_read_local_times_in_a_named_zone_refuses_the_hour_that_comes_twice() -> None:
    """A local time is one instant, or it is refused; the zone is never guessed."""
    rows = rows_of(SAMPLES[STRIPE])[:1]
    columns = [name for name in rows[0] if name != "created_utc"]
    berlin = ZoneInfo("Europe/Berlin")
    data = {
        time: file_of([{**rows[0], "created": time}], columns)
        for time in ("2026-10-01 10:15:02", "2026-10-25 02:30:00", "2026-03-29 02:30:00")
    }
    summer, twice, never = data.values()

    assert "add the column created_utc" in problems(STRIPE, summer)[0]
    (line,) = read(STRIPE, summer, time_zone=berlin)
    assert line.create_time == read(STRIPE, SAMPLES[STRIPE])[0].create_time
    assert line.create_time.utcoffset() == timedelta(0)
    assert "is no one time in Europe/Berlin" in problems(STRIPE, twice, time_zone=berlin)[0]
    assert "is no one time in Europe/Berlin" in problems(STRIPE, never, time_zone=berlin)[0]
    for zone in (UTC, timezone(timedelta(hours=2))):
        assert len(read(STRIPE, twice, time_zone=zone)) == 1


@BOTH
def test_read_rows_in_any_order_gives_the_same_lines(report_format: ReportFormat) -> None:
    """A line is the same wherever in the file it stands."""
    rows = rows_of(SAMPLES[report_format])
    straight = unnumbered(read(report_format, file_of(rows)))
    random.Random(7).shuffle(rows)

    shuffled = unnumbered(read(report_format, file_of(rows)))

    assert sorted(shuffled, key=lambda line: line.line_id) == sorted(straight, key=lambda line: line.line_id)
