"""Owns the provider that `defter up` runs beside the ledger, and the edge that takes its webhooks.

Both listen on sockets of this machine, and everything works as in production: the provider signs and posts
its webhooks, the edge verifies them and hands them to the ledger over gRPC, and the provider gets a success
only when the ledger has made them durable.
"""

import base64
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from defter_channel import Proof
from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.providers.adapter import Adapter
from ledger_server.providers.mock import MockAdapter
from mock_psp import server as mock_psp
from webhook_edge.app import make_app
from webhook_edge.configuration import Configuration, ConfiguredEndpoint
from webhook_edge.gateway import LedgerGateway
from webhook_edge.receiver import Receiver
from webhook_edge.scheme import Endpoint, Secret
from webhook_edge.server import READY_SECONDS, answering

NAME: Final = "mock"
_HOST: Final = "127.0.0.1"
_SCHEME: Final = "standard"


class LocalPsp:
    """The running provider.

    Attributes:
        url: where it listens.
        webhook_url: where it posts its events; nobody answers there before `edge` runs.
        adapter: the ledger's adapter to it.
    """

    def __init__(self, *, url: str, adapter: Adapter, listening: socket.socket, endpoint: Endpoint) -> None:
        self.url = url
        self.webhook_url = _webhook_url(listening)
        self.adapter = adapter
        self._listening = listening
        self._endpoint = endpoint

    @asynccontextmanager
    async def edge(self, target: str, proof: Proof | None) -> AsyncIterator[None]:
        """Take its webhooks to the ledger at a target until the context ends.

        Args:
            proof: who the edge is, to a ledger with TLS.
        """
        configuration = Configuration(endpoints={NAME: ConfiguredEndpoint(endpoint=self._endpoint)})
        gateway = LedgerGateway(target, proof=proof)
        receiver = Receiver(configuration=lambda: configuration, ledger=gateway, log_taken=False)
        app = make_app(receiver, ready=lambda: gateway.served_within(READY_SECONDS))
        try:
            async with gateway.watched(), answering(app, self._listening):
                yield
        finally:
            await gateway.close()


@asynccontextmanager
async def local_psp(
    tenant_id: str, currencies: CurrencyRegistry, *, edge_port: int = 0
) -> AsyncIterator[LocalPsp]:
    """Run a MockPSP on a free port until the context ends; its webhooks belong to one tenant.

    Args:
        edge_port: where its webhooks go; 0 takes any port that is free.
    """
    token = secrets.token_urlsafe()
    secret = Secret(name="local", value="whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    endpoint = Endpoint(
        name=NAME, tenant_id=tenant_id, provider=NAME, scheme=_SCHEME, secrets=[secret], options={}
    )
    # The socket is opened before anything answers on it, since the ledger needs the provider's adapter and
    # the edge needs the ledger. Webhooks that are posted meanwhile wait in the socket's queue.
    with socket.create_server((_HOST, edge_port)) as listening:
        async with mock_psp.serve(
            token=token, webhook_url=_webhook_url(listening), webhook_secrets=[secret.value]
        ) as psp:
            psp.knobs.fee_minor = 35
            adapter = MockAdapter(base_address=psp.url, api_key=token, currencies=currencies)
            try:
                yield LocalPsp(url=psp.url, adapter=adapter, listening=listening, endpoint=endpoint)
            finally:
                await adapter.close()


def _webhook_url(listening: socket.socket) -> str:
    return f"http://{_HOST}:{listening.getsockname()[1]}/webhooks/{_SCHEME}/{NAME}"
