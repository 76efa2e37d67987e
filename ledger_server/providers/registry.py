"""Owns the making of adapters from names and settings, checked at start.

Of the adapters only those that are configured are loaded, each with the libraries of its provider.

A setting is text. With the suffix `_env` it names the environment variable that holds the value, with `_file`
the file; secrets are taken in no other way.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.providers.adapter import Adapter, ProviderAccount
from ledger_server.providers.key_forms import check_api_key

_SECRETS: Final = {"api_key", "transfers_api_key"}
_ENVIRONMENTS: Final = ("test", "live")


class Providers:
    """The configured provider accounts, by the name that callers say in `provider`."""

    def __init__(self, adapters: Mapping[str, Adapter]) -> None:
        self._adapters: Final = dict(adapters)

    def __contains__(self, name: object) -> bool:
        return name in self._adapters

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of configuration."""
        return tuple(self._adapters)

    def get(self, name: str) -> Adapter:
        """Return an account's adapter; KeyError for an unknown name."""
        return self._adapters[name]

    async def close(self) -> None:
        """Let go of all connections."""
        for adapter in self._adapters.values():
            await adapter.close()


def accounts_from(configuration: Mapping[str, Mapping[str, str]]) -> tuple[ProviderAccount, ...]:
    """Read provider accounts from a mapping of name to settings, of which `adapter` names the adapter.

    Raises:
        ValueError: an account does not say which adapter it is for.
    """
    accounts = []
    for name, settings in configuration.items():
        adapter = settings.get("adapter")
        if not adapter:
            raise ValueError(f"provider {name!r}: `adapter` is missing; it is one of {', '.join(_MAKERS)}")
        rest = {key: value for key, value in settings.items() if key != "adapter"}
        accounts.append(ProviderAccount(name=name, adapter=adapter, settings=rest))
    return tuple(accounts)


def make_providers(
    accounts: Iterable[ProviderAccount],
    currencies: CurrencyRegistry,
    environment: Mapping[str, str] = os.environ,
) -> Providers:
    """Make an adapter for each account; nothing is connected yet.

    Raises:
        ValueError: an adapter or setting is unknown, a name is taken twice, or a value or secret is missing.
    """
    adapters: dict[str, Adapter] = {}
    for account in accounts:
        if account.name in adapters:
            raise ValueError(f"provider {account.name!r} is configured twice")
        make = _MAKERS.get(account.adapter)
        if make is None:
            known = ", ".join(_MAKERS)
            raise ValueError(
                f"provider {account.name!r}: no adapter {account.adapter!r}; it is one of {known}"
            )
        settings = _Settings(account, environment)
        adapters[account.name] = make(settings, currencies)
        settings.check_all_read()
    return Providers(adapters)


