"""Owns how a provider's event becomes a request: deliveries with one identity are one request."""

import hashlib

from ledger_server.domain.commands import Method, RequestKey
from ledger_server.domain.payments.commands import IngestEvent
from ledger_server.domain.payments.events import ProviderEvent
from ledger_server.engine.work import Request


def event_request(event: ProviderEvent) -> Request:
    """Return the request that stores and applies an event.

    Deliveries of one event may differ in their bodies and are one all the same, so the digest is that of the
    identity and never tells them apart.
    """
    identity = f"{event.provider}/{event.event_id}"
    key = RequestKey(Method.IngestProviderEvents, identity)
    return Request(IngestEvent(event=event), key, hashlib.sha256(identity.encode()).digest()[:16])
