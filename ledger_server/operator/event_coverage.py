"""Owns the coverage of a provider account's needed events: seen lately, or never."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from defter.payments.v1 import provider_event_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from defter_client import LedgerClient
from ledger_server.operator.connection import pages
from webhook_edge.needed import Need, needs_of
from webhook_edge.scheme import Endpoint


class Coverage(NamedTuple):
    """The events that an account has to send, and when each was first seen within the time looked at."""

    provider: str
    need: Need
    type: str = ""
    seen: Timestamp | None = None

    @property
    def missing(self) -> bool:
        """Whether the event was not seen."""
        return self.seen is None


async def coverage(
    ledger: LedgerClient, endpoint: Endpoint, parts: Collection[str], since: datetime
) -> Sequence[Coverage]:
    """Return the coverage of an account's events; reading stops once all were seen.

    Args:
        parts: what the account is used for, of `needed.PARTS`.
    """
    needs = [need for need in needs_of(endpoint) if need.part in parts]
    found: dict[Need, Coverage] = {}
    request = provider_event_pb2.ListProviderEventsRequest(
        tenant_id=endpoint.tenant_id, provider=endpoint.provider
    )
    request.from_time.FromDatetime(since)
    async for page in pages(ledger.provider_events.list_provider_events, request, limit=None):
        for stored in page.events:
            type_ = stored.event.provider_type
            # An unread event does not count as seen.
            if stored.event.unread_reason:
                continue
            for need in needs:
                if type_ in need.types and need not in found:
                    found[need] = Coverage(endpoint.provider, need, type_, stored.receive_time)
        if len(found) == len(needs):
            break
    return [found.get(need, Coverage(endpoint.provider, need)) for need in needs]
