"""Owns the settings: read once at start from the environment (`DEFTER_…`) into one frozen object."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger_server.domain.ledger.amounts import DEFAULT_MAX_AMOUNT
from ledger_server.store.revisions import APPLICATION_ROLE

# A year: a deposit that is not paid by then is no longer on its way.
_MOST_HOLD_SECONDS = 31_536_000
_MEBIBYTE = 1024 * 1024


class Settings(BaseSettings):
    """How a server runs."""

    # An empty variable counts as not set.
    model_config = SettingsConfigDict(
        env_prefix="DEFTER_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        # Infinite seconds make no sense as a pause, and can't be used in calculations.
        allow_inf_nan=False,
    )

    database_url: Annotated[
        str | None,
        Field(description="`postgresql://…`; without one `defter up` brings a database"),
    ] = None
    application_role: Annotated[
        str, Field(description="database role that servers take on; the migration creates it")
    ] = APPLICATION_ROLE
    data_directory: Annotated[
        Path | None, Field(description="where the embedded database keeps its files")
    ] = None
    witness_file: Annotated[
        Path | None,
        Field(
            description="where a server writes what it saw of the database last, outside of what is restored"
            " with it; none without it"
        ),
    ] = None
    host: Annotated[str, Field(description="address that the gRPC server listens on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="port of the gRPC server; 0 takes any")] = 50_051
    tls_certificate_file: Annotated[
        Path | None,
        Field(description="PEM with the server's certificate and those between it and its authority"),
    ] = None
    tls_key_file: Annotated[
        Path | None, Field(description="PEM with the private key of that certificate")
    ] = None
    client_authority_file: Annotated[
        Path | None, Field(description="PEM with the authorities whose certificates callers must have")
    ] = None
    token_keys_file: Annotated[
        Path | None,
        Field(description="key set (JWKS) of the public keys by which callers' tokens are signed"),
    ] = None
    token_issuer: Annotated[str | None, Field(description="`iss` that tokens must have")] = None
    token_audience: Annotated[str | None, Field(description="`aud` that tokens must have")] = None
    token_port: Annotated[
        int | None,
        Field(
            ge=0,
            le=65_535,
            description="port for callers with tokens, beside that for certificates; 0 takes any",
        ),
    ] = None
    policy_file: Annotated[
        Path | None, Field(description="TOML file with who may call what; without it everyone may everything")
    ] = None
    audit_log_file: Annotated[
        Path | None,
        Field(
            description="where a guarded server writes its audit log; without it, among the other log lines"
        ),
    ] = None
    identity_reload_seconds: Annotated[
        float,
        Field(gt=0, le=0.5, description="pause between two looks for changed certificates, keys, policy"),
    ] = 0.25
    personal_keys_file: Annotated[
        Path | None,
        Field(
            description="keys that encrypt those of players, the first one in use; without it no personal"
            " data is taken"
        ),
    ] = None
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
    metrics_seconds: Annotated[
        float, Field(gt=0, description="pause between two counts of what waits in the database, for metrics")
    ] = 30.0
    metrics_tenants: Annotated[
        tuple[str, ...],
        Field(description="tenants with a label of their own in these metrics, as JSON; others have none"),
    ] = ()
    workers: Annotated[int, Field(ge=1, le=64, description="server processes on the one port")] = 1
    batch_scheduling: Annotated[
        bool,
        Field(description="whether to run under SCHED_BATCH: faster on own CPUs, slower on shared ones"),
    ] = False
    calls_ahead: Annotated[
        int,
        Field(
            ge=0,
            le=1_024,
            description="calls that gRPC is asked for at any time; 0: the stock server, which asks for one",
        ),
    ] = 128
    connection_age_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=86_400,
            description="after about so long a connection ends, once its calls have; callers open another",
        ),
    ] = 300
    write_connections: Annotated[
        int, Field(ge=1, description="database connections that all lanes of a process share")
    ] = 8
    read_connections: Annotated[
        int, Field(ge=1, description="database connections for reads of a process")
    ] = 8
    lane_capacity: Annotated[int, Field(ge=1, description="requests that may wait in one tenant's lane")] = (
        8_192
    )
    lane_capacity_bytes: Annotated[
        int, Field(ge=1, description="bytes of requests that may wait in one tenant's lane")
    ] = 32 * _MEBIBYTE
    request_bytes: Annotated[
        int, Field(ge=1, description="bytes of requests that a process has under way; more are refused")
    ] = 64 * _MEBIBYTE
    share: Annotated[
        int,
        Field(
            ge=1,
            description="requests, or KiB of them, that one tenant has in work while others call",
        ),
    ] = 16
    heavy_reads: Annotated[
        int, Field(ge=1, description="lists, and verifications, that a process works on at once")
    ] = 2
    quota_calls_per_second: Annotated[
        float | None,
        Field(gt=0, description="calls a second of each tenant and of each caller; without it any number"),
    ] = None
    quota_calls: Annotated[
        int, Field(ge=1, description="calls that each tenant and each caller may have under way")
    ] = 4_096
    quota_bytes: Annotated[
        int, Field(ge=1, description="bytes of requests that each tenant and each caller may have under way")
    ] = 32 * _MEBIBYTE
    working_set_bytes: Annotated[
        int,
        Field(ge=1, description="bytes of accounts, holds and payments that the lanes of a process remember"),
    ] = 256 * _MEBIBYTE
    follower_bytes: Annotated[
        int, Field(ge=1, description="bytes on their way to all watchers of journals of a process")
    ] = 32 * _MEBIBYTE
    follower_seconds: Annotated[
        float, Field(gt=0, description="after so long a watcher that reads nothing is dropped")
    ] = 30.0
    lane_batch_size: Annotated[int, Field(ge=1, description="requests decided for one commit")] = 1_000
    store_patience_seconds: Annotated[
        float, Field(gt=0, description="how long work without a deadline waits for the database")
    ] = 10.0
    slow_statement_seconds: Annotated[
        float, Field(gt=0, description="a database statement that took so long is logged")
    ] = 1.0
    slow_batch_seconds: Annotated[
        float,
        Field(gt=0, description="a batch that took so long from its first decision to its commit is logged"),
    ] = 1.0
    clock_bound_seconds: Annotated[
        float,
        Field(ge=2, description="a server whose clock is off by more neither decides nor calls providers"),
    ] = 60.0
    drain_seconds: Annotated[
        float, Field(gt=0, description="how long SIGTERM lets calls under way finish")
    ] = 30.0
    expiry_sweep_seconds: Annotated[
        float, Field(gt=0, description="pause between two looks for holds to expire")
    ] = 5.0
    dispatch_sweep_seconds: Annotated[
        float, Field(gt=0, description="pause between two looks for calls owed to providers")
    ] = 5.0
    provider_call_seconds: Annotated[
        float, Field(gt=0, description="after so long an unanswered call to a provider is unknown")
    ] = 30.0
    provider_poll_seconds: Annotated[
        float, Field(gt=0, description="first pause before a provider is asked what became of a payout")
    ] = 60.0
    parked_sweep_seconds: Annotated[
        float, Field(gt=0, description="pause between two looks at parked provider events")
    ] = 30.0
    parked_grace_seconds: Annotated[
        float, Field(gt=0, description="after so long a parked event becomes a finding")
    ] = 3_600.0
    listing_pause_seconds: Annotated[
        float, Field(gt=0, description="first pause before a page of a provider's listing is read again")
    ] = 1.0
    providers_file: Annotated[
        Path | None, Field(description="TOML file with the provider accounts; none without it")
    ] = None
    extra_currencies: Annotated[
        dict[str, StrictInt | None],
        Field(
            description="assets beside ISO 4217 and the shipped ones with their decimal places, as JSON such"
            ' as {"POINTS": 0};'
            " null takes a shipped one away"
        ),
    ] = {}
    max_amounts: Annotated[
        dict[str, StrictInt],
        Field(description="largest amount of a request, in minor units by currency, as JSON; `*`: others"),
    ] = {"*": DEFAULT_MAX_AMOUNT}
    deposit_hold_seconds: Annotated[
        float,
        Field(ge=1, le=_MOST_HOLD_SECONDS, description="after so long a begun deposit is no longer pending"),
    ] = 604_800.0
    log_json: Annotated[bool, Field(description="log lines as JSON instead of for reading")] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        BeforeValidator(lambda text: str(text).lower()),
        Field(description="least severe level that is logged"),
    ] = "info"
