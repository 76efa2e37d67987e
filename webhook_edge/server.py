"""Owns a running edge: its wiring, its socket, and the bounds of a connection."""

import asyncio
import contextlib
import os
import signal
import socket
from asyncio import TimerHandle, Transport
from contextlib import AbstractAsyncContextManager
from typing import Final

import h11
import prometheus_client
import structlog
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from defter_channel import Proof, ProofUnusable
from defter_tracing import TracingMissing, switch_off, switch_on
from http_process import serving
from webhook_edge.app import make_app
from webhook_edge.body import BodyReader
from webhook_edge.configuration import Configuration, ConfigurationError, RateLimits, read_configuration
from webhook_edge.gateway import LedgerGateway
from webhook_edge.metrics import Metrics
from webhook_edge.receiver import Receiver, system_clock
from webhook_edge.reloading import LiveConfiguration
from webhook_edge.settings import EdgeSettings
from webhook_edge.throttle import rate_limit

log = structlog.get_logger()

_MOST_CONNECTIONS: Final = 2_000
_MOST_HEADER_BYTES: Final = 32 * 1024
_IDLE_SECONDS: Final = 10.0
"""How long a connection may take for the head of a request."""
READY_SECONDS: Final = 10.0
"""The edge is ready if the ledger has said SERVING within this time."""


async def run(settings: EdgeSettings) -> None:
    """Run until SIGTERM or SIGINT, then answer what was begun; SIGHUP has the configuration read again.

    Raises:
        ConfigurationError: the file of endpoints, or what proves who this edge is, can't be used.
        OSError: a port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics(prometheus_client.REGISTRY)
    rates = RateLimits(
        verified=rate_limit(settings.verified_rate_limit), address=rate_limit(settings.address_rate_limit)
    )

    def read() -> Configuration:
        return read_configuration(settings.endpoints_file, os.environ, system_clock(), rates)

    configuration = LiveConfiguration(read, metrics)
    loop.add_signal_handler(signal.SIGHUP, configuration.reload)
    if settings.metrics_port is not None:
        prometheus_client.start_http_server(settings.metrics_port, settings.metrics_host)
    if settings.otlp_endpoint is not None:
        _switch_on_traces(settings.otlp_endpoint)
    gateway = LedgerGateway(settings.ledger_target, seconds=settings.forward_seconds, proof=_proof(settings))
    if settings.ledger_certificate_file is not None:
        metrics.show_certificate(settings.ledger_certificate_file)
    receiver = Receiver(
        configuration=lambda: configuration.current,
        ledger=gateway,
        metrics=metrics,
        reader=BodyReader(seconds=settings.body_seconds),
    )
    app = make_app(receiver, ready=lambda: gateway.served_within(READY_SECONDS))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, switch_off)
        stack.push_async_callback(gateway.close)
        await stack.enter_async_context(gateway.watched())
        await stack.enter_async_context(configuration.watched(settings.reload_seconds))
        listening = stack.enter_context(socket.create_server((settings.host, settings.port)))
        await stack.enter_async_context(
            answering(app, listening, drain_seconds=settings.drain_seconds, proxies=settings.proxies)
        )
        log.info(
            "taking webhooks",
            host=settings.host,
            port=listening.getsockname()[1],
            endpoints=sorted(configuration.current.endpoints),
        )
        await stop.wait()
        log.info("draining")
    log.info("stopped")


def _switch_on_traces(endpoint: str) -> None:
    """Have traces made and sent.

    Raises:
        ConfigurationError: the packages for it are not installed; names the setting.
    """
    try:
        switch_on("defter-edge", endpoint)
    except TracingMissing as error:
        raise ConfigurationError(f"DEFTER_EDGE_OTLP_ENDPOINT: {error}") from None


def _proof(settings: EdgeSettings) -> Proof:
    """Return what proves to the ledger who this edge is.

    Raises:
        ConfigurationError: the files can't be used; names the setting.
    """
    proof = Proof(
        authority_file=settings.ledger_authority_file,
        certificate_file=settings.ledger_certificate_file,
        key_file=settings.ledger_key_file,
    )
    try:
        proof.read()
    except ProofUnusable as error:
        raise ConfigurationError(f"DEFTER_EDGE_LEDGER_{error.field.upper()}: {error.problem}") from None
    return proof


def answering(
    app: Starlette, listening: socket.socket, *, drain_seconds: int = 20, proxies: str = ""
) -> AbstractAsyncContextManager[None]:
    """Serve a socket with the bounds of a connection, until the context ends.

    Args:
        proxies: addresses whose X-Forwarded-For is trusted, separated by commas.
    """
    return serving.answering(
        app,
        listening,
        http=_Connection,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=drain_seconds,
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
    )


class _Connection(H11Protocol):
    """Closes connections that are too many, too slow with a request, or not HTTP."""

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # there is none before the first request
    _waiting: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except h11.LocalProtocolError:
            # Bytes that are not HTTP came while an answer was under way, so no other answer can be sent.
            self.transport.close()

    def handle_events(self) -> None:
        super().handle_events()
        if self._answers:
            self._wait_no_more()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._answers and not self.transport.is_closing():
            self._wait()

    @property
    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        """Bound the time for the head of the next request, even if bytes keep trickling in."""
        self._wait_no_more()
        self._waiting = self.loop.call_later(_IDLE_SECONDS, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
