"""Owns the request for a provider's event: all deliveries of one event are one request."""

import hashlib
from typing import Final

from defter.payments.v1 import payment_pb2
from msgspec.structs import replace

from ledger_server.domain.decisions.payments.unread import (
    CAME_TO_NOTHING,
    mended_event_id,
    read_event_id,
    said_by,
)
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.commands import IngestEvent
from ledger_server.domain.payments.events import EventType, ProviderEvent
from ledger_server.domain.state.commands import Method, RequestKey
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.records.events import event_of

# The size of an event without its payload: a dozen short texts.
_EVENT_BYTES: Final = 4 * 1024


def event_request(event: ProviderEvent, *, mends: int | None = None) -> Request:
    """Return the request that stores and applies an event.

    Deliveries of one event may differ in their bodies but are still one event. So the request digest covers
    the event's identity alone.

    Args:
        mends: the number of the stored event of the same id that came to nothing.
    """
    identity = f"{event.provider}/{event.event_id}"
    key = RequestKey(Method.IngestProviderEvents, identity, player_id="")
    digest = hashlib.sha256(identity.encode()).digest()[:16]
    return Request(IngestEvent(event=event, mends=mends), key, digest, len(event.payload) + _EVENT_BYTES)


def read_since(ids: TenantIds, request: Request, outcome: Outcome) -> Request | None:
    """Return the request for an event whose id is taken by one that was unread or came to nothing; else None.

    An unread event was stored by an edge or a ledger that did not know its type yet, or could not read it. An
    event that came to nothing named an unknown payment, or could not be booked; a sender that corrects it
    keeps the id. The new id follows from the old one and from what the event says, so repeated deliveries are
    still one event. None means that the earlier outcome stands.
    """
    command = request.command
    if not outcome.replayed or not isinstance(command, IngestEvent):
        return None
    event = command.event
    if event.type is EventType.UNKNOWN:
        return None
    message = payment_pb2.RecordedProviderEvent.FromString(outcome.content)
    if message.event.type == payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED:
        return event_request(replace(event, event_id=read_event_id(event.event_id)))
    stored = event_of(ids, message, b"")
    if stored.state not in CAME_TO_NOTHING or said_by(stored.event) == said_by(event):
        return None
    return event_request(replace(event, event_id=mended_event_id(event)), mends=stored.number)
