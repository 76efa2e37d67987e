"""Own the reading of files of opening balances: what is taken exactly, and what is refused with its line."""

from __future__ import annotations

import gzip
import json
import os
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.operator.opening_file import (
    MAX_LINE_BYTES,
    AmountWrong,
    BadOpenings,
    OpeningFile,
    OpeningRow,
    Wrong,
    minor_units,
)

PLACES = {"EUR": 2, "JPY": 0, "BTC": 8}
HEAD = b"player_id,currency,real,bonus\n"


def gz(data: bytes) -> bytes:
    """Return compressed bytes, the same ones each time."""
    return gzip.compress(data, mtime=0)


def read(folder: Path, data: bytes, name: str = "legacy.csv") -> list[OpeningRow | Wrong]:
    """Return the lines of a file; what it can't be read on for is the last one."""
    file = folder / name
    file.write_bytes(data)
    found: list[OpeningRow | Wrong] = []
    try:
        found.extend(OpeningFile(file, PLACES).rows())
    except BadOpenings as broken:
        # What came before it is told by the same iteration, which a test of its own looks at.
        found.append(broken.wrong)
    return found


def reasons(found: list[OpeningRow | Wrong]) -> list[tuple[int, str]]:
    """Return the lines that are refused, with their reasons."""
    return [(each.number, each.reason) for each in found if isinstance(each, Wrong)]


@pytest.mark.parametrize(
    ("text", "currency", "expected"),
    [
        ("10.05", "EUR", 1005),
        ("10.5", "EUR", 1050),
        ("10", "EUR", 1000),
        ("0", "EUR", 0),
        ("0.00", "EUR", 0),
        ("-0.01", "EUR", -1),
        ("10.0500", "EUR", 1005),
        ("007.10", "EUR", 710),
        ("100", "JPY", 100),
        ("100.000", "JPY", 100),
        ("0.00000001", "BTC", 1),
        ("92233720368547758.07", "EUR", 2**63 - 1),
        ("92233720368547758.08", "EUR", "AMOUNT_TOO_LARGE"),
        ("10.005", "EUR", "AMOUNT_NOT_EXACT"),
        ("0.5", "JPY", "AMOUNT_NOT_EXACT"),
        ("1", "XXX", "CURRENCY_UNKNOWN"),
        ("1", "eur", "CURRENCY_UNKNOWN"),
        *(
            (text, "EUR", "AMOUNT_MALFORMED")
            for text in (
                "",
                " 1",
                "1 ",
                "+1",
                "--1",
                ".5",
                "5.",
                "1e5",
                "1E5",
                "NaN",
                "nan",
                "Infinity",
                "-inf",
                "1,000.00",
                "1.000,00",
                "1'000",
                "1_000",
                "1 000",
                "0x10",
                "1/2",
                "€1",
                "1.2.3",
                "\u0661",
                "１",
                "1\u00a0000",
                "9" * 41,
                "null",
                "true",
            )
        ),
    ],
)
def test_amount_is_exact_or_refused_by_name(text: str, currency: str, expected: int | str) -> None:
    """No float, no rounding, no guess at what a separator means."""
    try:
        found: int | str = minor_units(text, currency, PLACES)
    except AmountWrong as wrong:
        found = wrong.reason

    assert found == expected


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4))
def test_any_decimal_is_taken_exactly_or_refused(amount: Decimal) -> None:
    """What Python's own decimals say in hundredths."""
    text = f"{amount:f}"
    exact = (amount * 100) % 1 == 0
    try:
        found: int | None = minor_units(text, "EUR", PLACES)
    except AmountWrong as wrong:
        assert wrong.reason == "AMOUNT_NOT_EXACT"  # noqa: PT017  # either is right for some amounts
        found = None

    assert found == (int(amount * 100) if exact else None)


@given(st.text(max_size=12))
def test_any_text_is_an_amount_only_if_it_is_digits(text: str) -> None:
    """Whatever `Decimal` and `float` would make of it."""
    try:
        minor_units(text, "BTC", PLACES)
    except AmountWrong:
        return
    assert set(text) <= set("-.0123456789")


ROWS = [OpeningRow(2, "ada", "EUR", 1005, 0), OpeningRow(3, "bob", "JPY", 7, 1)]


