"""Owns the edge's settings: read once at start from the environment (`DEFTER_EDGE_…`)."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from http_process.settings import ProcessSettings


class EdgeSettings(ProcessSettings):
    """How an edge runs."""

    model_config = SettingsConfigDict(env_prefix="DEFTER_EDGE_")

    endpoints_file: Annotated[Path, Field(description="TOML file with the endpoints")] = Path(
        "endpoints.toml"
    )
    ledger_target: Annotated[str, Field(description="`host:port` of the ledger's gRPC server")] = (
        "127.0.0.1:50051"
    )
    ledger_authority_file: Annotated[
        Path | None, Field(description="PEM with the authorities of the ledger's certificate; none: no TLS")
    ] = None
    ledger_certificate_file: Annotated[
        Path | None, Field(description="PEM with the certificate that proves to the ledger who this edge is")
    ] = None
    ledger_key_file: Annotated[Path | None, Field(description="PEM with the key of that certificate")] = None
    host: Annotated[str, Field(description="address that the edge listens on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="port of the edge; 0 takes any")] = 8_080
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
    proxies: Annotated[
        str,
        Field(description="addresses of proxies, with commas, whose X-Forwarded-For names the sender"),
    ] = ""
    verified_rate_limit: Annotated[
        str, Field(description="verified webhooks of an endpoint that does not say otherwise")
    ] = "12000/minute"
    address_rate_limit: Annotated[
        str, Field(description="requests of one remote address to an endpoint that does not say otherwise")
    ] = "6000/minute"
    body_seconds: Annotated[float, Field(gt=0, description="how long a body may take to come")] = 10.0
    forward_seconds: Annotated[
        float, Field(gt=0, description="how long the ledger may take to make a webhook durable")
    ] = 5.0
    reload_seconds: Annotated[
        float, Field(gt=0, description="pause between two looks for a changed configuration")
    ] = 2.0
    drain_seconds: Annotated[
        int, Field(ge=1, description="how long SIGTERM lets requests under way finish")
    ] = 20

    @field_validator("verified_rate_limit", "address_rate_limit")
    @classmethod
    def _is_rate(cls, text: str) -> str:
        # Whoever asks for the names of settings alone needs no rate limiter.
        from webhook_edge.throttle import rate_limit  # noqa: PLC0415

        rate_limit(text)
        return text
