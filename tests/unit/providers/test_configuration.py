"""The file that names provider accounts: read strictly, with secrets by reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger_server.process.bootstrap import currencies
from ledger_server.providers.configuration import configured_providers

GOOD = """
[providers.mock]
adapter = "mock"
tenants = ["casino", "bingo"]
base_address = "http://127.0.0.1:9"
api_key_env = "MOCK_KEY"

[providers.open]
adapter = "mock"
base_address = "http://127.0.0.1:9"
api_key_env = "MOCK_KEY"
"""


async def test_configure_two_accounts_tells_whose_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every account has an adapter; tenants are told where the file names them."""
    monkeypatch.setenv("MOCK_KEY", "secret")
    file = tmp_path / "providers.toml"
    file.write_text(GOOD)
    async with configured_providers(file, currencies({})) as configured:
        assert set(configured.adapters) == {"mock", "open"}
        assert configured.tenants == {"mock": frozenset({"casino", "bingo"})}


async def test_configure_without_a_file_knows_no_account() -> None:
    """A server without provider accounts is a ledger alone."""
    async with configured_providers(None, currencies({})) as configured:
        assert configured.adapters == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[providers", "providers.toml"),
        ("[endpoints.mock]", "providers.<account>"),
        ("providers = 1", "providers.<account>"),
        ('[providers.mock]\nadapter = "paypal"', "paypal"),
        ('[providers.mock]\nadapter = "mock"\ntenants = "casino"', "tenants"),
        ('[providers.mock]\nadapter = "mock"\nbase_address = "x"\napi_key_env = "NOT_SET"', "NOT_SET"),
        ('[providers.mock]\nadapter = "mock"\nbase_address = "x"\napi_key = "here"', "api_key"),
    ],
)
async def test_configure_something_broken_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    """What has no meaning is refused at start, with the place and without a secret."""
    file = tmp_path / "providers.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=told):
        async with configured_providers(file, currencies({})):
            pass


async def test_configure_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that was named and is not there is no empty configuration."""
    with pytest.raises(ValueError, match="nowhere"):
        async with configured_providers(tmp_path / "nowhere.toml", currencies({})):
            pass
