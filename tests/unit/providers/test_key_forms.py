"""API keys that can't be right are refused at start, by what is wrong with them, and never repeated."""

import itertools

import pytest

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.providers.registry import accounts_from, make_providers
from tests.support.providers import CURRENCIES

KEY = "AbC123xyz789QwErTy"
GOOD = {
    "mock": [KEY, "mock-token"],
    "stripe": [f"sk_test_{KEY}", f"rk_live_{KEY}"],
    "adyen": [f"AQE{KEY}^{{'4\"-x", f"AQE.{KEY}+/="],
}
# What is wrong, and how it is made of a good key.
SPOILT = {
    "byte order mark": [lambda key: "\ufeff" + key],
    "quote": [lambda key: f'"{key}"', lambda key: f"'{key}'", lambda key: f"“{key}”"],
    "blank": [lambda key: f"{key[:5]} {key[5:]}", lambda key: f"{key[:5]}\n{key[5:]}"],
    "character": [lambda key: key + "é", lambda key: key + "\0", lambda key: "\u200b" + key],
    "secret of a webhook": [lambda _: "whsec_" + KEY],
}
OTHERS = [
    ("stripe", f'sk_test_{KEY}"', "quote"),
    ("adyen", "0aF1" * 16, "secret of a webhook"),
    ("stripe", f"pk_live_{KEY}", "publishable"),
]
WRONG = [
    *(
        (adapter, spoil(key), words)
        for (adapter, keys), (words, ways) in itertools.product(GOOD.items(), SPOILT.items())
        for key, spoil in itertools.product(keys, ways)
    ),
    *OTHERS,
]


def configure(adapter: str, key: str, currencies: CurrencyRegistry = CURRENCIES) -> None:
    """Configure an account with a key."""
    needed = {
        "mock": {"base_address": "http://x"},
        "stripe": {},
        "adyen": {"merchant_account": "Casino", "balance_account_id": "BA1"},
    }
    settings = {"adapter": adapter, "api_key_env": "KEY", **needed[adapter]}
    make_providers(accounts_from({"main": settings}), currencies, {"KEY": key})


@pytest.mark.parametrize(("adapter", "key", "words"), WRONG, ids=repr)
def test_configure_key_that_cannot_be_one_is_refused(adapter: str, key: str, words: str) -> None:
    """The account, the setting and the fault are named; the key is not."""
    with pytest.raises(ValueError, match=r"provider 'main': api_key") as refused:
        configure(adapter, key)

    assert words in str(refused.value)
    assert key not in str(refused.value)


@pytest.mark.parametrize(("adapter", "key"), [(adapter, key) for adapter in GOOD for key in GOOD[adapter]])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", " "])
async def test_configure_good_key_passes_with_the_end_of_its_line(adapter: str, key: str, end: str) -> None:
    """A mounted secret ends with a line break that does not belong to it."""
    configure(adapter, key + end)
