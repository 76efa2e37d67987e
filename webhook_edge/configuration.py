"""Owns the configuration file of endpoints: TOML, one table for each, with secrets only by reference.

    [endpoints.stripe-eu]                # POST /webhooks/stripe/stripe-eu
    scheme = "stripe"                    # stripe, adyen or standard
    tenant = "casino"
    provider = "stripe-eu"               # the provider account's name at the ledger
    mode = "live"                        # or observe: verify and count, forward nothing
    secrets = [
        { name = "2026-11", env = "STRIPE_WEBHOOK_SECRET" },
        { name = "2026-05", file = "/run/secrets/stripe-old", not_after = 2026-12-01T00:00:00Z },
    ]
    basic_auth = { username = "defter", password_env = "ADYEN_PASSWORD" }
    options = { livemode = true }        # of the scheme, see `options.py`
    rate_limit = "6000/minute"           # of verified webhooks
    address_rate_limit = "600/minute"    # of whatever one remote address sends

There is no mode that forwards what did not verify.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from limits import RateLimitItem
from msgspec import Meta, Struct

from webhook_edge.options import check_options
from webhook_edge.scheme import Endpoint, Secret
from webhook_edge.schemes import scheme_named
from webhook_edge.secret_forms import check_password, check_secret
from webhook_edge.throttle import rate_limit

_MOST_SECRET_BYTES: Final = 4_096

_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
_Text = Annotated[str, Meta(min_length=1, max_length=255)]


class ConfigurationError(Exception):
    """The configuration can't be used; says where and why, and no secret."""


class RateLimits(Struct, frozen=True, kw_only=True):
    """The rate limits of endpoints that set none of their own."""

    verified: RateLimitItem = rate_limit("12000/minute")
    address: RateLimitItem = rate_limit("6000/minute")


class ConfiguredEndpoint(Struct, frozen=True, kw_only=True):
    """An endpoint with all its secrets, expired ones included."""

    endpoint: Endpoint
    observes: bool = False
    rates: RateLimits = RateLimits()

    def counting(self, now: datetime) -> Endpoint | None:
        """Return the endpoint with the secrets that are valid now; None if there are none."""
        secrets = tuple(secret for secret in self.endpoint.secrets if _counts(secret, now))
        if not secrets:
            return None
        return msgspec.structs.replace(self.endpoint, secrets=secrets)


class Configuration(Struct, frozen=True, kw_only=True):
    """All endpoints by name, and the files that they were read from."""

    endpoints: Mapping[str, ConfiguredEndpoint]
    files: tuple[Path, ...] = ()
    rates: RateLimits = RateLimits()

    def endpoint(self, scheme: str, name: str) -> ConfiguredEndpoint | None:
        """Return an endpoint, if there is one of this scheme."""
        found = self.endpoints.get(name)
        return found if found is not None and found.endpoint.scheme == scheme else None


class _SecretTable(Struct, forbid_unknown_fields=True, kw_only=True):
    name: _Name
    env: _Text | None = None
    file: _Text | None = None
    not_after: Annotated[datetime, Meta(tz=True)] | None = None


class _BasicAuthTable(Struct, forbid_unknown_fields=True, kw_only=True):
    username: _Text
    password_env: _Text | None = None
    password_file: _Text | None = None


class _EndpointTable(Struct, forbid_unknown_fields=True, kw_only=True):
    scheme: str
    tenant: _Text
    provider: _Text
    secrets: list[_SecretTable]
    mode: Literal["live", "observe"] = "live"
    basic_auth: _BasicAuthTable | None = None
    options: dict[str, str | bool | int] = {}
    rate_limit: str | None = None
    address_rate_limit: str | None = None


class _FileTable(Struct, forbid_unknown_fields=True):
    endpoints: dict[_Name, _EndpointTable] = {}


def read_without_secrets(file: Path) -> tuple[Endpoint, ...]:
    """Read the endpoints for rereading stored webhooks, which needs no secret.

    Raises:
        ConfigurationError: the file can't be read, or says something that has no meaning.
    """
    endpoints: list[Endpoint] = []
    for name, table in _table(file).endpoints.items():
        try:
            scheme_named(table.scheme)
            options = _options(table)
        except ValueError as error:
            raise ConfigurationError(f"{file}: endpoint {name!r}: {error}") from None
        endpoints.append(
            Endpoint(
                name=name,
                tenant_id=table.tenant,
                provider=table.provider,
                scheme=table.scheme,
                secrets=(),
                options=options,
            )
        )
    return tuple(endpoints)


