"""Own the table of minor units per provider, and the promise that nothing is rounded."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso4217 import Currency

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.process.bootstrap import currencies
from ledger_server.providers.adapter import ProviderCallKind
from ledger_server.providers.amounts import (
    AmountRefused,
    Amounts,
    CurrencyUnsupported,
    NotRepresentable,
    ProviderName,
)

LEDGER = currencies({"USDT": 6, "BTC": 8, "ETH": 9})
CODES = sorted({currency.code for currency in Currency} | {"USDT", "BTC", "ETH"})
PROVIDERS: tuple[ProviderName, ...] = ("mock", "stripe", "adyen")
AMOUNTS = [1, 5, 10, 99, 100, 101, 1_000, 1_230, 123_456, 10_000_000, 99_999_999, 100_000_000, 2**63 - 1]
MAX = 2**63 - 1

CHARGE, PAYOUT, REFUND = (
    ProviderCallKind.CREATE_PAYMENT,
    ProviderCallKind.CREATE_PAYOUT,
    ProviderCallKind.REFUND,
)
NONE = None
ZERO_DECIMAL = ["JPY", "KRW", "VND", "XAF", "XOF", "XPF", "PYG", "RWF", "GNF", "KMF", "DJF", "BIF", "VUV"]
THREE_DECIMAL = ["BHD", "JOD", "KWD", "OMR", "TND"]


@pytest.mark.parametrize("kind", list(ProviderCallKind))
@pytest.mark.parametrize("provider", PROVIDERS)
def test_convert_there_and_back_is_identity_or_refused(
    provider: ProviderName, kind: ProviderCallKind
) -> None:
    """For every provider, currency and call: the same amount comes back, or a named refusal."""
    amounts = Amounts(provider, LEDGER)

    converted = 0
    for currency, amount in itertools.product(CODES, AMOUNTS):
        try:
            there = amounts.to_provider(amount, currency, kind)
        except (CurrencyUnsupported, NotRepresentable):
            continue
        converted += 1
        assert 0 < there <= MAX, currency
        assert amounts.from_provider(there, currency) == amount, currency
    assert converted > 1_000


@given(amount=st.integers(1, MAX), currency=st.sampled_from(CODES), provider=st.sampled_from(PROVIDERS))
def test_receive_any_amount_is_exact_or_refused(amount: int, currency: str, provider: ProviderName) -> None:
    """What a provider states is worth the same in the ledger, however odd it is."""
    amounts = Amounts(provider, LEDGER)
    try:
        received = amounts.from_provider(amount, currency)
        hundredfold = amounts.from_provider(amount * 100, currency) if amount < MAX // 100_000 else 0
    except AmountRefused:
        return

    assert received > 0
    assert hundredfold in (0, received * 100)


# One major unit of each: what the ledger calls it, and what the provider does.
@pytest.mark.parametrize(
    ("currency", "ledger", "stripe", "adyen"),
    [
        *((code, 1, 1, 1) for code in ZERO_DECIMAL),
        *((code, 1_000, 1_000, 1_000) for code in THREE_DECIMAL),
        ("EUR", 100, 100, 100),
        ("CLP", 1, 1, 100),
        ("ISK", 1, 100, 100),
        ("UGX", 1, 100, 1),
        ("MGA", 100, 1, 100),
        ("HUF", 100, 100, 100),
        ("TWD", 100, 100, 100),
        ("CVE", 100, 100, 1),
        ("IDR", 100, 100, 1),
        ("CLF", 10_000, NONE, NONE),
        ("USDT", 1_000_000, NONE, NONE),
    ],
)
def test_convert_one_major_unit_matches_table(
    currency: str, ledger: int, stripe: int | None, adyen: int | None
) -> None:
    """The table of facts, row by row, for every kind of call."""
    for provider, expected in (("stripe", stripe), ("adyen", adyen)):
        amounts = Amounts("stripe" if provider == "stripe" else "adyen", LEDGER)
        for kind in ProviderCallKind:
            if expected is None:
                with pytest.raises(CurrencyUnsupported):
                    amounts.to_provider(ledger, currency, kind)
            else:
                assert amounts.to_provider(ledger, currency, kind) == expected


@pytest.mark.parametrize(
    ("provider", "kind", "currency", "amount", "expected"),
    [
        # Half a forint can be charged, and not be paid out.
        ("stripe", CHARGE, "HUF", 1_050, 1_050),
        ("stripe", REFUND, "HUF", 1_050, 1_050),
        ("stripe", PAYOUT, "HUF", 1_050, NONE),
        ("stripe", PAYOUT, "HUF", 1_100, 1_100),
        ("stripe", PAYOUT, "TWD", 1_001, NONE),
        # Of three decimals the last is 0 in charges.
        *(("stripe", CHARGE, code, 1_001, NONE) for code in THREE_DECIMAL),
        *(("stripe", REFUND, code, 1_001, NONE) for code in THREE_DECIMAL),
        *(("stripe", PAYOUT, code, 1_001, 1_001) for code in THREE_DECIMAL),
        *(("adyen", CHARGE, code, 1_001, 1_001) for code in THREE_DECIMAL),
        # What the provider has no decimals for must be whole.
        ("stripe", CHARGE, "MGA", 150, NONE),
        ("adyen", CHARGE, "CVE", 150, NONE),
        ("adyen", CHARGE, "IDR", 150, NONE),
        ("adyen", PAYOUT, "IDR", 1_500_000_00, 1_500_000),
        # Eight digits at Stripe, twelve of rupiah.
        ("stripe", CHARGE, "EUR", 99_999_999, 99_999_999),
        ("stripe", CHARGE, "EUR", 100_000_000, NONE),
        ("stripe", CHARGE, "ISK", 999_999, 99_999_900),
        ("stripe", CHARGE, "ISK", 1_000_000, NONE),
        ("stripe", CHARGE, "IDR", 999_999_999_999, 999_999_999_999),
        ("stripe", CHARGE, "IDR", 1_000_000_000_000, NONE),
        ("adyen", CHARGE, "EUR", MAX, MAX),
        ("adyen", CHARGE, "CLP", MAX, NONE),
        ("mock", CHARGE, "ISK", 7, 7),
    ],
)
def test_send_amount_follows_provider_rules(
    provider: ProviderName, kind: ProviderCallKind, currency: str, amount: int, expected: int | None
) -> None:
    """Each rule about what may be sent, at its edge."""
    amounts = Amounts(provider, LEDGER)

    if expected is None:
        with pytest.raises(NotRepresentable):
            amounts.to_provider(amount, currency, kind)
    else:
        assert amounts.to_provider(amount, currency, kind) == expected


@pytest.mark.parametrize(
    ("provider", "currency", "amount", "expected"),
    [
        ("stripe", "ISK", 500, 5),
        ("stripe", "ISK", 550, NONE),
        ("stripe", "ISK", -500, -5),
        ("stripe", "KWD", 1_001, 1_001),
        ("stripe", "EUR", 123_456_789_012, 123_456_789_012),
        ("stripe", "MGA", 3, 300),
        ("adyen", "CLP", 1_234_00, 1_234),
        ("adyen", "CLP", 1_234_01, NONE),
        ("adyen", "CVE", 12, 1_200),
    ],
)
def test_receive_amount_counts_decimals_alone(
    provider: ProviderName, currency: str, amount: int, expected: int | None
) -> None:
    """What happened is taken even where it could not have been sent, unless the ledger cannot write it."""
    amounts = Amounts(provider, LEDGER)

    if expected is None:
        with pytest.raises(NotRepresentable):
            amounts.from_provider(amount, currency)
    else:
        assert amounts.from_provider(amount, currency) == expected


def test_refuse_amount_carries_what_it_was() -> None:
    """Whoever catches a refusal can say what was refused, without reading its text."""
    with pytest.raises(AmountRefused) as refusal:
        Amounts("adyen", LEDGER).to_provider(150, "CVE", PAYOUT)

    assert (refusal.value.provider, refusal.value.currency, refusal.value.amount) == ("adyen", "CVE", 150)


def test_convert_with_other_ledger_follows_its_exponents() -> None:
    """The ledger's exponents are those handed in, whatever ISO says."""
    amounts = Amounts("stripe", CurrencyRegistry({"JPY": 2}))

    assert amounts.to_provider(500, "JPY", CHARGE) == 5
    assert amounts.from_provider(5, "JPY") == 500
    with pytest.raises(CurrencyUnsupported):
        amounts.to_provider(500, "EUR", CHARGE)
