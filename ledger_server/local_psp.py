"""Owns the provider that `defter up` runs beside the ledger, and the way of its webhooks to the ledger.

The way is short: a webhook is verified as the edge would do it, and handed to the ledger over gRPC. Its
sender gets a success only when the ledger has made it durable, so nothing is lost on the way.
"""

import base64
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, NamedTuple

from defter.payments.v1 import provider_event_pb2

from defter_client import LedgerClient, LedgerError
from ledger_server.domain.currency import CurrencyRegistry
from ledger_server.providers.adapter import Adapter
from ledger_server.providers.mock import MockAdapter
from mock_psp import server as mock_psp
from webhook_edge import standard

NAME: Final = "mock"


class LocalPsp(NamedTuple):
    """The running provider, an adapter to it, and where its webhooks go."""

    url: str
    adapter: Adapter
    webhooks: "WebhookBridge"


class WebhookBridge:
    """Hands verified webhooks of the local provider to the ledger."""

    def __init__(self, tenant_id: str, webhook_secret: str) -> None:
        self._tenant_id = tenant_id
        self._secret = webhook_secret
        self._ledger: LedgerClient | None = None

    def connect(self, target: str) -> None:
        """Say where the ledger is; until then every webhook has to come again."""
        self._ledger = LedgerClient(target)

    async def deliver(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Take a webhook; return the HTTP status that its sender gets."""
        try:
            standard.verify(body, headers, [self._secret], datetime.now(UTC))
        except standard.Malformed:
            return HTTPStatus.BAD_REQUEST
        except standard.NotVerified:
            return HTTPStatus.UNAUTHORIZED
        if self._ledger is None:
            return HTTPStatus.SERVICE_UNAVAILABLE
        request = provider_event_pb2.IngestProviderEventsRequest(
            tenant_id=self._tenant_id, events=standard.provider_events(body, headers, NAME)
        )
        try:
            await self._ledger.call(self._ledger.provider_events.IngestProviderEvents, request)
        except LedgerError:
            return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus.OK

    async def close(self) -> None:
        """Let go of the ledger."""
        if self._ledger is not None:
            await self._ledger.close()


@asynccontextmanager
async def local_psp(tenant_id: str, currencies: CurrencyRegistry) -> AsyncIterator[LocalPsp]:
    """Run a MockPSP on a free port until the context ends; its webhooks belong to one tenant."""
    token = secrets.token_urlsafe()
    webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    bridge = WebhookBridge(tenant_id, webhook_secret)
    async with mock_psp.serve(token=token, deliver=bridge.deliver, webhook_secrets=[webhook_secret]) as psp:
        psp.knobs.fee_minor = 35
        adapter = MockAdapter(base_address=psp.url, api_key=token, currencies=currencies)
        try:
            yield LocalPsp(url=psp.url, adapter=adapter, webhooks=bridge)
        finally:
            await adapter.close()
            await bridge.close()