def read_configuration(
    file: Path, environment: Mapping[str, str], now: datetime, rates: RateLimits | None = None
) -> Configuration:
    """Read the endpoints and the secrets that are valid now or later.

    Args:
        rates: the limits of endpoints that set none.
    Raises:
        ConfigurationError: anything is missing, unknown or unreadable.
    """
    table = _table(file)
    reader = _Reader(file, environment, now, rates or RateLimits())
    endpoints = {name: reader.endpoint(name, endpoint) for name, endpoint in table.endpoints.items()}
    return Configuration(endpoints=endpoints, files=tuple(reader.files), rates=reader.rates)


def _table(file: Path) -> _FileTable:
    try:
        return msgspec.toml.decode(file.read_bytes(), type=_FileTable)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"{file}: {error}") from None


class _Reader:
    """Reads endpoints, and remembers the files behind them."""

    def __init__(self, file: Path, environment: Mapping[str, str], now: datetime, rates: RateLimits) -> None:
        self.files = [file]
        self.rates = rates
        self._environment = environment
        self._now = now

    def endpoint(self, name: str, table: _EndpointTable) -> ConfiguredEndpoint:
        """Read one endpoint.

        Raises:
            ConfigurationError: see `read_configuration`.
        """
        try:
            scheme_named(table.scheme)
            options = _options(table)
            return ConfiguredEndpoint(
                endpoint=Endpoint(
                    name=name,
                    tenant_id=table.tenant,
                    provider=table.provider,
                    scheme=table.scheme,
                    secrets=self._secrets(table),
                    basic_auth=self._basic_auth(table.basic_auth),
                    options=options,
                ),
                observes=table.mode == "observe",
                rates=RateLimits(
                    verified=self.rates.verified
                    if table.rate_limit is None
                    else rate_limit(table.rate_limit),
                    address=self.rates.address
                    if table.address_rate_limit is None
                    else rate_limit(table.address_rate_limit),
                ),
            )
        except ValueError as error:
            raise ConfigurationError(f"{self.files[0]}: endpoint {name!r}: {error}") from None

    def _secrets(self, table: _EndpointTable) -> tuple[Secret, ...]:
        names = [secret.name for secret in table.secrets]
        if len(set(names)) < len(names):
            raise ValueError("two secrets have the same name")
        secrets: list[Secret] = []
        for entry in table.secrets:
            # An expired secret needs no value, so that the value can be removed before the entry is.
            if entry.not_after is not None and entry.not_after <= self._now:
                continue
            value = self._value(f"secret {entry.name!r}", entry.env, entry.file)
            try:
                check_secret(table.scheme, value)
            except ValueError as error:
                raise ValueError(f"secret {entry.name!r}: {error}") from None
            secrets.append(Secret(name=entry.name, value=value, not_after=entry.not_after))
        return tuple(secrets)

    def _basic_auth(self, table: _BasicAuthTable | None) -> tuple[str, Secret] | None:
        if table is None:
            return None
        value = self._value("basic_auth", table.password_env, table.password_file)
        try:
            check_password(value)
        except ValueError as error:
            raise ValueError(f"basic_auth: {error}") from None
        return table.username, Secret(name="basic_auth", value=value)

    def _value(self, what: str, variable: str | None, file: str | None) -> str:
        if variable is not None and file is None:
            try:
                return self._environment[variable]
            except KeyError:
                raise ValueError(f"{what}: the environment has no {variable}") from None
        if file is None or variable is not None:
            raise ValueError(f"{what}: refers to one environment variable or to one file")
        path = self.files[0].parent / file
        self.files.append(path)
        try:
            with path.open("rb") as opened:
                content = opened.read(_MOST_SECRET_BYTES + 1)
            if len(content) > _MOST_SECRET_BYTES:
                raise ValueError(f"{what}: {path} is too long")
            return content.decode().strip("\r\n")
        except OSError as error:
            raise ValueError(f"{what}: {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{what}: {path} is not UTF-8") from None


def _counts(secret: Secret, now: datetime) -> bool:
    return secret.not_after is None or now < secret.not_after


def _options(table: _EndpointTable) -> Mapping[str, str]:
    options = {key: _option(value) for key, value in table.options.items()}
    check_options(table.scheme, options)
    return options


def _option(value: str | bool | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
