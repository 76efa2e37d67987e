"""Amounts are shown in major units, exactly."""

from __future__ import annotations

import pytest

from ledger_server.operator.money import Money


@pytest.mark.parametrize(
    ("amount_minor", "currency", "expected"),
    [
        (0, "EUR", "0.00 EUR"),
        (5, "EUR", "0.05 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (123456789, "EUR", "1,234,567.89 EUR"),
        (-100, "EUR", "-1.00 EUR"),
        (1234, "JPY", "1,234 JPY"),
        (1234, "BHD", "1.234 BHD"),
        (2**63 - 1, "EUR", "92,233,720,368,547,758.07 EUR"),
        (-(2**63), "EUR", "-92,233,720,368,547,758.08 EUR"),
        (1_000_001, "USDT", "1.000001 USDT"),
        (1500, "XYZ9", "1,500 minor units of XYZ9"),
        (1500, "", "1,500 minor units of no currency"),
    ],
)
def test_show_amount_is_exact(amount_minor: int, currency: str, expected: str) -> None:
    """Each currency has its own places; one that is not known here is not guessed."""
    money = Money({"EUR": 2, "JPY": 0, "BHD": 3, "USDT": 6})

    assert money.show(amount_minor, currency) == expected


PLACES = {"EUR": 2, "JPY": 0, "BHD": 3, "USDT": 6}


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("25", "EUR", 2_500),
        ("25.5", "EUR", 2_550),
        ("25.50", "EUR", 2_550),
        ("0.01", "EUR", 1),
        ("007", "JPY", 7),
        ("1.234", "BHD", 1_234),
        ("92233720368547758.07", "EUR", 2**63 - 1),
    ],
)
def test_read_amount_is_exact(amount: str, currency: str, expected: int) -> None:
    """What is typed in major units becomes minor ones without rounding."""
    assert Money(PLACES).minor(amount, currency) == expected


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("0", "EUR"),
        ("0.00", "EUR"),
        ("-1", "EUR"),
        ("+1", "EUR"),
        ("1.001", "EUR"),
        ("1.0", "JPY"),
        ("1.", "EUR"),
        (".5", "EUR"),
        ("", "EUR"),
        (".", "EUR"),
        ("1,5", "EUR"),
        ("1 000", "EUR"),
        ("1e3", "EUR"),
        ("٣", "EUR"),
        ("9" * 41, "EUR"),
        ("1", "XYZ"),
        ("1", ""),
    ],
)
def test_read_what_is_no_amount_is_refused(amount: str, currency: str) -> None:
    """Nothing is guessed, cut or rounded."""
    with pytest.raises(ValueError, match=r".+"):
        Money(PLACES).minor(amount, currency)
