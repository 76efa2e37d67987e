"""Own a running edge on a real socket with a hand-written ledger behind it, and those who send to it."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import httpx
from defter.payments.v1 import payment_pb2
from standardwebhooks import Webhook

from tests.support.clock import START, FakeClock
from webhook_edge.app import make_app
from webhook_edge.body import BodyReader
from webhook_edge.configuration import Configuration, ConfiguredEndpoint, RateLimits
from webhook_edge.gateway import Ledger
from webhook_edge.metrics import Metrics
from webhook_edge.receiver import Receiver
from webhook_edge.scheme import Endpoint, Secret
from webhook_edge.server import answering
from webhook_edge.verdicts import Refused, Verdict

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
BODY = b'{"type":"payment.captured","data":{"payment_id":"pay-1","amount_minor":500,"currency":"EUR"}}'
NAME = "mock-eu"
TENANT = "casino"
PROVIDER = "mock"
PATH = f"/webhooks/standard/{NAME}"


@dataclass
class FakeLedger:
    """Notes what it is given; refuses as it is told, and holds everything up while `open` is not set.

    Attributes:
        calls: tenants and events that came, refused ones too.
        refusals: what becomes of the next calls, one each; None lets one pass.
    """

    calls: list[tuple[str, list[payment_pb2.ProviderEvent]]] = field(default_factory=list)
    refusals: deque[Verdict | Exception | None] = field(default_factory=deque)
    open: asyncio.Event | None = None
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def ingest(self, tenant_id: str, events: Sequence[payment_pb2.ProviderEvent]) -> None:
        """Take events."""
        self.calls.append((tenant_id, list(events)))
        self.called.set()
        if self.open is not None:
            await self.open.wait()
        refusal = self.refusals.popleft() if self.refusals else None
        if isinstance(refusal, Verdict):
            raise Refused(refusal)
        if refusal is not None:
            raise refusal

    @property
    def event_ids(self) -> list[str]:
        """The ids of all events that came."""
        return [event.event_id for _, events in self.calls for event in events]


@dataclass
class Edge:
    """A running edge; its configuration is replaced by assigning to it."""

    port: int
    configuration: Configuration
    ledger: Ledger
    clock: FakeClock
    metrics: Metrics
    client: httpx.AsyncClient
    is_ready: bool = True

    async def deliver(
        self, body: bytes = BODY, headers: Mapping[str, str] | None = None, *, path: str = PATH
    ) -> httpx.Response:
        """Post a delivery, a genuine one unless headers are given."""
        return await self.client.post(
            path, content=body, headers=signed(body) if headers is None else headers
        )

    def count(self, verdict: Verdict, endpoint: str = NAME) -> float:
        """Return how many webhooks had a verdict."""
        labels = {"endpoint": endpoint, "verdict": verdict.value}
        return self.metrics.registry.get_sample_value("defter_edge_webhooks_total", labels) or 0

    def secret_uses(self, secret: str) -> float:
        """Return how many webhooks a secret has verified."""
        labels = {"endpoint": NAME, "secret": secret}
        return self.metrics.registry.get_sample_value("defter_edge_secret_uses_total", labels) or 0


def an_endpoint(
    *values: str,
    name: str = NAME,
    scheme: str = "standard",
    tenant_id: str = TENANT,
    secrets: Sequence[Secret] | None = None,
    observes: bool = False,
    rates: RateLimits | None = None,
) -> ConfiguredEndpoint:
    """Return an endpoint, of Standard Webhooks unless told otherwise; without secrets it has one."""
    if secrets is None:
        secrets = [Secret(name=f"s{n}", value=value) for n, value in enumerate(values or (SECRET,))]
    return ConfiguredEndpoint(
        endpoint=Endpoint(
            name=name, tenant_id=tenant_id, provider=PROVIDER, scheme=scheme, secrets=secrets, options={}
        ),
        observes=observes,
        rates=rates or RateLimits(),
    )


def configured(*endpoints: ConfiguredEndpoint) -> Configuration:
    """Return a configuration of endpoints; without any it has one."""
    return Configuration(endpoints={one.endpoint.name: one for one in endpoints or (an_endpoint(),)})


@asynccontextmanager
async def running_edge(
    *endpoints: ConfiguredEndpoint,
    ledger: Ledger | None = None,
    clock: FakeClock | None = None,
    configuration: Callable[[], Configuration] | None = None,
    metrics: Metrics | None = None,
    reader: BodyReader | None = None,
    proxies: str = "",
) -> AsyncIterator[Edge]:
    """Run an edge on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            edge = Edge(
                port=port,
                configuration=configured(*endpoints),
                ledger=FakeLedger() if ledger is None else ledger,
                clock=clock or FakeClock(),
                metrics=metrics or Metrics(),
                client=client,
            )
            receiver = Receiver(
                configuration=configuration or (lambda: edge.configuration),
                ledger=edge.ledger,
                metrics=edge.metrics,
                reader=reader,
                clock=edge.clock,
            )
            app = make_app(receiver, ready=lambda: edge.is_ready)
            async with answering(app, listening, drain_seconds=1, proxies=proxies):
                yield edge


def signed(
    body: bytes = BODY, *secrets: str, event_id: str = "evt_1", at: datetime = START
) -> dict[str, str]:
    """Return the headers of a delivery signed with all of the secrets."""
    signatures = [Webhook(secret).sign(event_id, at, body.decode()) for secret in secrets or (SECRET,)]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def request_head(headers: Mapping[str, str], *more: str, method: str = "POST", path: str = PATH) -> bytes:
    """Return the bytes of a request up to its body; one header in each line of `more`."""
    lines = [f"{method} {path} HTTP/1.1", "host: edge", *(f"{k}: {v}" for k, v in headers.items()), *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class RawConnection:
    """A connection to an edge that carries whatever bytes a test likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, content: bytes) -> None:
        """Send bytes; a connection that the edge has closed takes them to nowhere."""
        try:
            self.writer.write(content)
            await self.writer.drain()
        except ConnectionError:
            return

    async def statuses(self) -> list[int]:
        """Read until the edge closes; return the statuses of all answers."""
        content = b""
        try:
            while chunk := await self.reader.read(65_536):
                content += chunk
        except ConnectionError:
            pass
        return statuses_in(content)


def statuses_in(content: bytes) -> list[int]:
    """Return the statuses of all answers in what came from an edge."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3})", content)]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[RawConnection]:
    """Connect; whatever happens, it is over within ten seconds."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield RawConnection(reader, writer)
        finally:
            writer.close()
