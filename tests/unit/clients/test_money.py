"""Decimals become minor units exactly, or not at all."""

from __future__ import annotations

from decimal import Decimal, Inexact, localcontext
from typing import Any

import pytest
from defter.ledger.v1 import tenant_pb2
from hypothesis import given
from hypothesis import strategies as st

from defter_client import STANDARD, AmountNotExact, Currencies, CurrencyNotKnown, Money

MOST = 2**63 - 1


@given(st.sampled_from(["JPY", "EUR", "KWD", "USDT", "ETH"]), st.integers(-MOST, MOST))
def test_there_and_back(code: str, minor: int) -> None:
    """Whatever can be counted is what it was, by each way of writing it."""
    money = Money(minor, code)
    for amount in (STANDARD.decimal(money), f"{STANDARD.decimal(money):f}"):
        assert STANDARD.money(amount, code) == money


@given(st.decimals(allow_nan=True, allow_infinity=True), st.sampled_from(["JPY", "EUR", "KWD"]))
def test_any_decimal_is_exact_or_refused(amount: Decimal, code: str) -> None:
    """Nothing is rounded."""
    try:
        money = STANDARD.money(amount, code)
    except AmountNotExact:
        return
    assert STANDARD.decimal(money) == amount


@pytest.mark.parametrize(
    ("amount", "code", "minor"),
    [
        ("10.50", "EUR", 1050),
        ("10.5", "EUR", 1050),
        ("-0.01", "EUR", -1),
        (7, "JPY", 7),
        ("0.000001", "USDT", 1),
    ],
)
def test_amount(amount: Any, code: str, minor: int) -> None:
    """The usual ones."""
    assert STANDARD.money(amount, code) == Money(minor, code)


@pytest.mark.parametrize(
    "amount",
    [
        *("10.005", "", " 1", "1,5", "1e2", "٣", "1.2.3", "--1", "nan", "1_000", "9" * 30),
        *(f"1.{'0' * 40}1", f"1.{'0' * 400}1", "9" * 400),
        *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1E+30"), Decimal("1E+999999")),
    ],
)
def test_what_is_not_exact_is_refused(amount: Any) -> None:
    """No digit is lost in silence."""
    with pytest.raises(AmountNotExact):
        STANDARD.money(amount, "EUR")


@pytest.mark.parametrize("amount", [10.5, True, None, b"1", 1j])
def test_what_has_no_exact_decimals_is_refused(amount: Any) -> None:
    """A float is not an amount, whatever it looks like."""
    with pytest.raises(TypeError):
        STANDARD.money(amount, "EUR")


def test_what_a_ledger_counts_in_is_binding() -> None:
    """A currency of its own, and one with other decimal places."""
    told = [tenant_pb2.Currency(currency_code="EUR", decimal_places=3)]
    own = Currencies.of(told)
    assert own.money("1.234", "EUR") == Money(1234, "EUR")
    with pytest.raises(CurrencyNotKnown):
        own.money("1", "USD")
    assert STANDARD.text(Money(-5, "EUR")) == "-0.05 EUR"


def test_amounts_are_exact_whatever_decimal_context_the_caller_has() -> None:
    """A process that rounds to six digits does not round these."""
    with localcontext() as context:
        context.prec = 6
        context.traps[Inexact] = True

        money = STANDARD.money("12345678.91", "EUR")

        assert money.amount_minor == 1_234_567_891
        assert STANDARD.decimal(money) == Decimal("12345678.91")
        assert STANDARD.text(money) == "12345678.91 EUR"
        with pytest.raises(AmountNotExact):
            STANDARD.money("92233720368547758.08", "EUR")