@pytest.mark.parametrize(
    "data",
    [
        b"player_id,currency,real,bonus\nada,EUR,10.05,0\nbob,JPY,7,1\n",
        b"player_id,currency,real,bonus\r\nada,EUR,10.05,0\r\nbob,JPY,7,1\r\n",
        b"\xef\xbb\xbfplayer_id,currency,real,bonus\r\nada,EUR,10.05,0\r\nbob,JPY,7,1",
        b'player_id,currency,real,bonus\n"ada","EUR","10.05","0"\nbob,JPY,7,1\n\n\n',
        gz(b"player_id,currency,real,bonus\nada,EUR,10.05,0\nbob,JPY,7,1\n"),
    ],
    ids=["plain", "windows", "windows with BOM", "quoted, blank lines behind", "gzip"],
)
def test_csv_is_read_whatever_its_line_ends(tmp_path: Path, data: bytes) -> None:
    """Byte order mark, Windows line ends and quotes say nothing of the content."""
    assert read(tmp_path, data) == ROWS
    assert read(tmp_path, data, "legacy.CSV.gz") == ROWS


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    """Their order is the file's, and bonus may be left out."""
    found = read(tmp_path, b"real,player_id,currency\n10.05,ada,EUR\n7,bob,JPY\n")

    assert found == [ROWS[0], OpeningRow(3, "bob", "JPY", 7, 0)]


@pytest.mark.parametrize(
    "data",
    [
        (
            b'{"player_id":"ada","currency":"EUR","real":"10.05","bonus":"0"}\n'
            b'{"player_id":"bob","currency":"JPY","real":"7","bonus":"1"}\n'
        ),
        (
            b'\xef\xbb\xbf{"real":10.05,"player_id":"ada","currency":"EUR"}\r\n'
            b'{"player_id":"bob","currency":"JPY","real":7,"bonus":1}'
        ),
    ],
    ids=["texts", "numbers"],
)
def test_json_is_read_with_amounts_as_text_or_number(tmp_path: Path, data: bytes) -> None:
    """A number is taken by its digits and never becomes a float."""
    found = read(tmp_path, data, "legacy.jsonl")

    assert found == [row._replace(number=row.number - 1) for row in ROWS]


@given(st.integers(0, 10**15))
def test_json_number_is_as_exact_as_text(minor: int) -> None:
    """Also where a float has not enough digits."""
    text = f"{minor // 100}.{minor % 100:02}"
    assert minor_units(str(json.loads(text, parse_float=str)), "EUR", PLACES) == minor


