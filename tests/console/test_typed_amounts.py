"""Own how typed amounts are read: exactly, in the way of the person's language, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.formats import Formats
from console.typed_amounts import (
    AMBIGUOUS,
    NO_AMOUNT,
    NOT_POSITIVE,
    TOO_FINE,
    NotAnAmount,
    signed_amount,
    typed_amount,
)
from defter_client import STANDARD

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("language", "text", "currency", "minor"),
    [
        ("tr", "1234,56", "EUR", 123_456),
        ("tr", "1.234,56", "EUR", 123_456),
        ("tr", "1.234.567", "EUR", 123_456_700),
        ("tr", " 10 ", "EUR", 1_000),
        ("tr", "0,05", "EUR", 5),
        ("tr", "1,234", "KWD", 1_234),
        ("en", "1234.56", "EUR", 123_456),
        ("en", "1,234.56", "EUR", 123_456),
        ("en", "1,234,567.8", "EUR", 123_456_780),
        ("en", "500", "JPY", 500),
        ("en", "0.000000001", "ETH", 1),
        ("en", "7", "XXQ", 7),
    ],
)
def test_amount_is_read_exactly(language: Any, text: str, currency: str, minor: int) -> None:
    """In minor units; of a currency that is not known, as minor units."""
    assert typed_amount(text, language, currency, STANDARD) == minor


@pytest.mark.parametrize(
    ("language", "text", "minor"),
    [
        ("en", "-3.5", -350),
        ("tr", "\N{MINUS SIGN}1.234,50", -123_450),
        ("en", " 0 ", 0),
        ("tr", "12", 1_200),
    ],
)
def test_amount_of_a_bank_may_have_a_sign(language: Any, text: str, minor: int) -> None:
    """More may have been taken than was paid out."""
    assert signed_amount(text, language, "EUR", STANDARD) == minor


@pytest.mark.parametrize("text", ["--1", "- 1", "-", "-1.234,", "1-"])
def test_sign_stands_once_and_in_front(text: str) -> None:
    """Anything else is no amount."""
    with pytest.raises(NotAnAmount):
        signed_amount(text, "tr", "EUR", STANDARD)


@pytest.mark.parametrize(
    ("language", "text", "sentence"),
    [
        # More than a thousand to one reader, and one and a bit to another.
        ("tr", "1.234", AMBIGUOUS),
        ("en", "1,234", AMBIGUOUS),
        ("en", "1.000", AMBIGUOUS),
        ("tr", "1,000", AMBIGUOUS),
        ("tr", "12.34", NO_AMOUNT),
        ("tr", "1.23,4", NO_AMOUNT),
        ("tr", "0.123,4", NO_AMOUNT),
        ("en", "12,34.5", NO_AMOUNT),
        ("en", "1.2.3", NO_AMOUNT),
        ("tr", "1,234", TOO_FINE),
        ("en", "1.234", TOO_FINE),
        ("en", "0", NOT_POSITIVE),
        ("en", "0.00", NOT_POSITIVE),
        ("en", "-5", NO_AMOUNT),
        ("en", "+5", NO_AMOUNT),
        ("en", "", NO_AMOUNT),
        ("en", ".5", NO_AMOUNT),
        ("en", "5.", NO_AMOUNT),
        ("en", "1e3", NO_AMOUNT),
        ("en", "0x10", NO_AMOUNT),
        ("en", "1_000", NO_AMOUNT),
        ("en", "1 000", NO_AMOUNT),
        ("en", "1\u00a0000", NO_AMOUNT),
        ("en", "\u0661\u0662", NO_AMOUNT),
        ("en", "5 EUR", NO_AMOUNT),
        ("en", "9" * 41, NO_AMOUNT),
        ("en", "9" * 30, NO_AMOUNT),
        ("en", "NaN", NO_AMOUNT),
    ],
)
def test_what_is_no_amount_is_refused_with_the_reason(language: Any, text: str, sentence: str) -> None:
    """Nothing is rounded, and nothing guessed."""
    with pytest.raises(NotAnAmount) as refused:
        typed_amount(text, language, "EUR", STANDARD)
    assert refused.value.sentence == sentence


@given(
    st.integers(1, 2**63 - 1),
    st.sampled_from(["EUR", "JPY", "KWD", "ETH", "TRY"]),
    st.sampled_from(["en", "tr"]),
)
def test_what_the_console_writes_it_reads_or_asks_about(minor: int, currency: str, language: Any) -> None:
    """Generated: an amount as it stands on a page is that amount, and never another one."""
    written = Formats(language, ZoneInfo("UTC"), STANDARD, NOW).amount(minor, currency)
    try:
        read = typed_amount(written, language, currency, STANDARD)
    except NotAnAmount as refused:
        read = minor if refused.sentence == AMBIGUOUS else 0
    assert read == minor


@given(st.text("0123456789.,", min_size=1, max_size=15))
def test_no_text_means_one_amount_in_one_language_and_another_in_the_other(text: str) -> None:
    """Generated: who types in the way of the other language is refused, or has the same amount."""
    found = set()
    for language in ("en", "tr"):
        try:
            found.add(typed_amount(text, language, "EUR", STANDARD))
        except NotAnAmount:
            continue
    assert len(found) <= 1


@given(st.text(max_size=60))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    """Generated: nothing else is raised, and no amount is outside what a ledger counts."""
    for language in ("en", "tr"):
        try:
            assert 0 < typed_amount(text, language, "EUR", None) < 2**63
        except NotAnAmount:
            continue
