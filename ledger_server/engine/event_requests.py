"""Owns how a provider's event becomes a request: deliveries with one identity are one request."""

import hashlib

from defter.payments.v1 import payment_pb2
from msgspec.structs import replace

from ledger_server.domain.commands import Method, RequestKey
from ledger_server.domain.payments.commands import IngestEvent
from ledger_server.domain.payments.events import EventType, ProviderEvent
from ledger_server.domain.payments.unread import read_event_id
from ledger_server.engine.work import Outcome, Request


def event_request(event: ProviderEvent) -> Request:
    """Return the request that stores and applies an event.

    Deliveries of one event may differ in their bodies and are one all the same, so the digest is that of the
    identity and never tells them apart.
    """
    identity = f"{event.provider}/{event.event_id}"
    key = RequestKey(Method.IngestProviderEvents, identity, player_id="")
    return Request(IngestEvent(event=event), key, hashlib.sha256(identity.encode()).digest()[:16])


def read_since(request: Request, outcome: Outcome) -> Request | None:
    """Return the request to ingest an event that says something, whose id one has that said nothing.

    Such ids were given by an edge or a ledger that did not know the type yet, or could not read the event.
    The new id follows from the old one, so deliveries that come again are one event still. None: the outcome
    stands.
    """
    command = request.command
    if not outcome.replayed or not isinstance(command, IngestEvent):
        return None
    if command.event.type is EventType.UNKNOWN:
        return None
    stored = payment_pb2.RecordedProviderEvent.FromString(outcome.content)
    if stored.event.type != payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED:
        return None
    return event_request(replace(command.event, event_id=read_event_id(command.event.event_id)))
