"""Owns a running console: its wiring, its socket, and how it ends."""

import asyncio
import contextlib
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator

import prometheus_client
import structlog
from starlette.applications import Starlette

from console.app import make_app
from console.importing import end_work
from console.ledger import Gateway
from console.live import Live
from console.metrics import Metrics
from console.oidc.client import ClientProof, OidcClient, SecretUnusable
from console.oidc.person import PREFIX, ClaimNames
from console.oidc.provider import Provider
from console.sessions import Sessions
from console.settings import ConsoleSettings, is_loopback
from console.signed_statements import KeyUnusable as StatementKeyUnusable
from console.signed_statements import read_key
from console.tokens import KeyUnusable, Signer
from console.users import Users, UsersUnusable
from console.verifying import Checks
from console.visit import Console
from defter_channel import open_channel
from defter_client import LedgerClient, Proof, ProofUnusable
from defter_tracing import TracingMissing, switch_off, switch_on
from http_process.serving import answering

log = structlog.get_logger()

_CALL_SECONDS = 10.0
_MOST_HEADER_BYTES = 32 * 1024
_MOST_CONNECTIONS = 2_000
# A stream on a silently dead connection would never end.
_ALIVE = (("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000))


class CantStart(Exception):
    """A file can't be used; the text names its setting."""


@contextlib.asynccontextmanager
async def running(settings: ConsoleSettings, metrics: Metrics | None = None) -> AsyncIterator[str]:
    """Run a console until the context ends; yield its address.

    Args:
        metrics: None: they are counted for nobody.
    Raises:
        CantStart: a file can't be used.
        OSError: the port is taken.
    """
    console = make_console(settings, metrics)
    try:
        # The socket comes first: with port 0 the address is known with it, and forms are taken from it alone.
        with socket.create_server((settings.host, settings.port), family=_family(settings.host)) as listening:
            console.origins = origins_of(settings, listening.getsockname()[1])
            async with _answering(make_app(console), listening, console):
                yield console.origins[0]
    finally:
        await console.live.close()
        if console.oidc is not None:
            await console.oidc.provider.close()
        await console.checks.close()
        await end_work(console.uploads)
        await console.gateway.client.close()
        await console.gateway.channel.close()


def make_console(settings: ConsoleSettings, metrics: Metrics | None = None) -> Console:
    """Return what all requests share; nothing is opened yet.

    Args:
        metrics: None: they are counted for nobody.
    Raises:
        CantStart: a file can't be used.
    """
    try:
        signer = (
            None
            if settings.signing_key_file is None
            else Signer(
                settings.signing_key_file, issuer=settings.token_issuer, audience=settings.token_audience
            )
        )
        users = Users(settings.users)
        statement_key = None if settings.statement_key_file is None else read_key(settings.statement_key_file)
        proof = (
            None
            if settings.ledger_authority_file is None
            else Proof(authority_file=settings.ledger_authority_file)
        )
        client = LedgerClient(settings.ledger_target, timeout_seconds=_CALL_SECONDS, proof=proof)
        channel = open_channel(settings.ledger_target, proof, _ALIVE)
    except KeyUnusable as error:
        raise CantStart(f"DEFTER_CONSOLE_SIGNING_KEY_FILE: {error}") from None
    except StatementKeyUnusable as error:
        raise CantStart(f"DEFTER_CONSOLE_STATEMENT_KEY_FILE: {error}") from None
    except UsersUnusable as error:
        raise CantStart(f"DEFTER_CONSOLE_USERS_FILE: {error}") from None
    except ProofUnusable as error:
        raise CantStart(f"DEFTER_CONSOLE_LEDGER_{error.field.upper()}: {error.problem}") from None
    gateway = Gateway(client, channel, signer, metrics or Metrics())
    console = Console(
        settings=settings,
        gateway=gateway,
        oidc=_oidc(settings),
        users=users,
        sessions=Sessions(
            idle_seconds=settings.idle_seconds,
            session_seconds=settings.session_seconds,
            most=settings.most_sessions,
            now=time.monotonic,
        ),
        live=Live(gateway, settings.most_streams),
        checks=Checks(gateway, statement_key),
    )
    gateway.metrics.observe(
        streams=lambda: console.live.stream_count,
        sessions=lambda: len(console.sessions),
        checks=lambda: console.checks.running_count,
    )
    return console


def _oidc(settings: ConsoleSettings) -> OidcClient | None:
    if settings.oidc_issuer is None:
        return None
    assert settings.oidc_client_id is not None
    try:
        proof = ClientProof(
            settings.oidc_client_id,
            secret_file=settings.oidc_client_secret_file,
            key_file=settings.oidc_client_key_file,
        )
    except SecretUnusable as error:
        name = "SECRET" if settings.oidc_client_key_file is None else "KEY"
        raise CantStart(f"DEFTER_CONSOLE_OIDC_CLIENT_{name}_FILE: {error}") from None
    try:
        provider = Provider(
            settings.oidc_issuer, authority_file=settings.oidc_authority_file, now=time.monotonic
        )
    except (OSError, ssl.SSLError) as error:
        raise CantStart(f"DEFTER_CONSOLE_OIDC_AUTHORITY_FILE: {error.strerror or error}") from None
    return OidcClient(
        provider,
        proof,
        client_id=settings.oidc_client_id,
        scopes=settings.oidc_scopes,
        names=ClaimNames(
            prefix="" if settings.oidc_bare_subject else PREFIX,
            subject=settings.oidc_subject_claim,
            groups=settings.oidc_groups_claim,
            shown=settings.oidc_name_claim,
        ),
    )


def origins_of(settings: ConsoleSettings, port: int) -> tuple[str, ...]:
    """Return under which addresses people reach it, the one to tell first."""
    if settings.origin is not None:
        return (settings.origin.lower(),)
    scheme = "http" if settings.tls_certificate_file is None else "https"
    hosts = [f"[{settings.host}]" if ":" in settings.host else settings.host]
    if is_loopback(settings.host):
        hosts += [host for host in ("localhost", "127.0.0.1") if host not in hosts]
    return tuple(f"{scheme}://{host}:{port}" for host in hosts)


async def run(settings: ConsoleSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        CantStart: a file can't be used.
        OSError: the port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.metrics_port is not None:
        prometheus_client.start_http_server(settings.metrics_port, settings.metrics_host)
    async with contextlib.AsyncExitStack() as stack:
        if settings.otlp_endpoint is not None:
            _switch_on_traces(settings.otlp_endpoint)
            stack.push_async_callback(asyncio.to_thread, switch_off)
        address = await stack.enter_async_context(running(settings, Metrics(prometheus_client.REGISTRY)))
        log.info("serving pages", address=address)
        if address.startswith("http:"):
            log.warning("plain HTTP: for this machine alone, and for trying things out")
        if settings.signing_key_file is None:
            log.warning(
                "no signing key: the ledger must be an open one, where names are typed and not proved"
            )
        await stop.wait()
    log.info("stopped")


def _switch_on_traces(endpoint: str) -> None:
    """Have traces made and sent.

    Raises:
        CantStart: the packages for it are not installed.
    """
    try:
        switch_on("defter-console", endpoint)
    except TracingMissing as error:
        raise CantStart(f"DEFTER_CONSOLE_OTLP_ENDPOINT: {error}") from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _answering(
    app: Starlette, listening: socket.socket, console: Console
) -> contextlib.AbstractAsyncContextManager[None]:
    """Serve a socket; when the context ends, requests under way are answered first, and live pages end."""
    settings = console.settings
    return answering(
        app,
        listening,
        before_end=console.live.close,  # streams would be waited for, and never end by themselves
        # A proxy's word on who is behind it is taken on this machine alone.
        proxy_headers=settings.origin is not None,
        forwarded_allow_ips="127.0.0.1,::1",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=settings.drain_seconds,
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        limit_concurrency=_MOST_CONNECTIONS,
        ssl_certfile=settings.tls_certificate_file,
        ssl_keyfile=settings.tls_key_file,
    )
