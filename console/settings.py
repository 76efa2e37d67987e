"""Owns the console's settings: read once at start from the environment (`DEFTER_CONSOLE_…`)."""

import ipaddress
import zoneinfo
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, StrictInt, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from http_process.settings import ProcessSettings

USERS_FILE: Final = Path("console-users.toml")
_NONE: Final[dict[str, int]] = {}


class ConsoleSettings(ProcessSettings):
    """How a console runs."""

    model_config = SettingsConfigDict(env_prefix="DEFTER_CONSOLE_")

    ledger_target: Annotated[
        str, Field(description="`host:port` of the ledger; with a signing key the port for tokens")
    ] = "127.0.0.1:50051"
    ledger_authority_file: Annotated[
        Path | None, Field(description="PEM with the authorities of the ledger's certificate; none: no TLS")
    ] = None
    signing_key_file: Annotated[
        Path | None,
        Field(description="JWK that signs a token for the person of each call; none: an open ledger"),
    ] = None
    token_issuer: Annotated[str, Field(description="issuer of these tokens, as the ledger wants it")] = (
        "defter-console"  # noqa: S105  # a name
    )
    token_audience: Annotated[str, Field(description="audience of these tokens, as the ledger wants it")] = (
        "defter"  # noqa: S105  # a name
    )
    statement_key_file: Annotated[
        Path | None,
        Field(description="key that signs what checks of journals find; none: nothing is signed"),
    ] = None
    users_file: Annotated[
        Path | None,
        Field(
            description="TOML file with local users, which `defter console user add` writes; none: "
            "`console-users.toml`, and beside an identity provider no local users"
        ),
    ] = None
    oidc_issuer: Annotated[
        str | None,
        Field(
            description="issuer of the OpenID Connect provider that signs people in; none: local users",
            pattern="^https?://[^?#]+$",
        ),
    ] = None
    oidc_client_id: Annotated[
        str | None, Field(min_length=1, description="id of the console as the provider's client")
    ] = None
    oidc_client_secret_file: Annotated[
        Path | None, Field(description="file with the client's secret; this or a key")
    ] = None
    oidc_client_key_file: Annotated[
        Path | None,
        Field(description="JWK by which the client is proved (`private_key_jwt`, ES256 or RS256)"),
    ] = None
    oidc_authority_file: Annotated[
        Path | None,
        Field(description="PEM with the authorities of the provider's certificate; none: the machine's"),
    ] = None
    oidc_scopes: Annotated[
        str, Field(description="scopes that are asked for, separated by blanks; `openid` among them")
    ] = "openid profile"
    oidc_subject_claim: Annotated[
        str,
        Field(min_length=1, description="claim that names the person to the ledger, behind `oidc:`"),
    ] = "sub"
    oidc_bare_subject: Annotated[
        bool,
        Field(
            description="name people as the provider's own tokens do, without `oidc:`; not beside local users"
        ),
    ] = False
    oidc_groups_claim: Annotated[
        str, Field(min_length=1, description="claim with the person's groups, which the policy names")
    ] = "groups"
    oidc_name_claim: Annotated[
        str, Field(min_length=1, description="claim with a name that is shown and proves nothing")
    ] = "name"
    host: Annotated[str, Field(description="address that the console listens on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="port of the console; 0 takes any")] = 8_090
    metrics_port: Annotated[
        int | None, Field(ge=0, le=65_535, description="port of the Prometheus endpoint; none without it")
    ] = None
    metrics_host: Annotated[
        str, Field(description="address of the Prometheus endpoint, where nobody has to prove who they are")
    ] = "127.0.0.1"
    otlp_endpoint: Annotated[
        str | None,
        Field(
            description="`http://host:port` of a collector that takes traces (OTLP); none: no traces",
            pattern="^https?://",
        ),
    ] = None
    origin: Annotated[
        str | None,
        Field(
            description="`https://name` under which people reach it, where that is not its own address",
            pattern="^https?://[^/]+$",
        ),
    ] = None
    tls_certificate_file: Annotated[
        Path | None, Field(description="PEM with the console's certificate; none: plain HTTP")
    ] = None
    tls_key_file: Annotated[Path | None, Field(description="PEM with the key of that certificate")] = None
    time_zone: Annotated[str, Field(description="zone of all times on pages, such as `Europe/Istanbul`")] = (
        "UTC"
    )
    bulk_most_minor: Annotated[
        dict[str, StrictInt],
        Field(
            description="largest withdrawal that may be approved together with others, in minor units by "
            "currency, as JSON; none of another currency"
        ),
    ] = _NONE
    idle_seconds: Annotated[
        float, Field(gt=0, description="a session ends after so long without a request of its person")
    ] = 1_800.0
    session_seconds: Annotated[float, Field(gt=0, description="a session ends after so long anyhow")] = (
        28_800.0
    )
    most_sessions: Annotated[
        int, Field(ge=1, description="sessions at the same time; beyond it the longest unused one ends")
    ] = 1_000
    most_streams: Annotated[
        int, Field(ge=1, description="live pages at the same time; beyond it pages are not live")
    ] = 200
    drain_seconds: Annotated[
        int, Field(ge=1, description="how long SIGTERM lets requests under way finish")
    ] = 10

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            raise ValueError("there is no such time zone") from None
        return name

    @field_validator("bulk_most_minor")
    @classmethod
    def _is_bound(cls, most: dict[str, int]) -> dict[str, int]:
        if any(amount < 1 for amount in most.values()):
            raise ValueError("amounts are 1 or more; leave a currency out where nothing is approved together")
        return most

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        """Refuse what would look like security and do nothing, or send passwords in the clear."""
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError(
                "DEFTER_CONSOLE_TLS_CERTIFICATE_FILE and DEFTER_CONSOLE_TLS_KEY_FILE go together"
            )
        if self.tls_certificate_file is None and not is_loopback(self.host):
            raise ValueError("DEFTER_CONSOLE_HOST: others than this machine need TLS; set a certificate")
        if self.signing_key_file is not None and self.ledger_authority_file is None:
            raise ValueError("DEFTER_CONSOLE_SIGNING_KEY_FILE: tokens need TLS; set the ledger's authority")
        if self.ledger_authority_file is not None and self.signing_key_file is None:
            raise ValueError("DEFTER_CONSOLE_LEDGER_AUTHORITY_FILE: nobody is proved without a signing key")
        if (
            self.origin is not None
            and self.origin.startswith("http:")
            and not self._origin_is_local(self.origin)
        ):
            raise ValueError("DEFTER_CONSOLE_ORIGIN: people need https")
        self._check_provider()
        return self

    @property
    def users(self) -> Path | None:
        """The file of local users; None: there are none."""
        return self.users_file if self.users_file or self.oidc_issuer else USERS_FILE

    def _check_provider(self) -> None:
        given = sorted(
            name
            for name, field in type(self).model_fields.items()
            if name.startswith("oidc_") and getattr(self, name) != field.default
        )
        if self.oidc_issuer is None:
            if given:
                raise ValueError(
                    f"DEFTER_CONSOLE_{given[0].upper()}: does nothing without DEFTER_CONSOLE_OIDC_ISSUER"
                )
            return
        if self.oidc_issuer.startswith("http:") and not is_loopback(
            urlsplit(self.oidc_issuer).hostname or ""
        ):
            raise ValueError("DEFTER_CONSOLE_OIDC_ISSUER: a provider elsewhere needs https")
        if self.oidc_issuer.startswith("http:") and self.oidc_authority_file is not None:
            raise ValueError("DEFTER_CONSOLE_OIDC_AUTHORITY_FILE: does nothing without https")
        if self.oidc_client_id is None:
            raise ValueError("DEFTER_CONSOLE_OIDC_CLIENT_ID: the provider knows the console by it")
        if (self.oidc_client_secret_file is None) == (self.oidc_client_key_file is None):
            raise ValueError(
                "DEFTER_CONSOLE_OIDC_CLIENT_SECRET_FILE, DEFTER_CONSOLE_OIDC_CLIENT_KEY_FILE: just one"
            )
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("DEFTER_CONSOLE_OIDC_SCOPES: `openid` is missing")
        if self.oidc_bare_subject and self.users_file is not None:
            raise ValueError(
                "DEFTER_CONSOLE_OIDC_BARE_SUBJECT: a local user could have the same name;"
                " leave DEFTER_CONSOLE_USERS_FILE out"
            )
        if self.oidc_subject_claim == self.oidc_groups_claim:
            raise ValueError("DEFTER_CONSOLE_OIDC_GROUPS_CLAIM: it is the claim that names the person")

    @staticmethod
    def _origin_is_local(origin: str) -> bool:
        return is_loopback(origin.removeprefix("http://").rpartition(":")[0].strip("[]"))


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
