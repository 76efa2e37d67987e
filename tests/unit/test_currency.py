"""Own which assets an operator may add to ISO 4217, and that what is in use keeps its decimal places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.ledger.accounts import MAX_AMOUNT
from ledger_server.domain.ledger.currency import (
    MAX_EXPONENT,
    SHIPPED,
    SHIPPED_EARLIER,
    currencies_of,
    turnover_bound,
)
from ledger_server.process.bootstrap import currencies

ISO = {"EUR": 2, "JPY": 0}
REFUSED = "refused"


def test_add_asset_is_known_beside_the_shipped_ones() -> None:
    """Adding one takes none away."""
    registry = currencies({"USDC.E": 6, "POINTS": 0})

    codes = ("USDC.E", "POINTS", "EUR", "JPY", *SHIPPED)
    assert [registry.exponent(code) for code in codes] == [6, 0, 2, 0, *SHIPPED.values()]


def test_take_shipped_asset_away_leaves_the_others() -> None:
    """Null takes one away, and nothing else."""
    registry = currencies({"ETH": None})

    assert [code for code in SHIPPED if code not in registry] == ["ETH"]


def test_shipped_assets_have_serious_turnover_bounds() -> None:
    """None of them ends after what a single customer may turn over."""
    assert all(turnover_bound(exponent) > 10**9 for exponent in SHIPPED.values())


@pytest.mark.parametrize("exponent", [0, 1, 3])
def test_add_asset_that_is_iso_currency_is_refused(exponent: int) -> None:
    """Another exponent would change what every stored amount means."""
    with pytest.raises(ValueError, match="EXTRA_CURRENCIES: EUR is a currency already, with 2 decimal"):
        currencies({"EUR": exponent})


@pytest.mark.parametrize("exponent", [-1, 10, 18, 19])
def test_add_asset_with_impossible_decimal_places_is_refused_with_the_bound(exponent: int) -> None:
    """An amount has 63 bits, and so has the sum of all of them."""
    with pytest.raises(ValueError, match=rf"BTC has {exponent} decimal places; 0 to 9 .* 9,223,372,036 BTC"):
        currencies({"BTC": exponent})


@pytest.mark.parametrize("code", ["", "eur", "B TC", "BTC\n", "X" * 17])
@pytest.mark.parametrize("exponent", [2, None])
def test_add_asset_with_broken_code_is_refused(code: str, exponent: int | None) -> None:
    """A code is what reports and people can tell apart."""
    with pytest.raises(ValueError, match="is no currency code"):
        currencies({code: exponent})


# What a start makes of (what is kept, what is set), for a code that is of ISO, shipped, or neither. A missing
# entry is "-", an exponent that an earlier version left open "open".
STARTS = [
    # code, kept, set, exponent or refusal, withdrawn
    ("EUR", "-", "-", 2, False),
    ("EUR", "-", 2, 2, False),
    ("EUR", "-", 3, REFUSED, False),
    ("EUR", "-", None, REFUSED, False),
    ("EUR", 2, "-", 2, False),
    ("EUR", 3, "-", 3, False),
    ("EUR", 3, 3, 3, False),
    ("EUR", 3, 2, REFUSED, False),
    ("EUR", 2, None, REFUSED, False),
    ("ETH", "-", "-", 9, False),
    ("ETH", "-", 8, 8, False),
    ("ETH", "-", 18, REFUSED, False),
    ("ETH", "-", None, "-", False),
    ("ETH", 18, "-", 18, False),
    ("ETH", 18, 18, 18, False),
    ("ETH", 18, 9, REFUSED, False),
    ("ETH", 9, 18, REFUSED, False),
    ("ETH", 9, None, REFUSED, False),
    ("ETH", "open", "-", 18, False),
    ("ETH", "open", 18, 18, False),
    ("ETH", "open", 9, REFUSED, False),
    ("ETH", "open", None, REFUSED, False),
    ("BTC", "open", "-", 8, False),
    ("BTC", "open", 4, 4, False),
    ("OLD", "-", "-", "-", False),
    ("OLD", "-", 0, 0, False),
    ("OLD", "-", 10, REFUSED, False),
    ("OLD", "-", None, REFUSED, False),
    ("OLD", 2, "-", 2, True),
    ("OLD", 12, "-", 12, True),
    ("OLD", 2, 2, 2, False),
    ("OLD", 2, 0, REFUSED, False),
    ("OLD", 2, None, REFUSED, False),
    ("OLD", "open", "-", REFUSED, False),
    ("OLD", "open", 12, 12, False),
    ("OLD", "open", 19, REFUSED, False),
]


@pytest.mark.parametrize(("code", "kept", "wanted", "expected", "withdrawn"), STARTS)
def test_start_keeps_what_is_in_use_or_refuses_by_name(
    code: str, kept: object, wanted: object, expected: object, withdrawn: bool
) -> None:
    """What is kept counts; what contradicts it is named, and so is the currency that it is about."""
    known = {} if kept == "-" else {code: None if kept == "open" else kept}
    extra = {} if wanted == "-" else {code: wanted}
    if expected == REFUSED:
        with pytest.raises(ValueError, match=code):
            currencies_of(ISO, extra, known)  # type: ignore[arg-type]
        return

    found = currencies_of(ISO, extra, known)  # type: ignore[arg-type]

    assert found.registry.exponents().get(code, "-") == expected
    assert (code in found.withdrawn) is withdrawn
    assert all(other in found.registry for other in (*ISO, *SHIPPED) if other != code)


codes = st.sampled_from(("EUR", "JPY", "ETH", "BTC", "USDT", "POINTS", "OLD"))
places = st.none() | st.integers(-1, 19)


@given(kept=st.dictionaries(codes, st.none() | st.integers(0, 18)), extra=st.dictionaries(codes, places))
def test_start_never_changes_what_is_kept(kept: dict[str, int | None], extra: dict[str, int | None]) -> None:
    """Whatever is set, a server that starts has every currency in use, each as it is kept."""
    try:
        found = currencies_of(ISO, extra, kept)
    except ValueError:
        return

    exponents = found.registry.exponents()
    for code, exponent in kept.items():
        assert exponents[code] == (exponent if exponent is not None else exponents[code])
        if exponent is None and code in SHIPPED_EARLIER and code not in extra:
            assert exponents[code] == SHIPPED_EARLIER[code]
    assert all(exponents[code] <= MAX_EXPONENT for code in exponents if code not in kept)
    assert all(code in exponents for code in {*ISO, *SHIPPED} if code not in extra)


@given(exponent=st.integers(0, 18))
def test_turnover_bound_is_what_a_counter_holds(exponent: int) -> None:
    """One major unit more than the bound does not fit into a counter."""
    bound = turnover_bound(exponent)

    assert bound * 10**exponent <= MAX_AMOUNT < (bound + 1) * 10**exponent
