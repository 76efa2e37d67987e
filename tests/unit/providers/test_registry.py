"""Own how providers are configured: what is wrong is said at start, and no secret is ever said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ledger_server.process.bootstrap import currencies
from ledger_server.providers.adyen import AdyenAdapter
from ledger_server.providers.adyen_requests import AdyenAccount
from ledger_server.providers.mock import MockAdapter
from ledger_server.providers.registry import Providers, accounts_from, make_providers
from ledger_server.providers.stripe import StripeAdapter

SECRET = "sk_live_do_not_tell"
ENVIRONMENT = {"PSP_KEY": SECRET, "EMPTY": ""}
MOCK = {"adapter": "mock", "base_address": "http://127.0.0.1:1", "api_key_env": "PSP_KEY"}
STRIPE = {"adapter": "stripe", "api_key_env": "PSP_KEY"}
ADYEN = {
    "adapter": "adyen",
    "api_key_env": "PSP_KEY",
    "merchant_account": "Casino",
    "balance_account_id": "BA1",
}


def made(**accounts: Mapping[str, str]) -> Providers:
    """Configure accounts by name."""
    return make_providers(accounts_from(accounts), currencies({}), ENVIRONMENT)


async def test_configure_all_adapters_makes_each() -> None:
    """Names are the operator's; each stands for one account."""
    providers = made(mock=MOCK, stripe_eu=STRIPE, adyen_nl=ADYEN)

    assert providers.names == ("mock", "stripe_eu", "adyen_nl")
    assert [type(providers.get(name)) for name in providers.names] == [
        MockAdapter,
        StripeAdapter,
        AdyenAdapter,
    ]
    assert "stripe_eu" in providers
    assert "paypal" not in providers
    await providers.close()


async def test_configure_secret_in_file_is_read(tmp_path: Path) -> None:
    """A mounted secret ends with a line break that does not belong to it."""
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n", encoding="utf-8")

    providers = made(mock={"adapter": "mock", "base_address": "http://x", "api_key_file": str(path)})

    adapter = providers.get("mock")
    assert isinstance(adapter, MockAdapter)
    assert adapter._http.headers["Authorization"] == f"Bearer {SECRET}"
    await providers.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_address": "http://x"}, "`adapter` is missing"),
        ({**MOCK, "adapter": "paypal"}, "no adapter 'paypal'; it is one of mock, stripe, adyen"),
        ({"adapter": "stripe"}, "api_key_env or api_key_file is missing"),
        ({**STRIPE, "api_key_env": "ABSENT"}, "environment variable ABSENT is not set"),
        ({**STRIPE, "api_key_env": "EMPTY"}, "environment variable EMPTY is not set"),
        ({"adapter": "stripe", "api_key_file": "/nowhere/key"}, "file /nowhere/key cannot be read"),
        ({"adapter": "stripe", "api_key": SECRET}, "api_key is a secret"),
        ({**STRIPE, "api_key_file": "/nowhere/key"}, "api_key is given more than once"),
        ({**STRIPE, "timeout": "5"}, "unknown settings timeout"),
        ({**STRIPE, "timeout_seconds": "soon"}, "timeout_seconds is not a number of seconds above 0"),
        ({**STRIPE, "timeout_seconds": "0"}, "timeout_seconds is not a number of seconds above 0"),
        ({**STRIPE, "timeout_seconds": "nan"}, "timeout_seconds is not a number of seconds above 0"),
        ({**STRIPE, "base_address": ""}, "base_address: it is empty"),
        ({**ADYEN, "environment": "prod"}, "environment is neither test nor live"),
        ({**ADYEN, "environment": "live"}, "live_endpoint_prefix is missing"),
        ({"adapter": "adyen", "api_key_env": "PSP_KEY"}, "merchant_account is missing"),
    ],
)
def test_configure_wrongly_is_refused_by_name(settings: Mapping[str, str], words: str) -> None:
    """The error names the account and the setting, and never a secret."""
    with pytest.raises(ValueError, match=r"provider 'main'") as refusal:
        made(main=settings)

    assert words in str(refusal.value)
    assert SECRET not in str(refusal.value)


def test_configure_name_twice_is_refused() -> None:
    """Two accounts under one name would make money go either way."""
    accounts = accounts_from({"main": STRIPE})

    with pytest.raises(ValueError, match="configured twice"):
        make_providers([*accounts, *accounts], currencies({}), ENVIRONMENT)


async def test_configure_logs_no_secret() -> None:
    """Neither a log line nor what describes an account holds a key."""
    with capture_logs() as lines:
        providers = made(mock=MOCK, stripe=STRIPE, adyen=ADYEN)
    account = AdyenAccount(api_key=SECRET, merchant_account="Casino", balance_account_id="BA1")

    shown = f"{lines} {account!r} {account} {vars(providers)} {accounts_from({'stripe': STRIPE})}"
    assert SECRET not in shown
    await providers.close()
