"""Own which assets an operator may add to ISO 4217."""

from __future__ import annotations

import pytest

from ledger_server.bootstrap import currencies


def test_add_asset_is_known_with_its_decimal_places() -> None:
    """Assets stand beside ISO 4217's currencies."""
    registry = currencies({"ETH": 18, "USDC.E": 6, "POINTS": 0})

    assert [registry.exponent(code) for code in ("ETH", "USDC.E", "POINTS", "EUR", "JPY")] == [18, 6, 0, 2, 0]
    assert "BTC" not in registry


@pytest.mark.parametrize("exponent", [2, 3])
def test_add_asset_that_is_iso_currency_is_refused(exponent: int) -> None:
    """Another exponent would change what every stored amount means."""
    with pytest.raises(ValueError, match="EXTRA_CURRENCIES: EUR is a currency already, with 2 decimal"):
        currencies({"EUR": exponent})


@pytest.mark.parametrize("exponent", [-1, 19])
def test_add_asset_with_impossible_decimal_places_is_refused(exponent: int) -> None:
    """An amount has 63 bits."""
    with pytest.raises(ValueError, match=f"BTC has {exponent} decimal places; 0 to 18 are possible"):
        currencies({"BTC": exponent})


@pytest.mark.parametrize("code", ["", "eur", "B TC", "BTC\n", "X" * 17])
def test_add_asset_with_broken_code_is_refused(code: str) -> None:
    """A code is what reports and people can tell apart."""
    with pytest.raises(ValueError, match="is no currency code"):
        currencies({code: 2})