WRONG: list[tuple[str, bytes, list[tuple[int, str]]]] = [
    ("a.csv", b"", [(1, "FILE_EMPTY")]),
    ("a.jsonl", b"", [(1, "FILE_EMPTY")]),
    ("a.csv.gz", gz(b""), [(1, "FILE_EMPTY")]),
    ("a.csv", b"player_id,currency\n", [(1, "COLUMN_MISSING")]),
    ("a.csv", b"player_id,currency,real,bonus,note\n", [(1, "COLUMN_UNKNOWN")]),
    ("a.csv", b"player_id,currency,Real\n", [(1, "COLUMN_UNKNOWN")]),
    ("a.csv", b"player_id;currency;real\n", [(1, "COLUMN_UNKNOWN")]),
    ("a.csv", b"player_id,currency,real,real\n", [(1, "COLUMN_TWICE")]),
    ("a.csv", HEAD + b"ada,EUR,10.005,0\n", [(2, "AMOUNT_NOT_EXACT")]),
    ("a.csv", HEAD + b"ada,EUR,1,000.00,0\n", [(2, "LINE_MALFORMED")]),
    ("a.csv", HEAD + b'ada,EUR,"1,000.00",0\n', [(2, "AMOUNT_MALFORMED")]),
    ("a.csv", HEAD + b"ada,EUR,1\n", [(2, "LINE_MALFORMED")]),
    ("a.csv", HEAD + b"ada,EUR,,0\n", [(2, "AMOUNT_MALFORMED")]),
    ("a.csv", HEAD + b"ada,XXX,1,0\nbob,EUR,1e5,0\n", [(2, "CURRENCY_UNKNOWN"), (3, "AMOUNT_MALFORMED")]),
    ("a.csv", HEAD + b"ada,EUR,NaN,0\n", [(2, "AMOUNT_MALFORMED")]),
    ("a.csv", HEAD + b'ada,EUR,"1"x,0\n', [(2, "LINE_MALFORMED")]),
    ("a.csv", HEAD + b'ada,EUR,"1\n', [(2, "LINE_MALFORMED")]),
    ("a.csv", HEAD + b"ada,EUR,1,0\n\xff\n", [(3, "NOT_UTF8")]),
    ("a.csv", HEAD + b"x" * (MAX_LINE_BYTES + 1), [(2, "LINE_TOO_LONG")]),
    ("a.csv", "player_id,currency,real\n".encode("utf-16"), [(1, "NOT_UTF8")]),
    ("a.csv", gz(HEAD + b"ada,EUR,1,0\n" * 9)[:-10], [(2, "FILE_TRUNCATED")]),
    ("a.csv", gz(HEAD)[:12], [(1, "FILE_TRUNCATED")]),
    ("a.csv", gz(HEAD)[:-8] + bytes(8), [(2, "FILE_CORRUPT")]),
    ("a.jsonl", b"nonsense\n", [(1, "LINE_MALFORMED")]),
    ("a.jsonl", b"[1]\n", [(1, "LINE_MALFORMED")]),
    ("a.jsonl", b"[" * 50_000, [(1, "LINE_MALFORMED")]),
    ("a.jsonl", b'{"player_id":"a","currency":"EUR"}\n', [(1, "COLUMN_MISSING")]),
    ("a.jsonl", b'{"player_id":"a","currency":"EUR","real":1,"x":2}\n', [(1, "COLUMN_UNKNOWN")]),
    ("a.jsonl", b'{"player_id":"a","currency":"EUR","real":1,"real":2}\n', [(1, "COLUMN_TWICE")]),
    *(
        ("a.jsonl", b'{"player_id":"a","currency":"EUR","real":%s}\n' % value, [(1, reason)])
        for value, reason in (
            (b"10.005", "AMOUNT_NOT_EXACT"),
            (b"1e5", "AMOUNT_MALFORMED"),
            (b"NaN", "AMOUNT_MALFORMED"),
            (b"-Infinity", "AMOUNT_MALFORMED"),
            (b'"1,000"', "AMOUNT_MALFORMED"),
            (b"null", "LINE_MALFORMED"),
            (b"true", "LINE_MALFORMED"),
            (b"[1]", "LINE_MALFORMED"),
            (b'{"a":1}', "LINE_MALFORMED"),
        )
    ),
    ("a.jsonl", b'{"player_id":"\\ud800","currency":"EUR","real":1}\n', [(1, "LINE_MALFORMED")]),
    ("a.csv", HEAD + b"x" * 256 + b",EUR,1,0\n", [(2, "FIELD_TOO_LONG")]),
    ("a.jsonl", b'{"player_id":1.5,"currency":"EUR","real":1}\n', [(1, "LINE_MALFORMED")]),
    ("a.jsonl", b'{"player_id":"a","currency":978,"real":1}\n', [(1, "LINE_MALFORMED")]),
]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    WRONG,
    ids=[f"{place}-{expected[0][1]}" for place, (_, _, expected) in enumerate(WRONG)],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, name: str, data: bytes, expected: list[tuple[int, str]]
) -> None:
    """One line each; where the file can't be read on, the line from which."""
    assert reasons(read(tmp_path, data, name)) == expected


def test_line_that_is_wrong_does_not_hide_the_others(tmp_path: Path) -> None:
    """All that are wrong are told in one go."""
    found = read(tmp_path, HEAD + b"ada,EUR,1e5,0\nbob,EUR,1,0\ncy,EUR,1\n")

    assert [each.number for each in found] == [2, 3, 4]
    assert reasons(found) == [(2, "AMOUNT_MALFORMED"), (4, "LINE_MALFORMED")]


def test_number_of_a_player_is_taken_from_json(tmp_path: Path) -> None:
    """Many legacy tables have numbers as ids."""
    found = read(tmp_path, b'{"player_id":42,"currency":"EUR","real":1}\n', "a.ndjson")

    assert found == [OpeningRow(1, "42", "EUR", 100, 0)]


def test_file_that_cannot_be_read_twice_is_refused(tmp_path: Path) -> None:
    """It is read once to check it and once to post it."""
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="read twice"):
        OpeningFile(pipe, PLACES)


def test_file_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    """What it is, is said by its name."""
    file = tmp_path / "legacy.xlsx"
    file.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"\.csv"):
        OpeningFile(file, PLACES)
