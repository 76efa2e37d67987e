"""Owns the configuration file of provider accounts: TOML, one table for each account.

    [providers.stripe-eu]
    adapter = "stripe"
    tenants = ["casino"]          # who may use it; every tenant if it is left out
    api_key_env = "STRIPE_KEY"    # secrets by reference to an environment variable or a file

The other settings are those of the adapter (see `registry.py`).
"""

import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.providers.adapter import Adapter
from ledger_server.providers.registry import accounts_from, make_providers


class ConfiguredProviders(NamedTuple):
    """The adapters by account name, and the tenants that may use an account (all if it is left out)."""

    adapters: Mapping[str, Adapter]
    tenants: Mapping[str, frozenset[str]]


@asynccontextmanager
async def configured_providers(
    file: Path | None, currencies: CurrencyRegistry
) -> AsyncIterator[ConfiguredProviders]:
    """Make the adapters of a file, none without a file; they are closed when the context ends.

    Raises:
        ValueError: the file can't be read, or something in it has no meaning.
    """
    tables = {} if file is None else _tables(file)
    tenants: dict[str, frozenset[str]] = {}
    settings: dict[str, Mapping[str, str]] = {}
    for name, table in tables.items():
        rest = dict(table)
        if "tenants" in rest:
            tenants[name] = _names(name, rest.pop("tenants"))
        settings[name] = {key: str(value) for key, value in rest.items()}
    providers = make_providers(accounts_from(settings), currencies)
    try:
        yield ConfiguredProviders({name: providers.get(name) for name in providers.names}, tenants)
    finally:
        await providers.close()


def _tables(file: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{file}: {error}") from None
    tables = content.pop("providers", {})
    if (
        content
        or not isinstance(tables, dict)
        or not all(isinstance(table, dict) for table in tables.values())
    ):
        raise ValueError(f"{file}: everything stands in tables named providers.<account>")
    return tables


def _names(name: str, value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(tenant, str) for tenant in value):
        raise ValueError(f"provider {name!r}: tenants is a list of tenant ids")
    return frozenset(value)