class _Settings:
    """The settings of one account, with references looked up; errors name a setting and never its value."""

    def __init__(self, account: ProviderAccount, environment: Mapping[str, str]) -> None:
        self._name: Final = account.name
        self._adapter: Final = account.adapter
        self._values: Final = dict(account.settings)
        self._environment: Final = environment

    def required(self, key: str) -> str:
        """Return a value; ValueError without one."""
        value = self.optional(key)
        if value is None:
            ways = f"{key}_env or {key}_file" if key in _SECRETS else key
            raise ValueError(f"provider {self._name!r}: {ways} is missing")
        return value

    def optional(self, key: str) -> str | None:
        """Return a value, or None without one; ValueError if a reference leads to nothing."""
        plain = self._values.pop(key, None)
        variable = self._values.pop(f"{key}_env", None)
        path = self._values.pop(f"{key}_file", None)
        if plain is not None and key in _SECRETS:
            raise ValueError(f"provider {self._name!r}: {key} is a secret; give {key}_env or {key}_file")
        given = [value for value in (plain, variable, path) if value is not None]
        if len(given) > 1:
            raise ValueError(f"provider {self._name!r}: {key} is given more than once")
        if variable is not None:
            plain = self._environment.get(variable, "").strip()
            missing = f"environment variable {variable} is not set"
        elif path is not None:
            plain = self._read(key, Path(path))
            missing = f"file {path} is empty"
        else:
            missing = "it is empty"
        if plain == "":
            raise ValueError(f"provider {self._name!r}: {key}: {missing}")
        if plain is not None and key in _SECRETS:
            try:
                check_api_key(self._adapter, plain)
            except ValueError as error:
                raise self.wrong(key, str(error)) from None
        return plain

    def seconds(self, key: str, default: float) -> float:
        """Return a duration."""
        text = self.optional(key)
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ValueError(f"provider {self._name!r}: {key} is not a number of seconds above 0")
        return value

    def check_all_read(self) -> None:
        """Refuse settings that no adapter has read, which most likely are misspelt."""
        if self._values:
            raise ValueError(f"provider {self._name!r}: unknown settings {', '.join(sorted(self._values))}")

    def wrong(self, key: str, rule: str) -> ValueError:
        """Return the error of a value that breaks a rule."""
        return ValueError(f"provider {self._name!r}: {key} {rule}")

    def _read(self, key: str, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            text = f"file {path} cannot be read: {type(error).__name__}"
            raise ValueError(f"provider {self._name!r}: {key}: {text}") from None


def _mock(settings: _Settings, currencies: CurrencyRegistry) -> Adapter:
    from ledger_server.providers.mock import MockAdapter  # noqa: PLC0415  # see the top

    return MockAdapter(
        base_address=settings.required("base_address"),
        api_key=settings.required("api_key"),
        currencies=currencies,
        timeout_seconds=settings.seconds("timeout_seconds", 10.0),
    )


def _stripe(settings: _Settings, currencies: CurrencyRegistry) -> Adapter:
    from ledger_server.providers.stripe import StripeAdapter  # noqa: PLC0415  # see the top

    return StripeAdapter(
        api_key=settings.required("api_key"),
        currencies=currencies,
        base_address=settings.optional("base_address"),
        stripe_account=settings.optional("stripe_account"),
        timeout_seconds=settings.seconds("timeout_seconds", 30.0),
        find_window_seconds=settings.seconds("find_window_seconds", 30 * 86_400),
    )


def _adyen(settings: _Settings, currencies: CurrencyRegistry) -> Adapter:
    from ledger_server.providers.adyen import AdyenAdapter  # noqa: PLC0415  # see the top
    from ledger_server.providers.adyen_requests import AdyenAccount  # noqa: PLC0415  # see the top

    environment = settings.optional("environment") or "test"
    if environment not in _ENVIRONMENTS:
        raise settings.wrong("environment", "is neither test nor live")
    prefix = settings.optional("live_endpoint_prefix")
    if environment == "live" and not prefix:
        raise settings.wrong("live_endpoint_prefix", "is missing for the live environment")
    account = AdyenAccount(
        api_key=settings.required("api_key"),
        transfers_api_key=settings.optional("transfers_api_key") or "",
        merchant_account=settings.required("merchant_account"),
        balance_account_id=settings.required("balance_account_id"),
        environment="live" if environment == "live" else "test",
        live_endpoint_prefix=prefix,
        checkout_base_address=settings.optional("checkout_base_address"),
        transfers_base_address=settings.optional("transfers_base_address"),
        payout_priority=settings.optional("payout_priority") or "regular",
    )
    return AdyenAdapter(
        account=account,
        currencies=currencies,
        timeout_seconds=settings.seconds("timeout_seconds", 30.0),
        find_window_seconds=settings.seconds("find_window_seconds", 30 * 86_400),
    )


_MAKERS: Final[Mapping[str, Callable[[_Settings, CurrencyRegistry], Adapter]]] = {
    "mock": _mock,
    "stripe": _stripe,
    "adyen": _adyen,
}
