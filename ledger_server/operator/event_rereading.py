"""Owns the rereading of stored unread events, and what becomes of each.

The bytes are those that the edge has verified and the ledger has stored; the operator adds none. Their
content is ingested by the same call as a webhook, so repeating this or stopping in between does no harm.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from defter.payments.v1 import payment_pb2 as pb
from defter.payments.v1 import provider_event_pb2
from defter.reconciliation.v1 import finding_pb2

from defter_client import LedgerClient
from ledger_server.operator.connection import Stopped, pages
from ledger_server.operator.findings import UNRESOLVED
from webhook_edge.scheme import Endpoint
from webhook_edge.schemes import scheme_named


class Became(StrEnum):
    """What became of an event."""

    READ = "read"
    STILL_UNREAD = "still unread"
    SETTLED = "settled otherwise"
    NOT_OURS = "not ours"
    SAYS_NOTHING = "says nothing"
    NO_ENDPOINT = "no endpoint"
    ALTERED = "altered"

    @property
    def is_problem(self) -> bool:
        """Whether something has to be mended before the event can be read."""
        return self in {Became.NO_ENDPOINT, Became.ALTERED}


class Reread(NamedTuple):
    """An event, what became of it, and what it says now."""

    stored: pb.RecordedProviderEvent
    became: Became
    says: Sequence[pb.ProviderEvent] = ()
    successor: str = ""


class Rereader:
    """Reads a tenant's unread events again."""

    def __init__(
        self, ledger: LedgerClient, tenant: str, endpoints: Mapping[str, Endpoint], *, dry_run: bool
    ) -> None:
        """Take the endpoints to read by, one for each provider account; a dry run changes nothing."""
        self._ledger = ledger
        self._tenant = tenant
        self._endpoints = endpoints
        self._dry_run = dry_run
        # The ids of unread events whose findings are not resolved, each with its account.
        self._open: set[tuple[str, str]] = set()

    async def events(self, provider: str, *, ignored: bool) -> AsyncIterator[Reread]:
        """Yield what becomes of each unread event, the oldest first.

        Args:
            ignored: include ignored events; unread events were stored as such before they had a state of
                their own.
        """
        states = [pb.PROVIDER_EVENT_STATE_UNREAD, *([pb.PROVIDER_EVENT_STATE_IGNORED] if ignored else [])]
        for state in states:
            request = provider_event_pb2.ListProviderEventsRequest(
                tenant_id=self._tenant, provider=provider, state=state
            )
            method = self._ledger.provider_events.list_provider_events
            async for page in pages(method, request, limit=None):
                if any(listed.event.moves_money for listed in page.events):
                    # After the page of events: a finding exists as soon as its event does.
                    await self._read_findings(provider)
                for listed in page.events:
                    yield await self._reread(listed)

    async def _reread(self, listed: pb.RecordedProviderEvent) -> Reread:
        endpoint = self._endpoints.get(listed.event.provider)
        if endpoint is None:
            return Reread(listed, Became.NO_ENDPOINT)
        stored = await self._stored(listed.provider_event_id)
        if hashlib.sha256(stored.event.payload).digest() != stored.payload_digest:
            # The journal has the digest of what was verified.
            return Reread(stored, Became.ALTERED)
        says = scheme_named(endpoint.scheme).read_again(stored.event, endpoint)
        if not says:
            return Reread(stored, Became.NOT_OURS)
        if any(event.unread_reason for event in says):
            return Reread(stored, self._unread(stored.event), says)
        if stored.state == pb.PROVIDER_EVENT_STATE_IGNORED and not any(event.type for event in says):
            return Reread(stored, Became.SAYS_NOTHING)
        for event in says:
            if not event.HasField("occur_time"):
                event.occur_time.CopyFrom(stored.receive_time)
        return Reread(stored, Became.READ, says, "" if self._dry_run else await self._take_in(stored, says))

    def _unread(self, event: pb.ProviderEvent) -> Became:
        """Return whether an event that can't be read still waits, or was settled by an event or a person."""
        event_id = event.read_event_id or event.event_id
        settled = event.moves_money and (event.provider, event_id) not in self._open
        return Became.SETTLED if settled else Became.STILL_UNREAD

    async def _read_findings(self, provider: str) -> None:
        request = finding_pb2.ListFindingsRequest(
            tenant_id=self._tenant,
            provider=provider,
            finding_class=finding_pb2.FINDING_CLASS_UNREAD_EVENT,
            states=UNRESOLVED,
        )
        self._open.clear()
        async for page in pages(self._ledger.findings.list_findings, request, limit=None):
            self._open.update((found.provider, found.at_provider.ref) for found in page.findings)

    async def _stored(self, event_id: str) -> pb.RecordedProviderEvent:
        request = provider_event_pb2.GetProviderEventRequest(
            tenant_id=self._tenant, provider_event_id=event_id
        )
        return (await self._ledger.provider_events.get_provider_event(request)).event

    async def _take_in(self, stored: pb.RecordedProviderEvent, says: Sequence[pb.ProviderEvent]) -> str:
        """Ingest what an event says, then mark it superseded; return the id of the event that it became."""
        request = provider_event_pb2.IngestProviderEventsRequest(tenant_id=self._tenant, events=says)
        answer = await self._ledger.provider_events.ingest_provider_events(request)
        successor = answer.events[0].event.provider_event_id
        if successor != stored.provider_event_id:
            superseding = provider_event_pb2.SupersedeProviderEventRequest(
                tenant_id=self._tenant,
                # One outcome for each pair, so that a retry is the same request.
                idempotency_key=f"reread:{stored.provider_event_id}:{successor}",
                provider_event_id=stored.provider_event_id,
                superseded_by_event_id=successor,
            )
            await self._ledger.provider_events.supersede_provider_event(superseding)
        return successor


def endpoint_of_each(
    endpoints: Sequence[Endpoint], tenant: str, provider: str, named: str
) -> dict[str, Endpoint]:
    """Return the endpoint that reads the events of each provider account of a tenant.

    Raises:
        Stopped: there is none, or several endpoints of one account read differently and none was named.
    """
    found: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        wanted = endpoint.tenant_id == tenant and provider in {"", endpoint.provider}
        if not wanted or named not in {"", endpoint.name}:
            continue
        known = found.setdefault(endpoint.provider, endpoint)
        if (known.scheme, known.options) != (endpoint.scheme, endpoint.options):
            raise Stopped(
                f"the endpoints {known.name} and {endpoint.name} of {endpoint.provider} have other options:"
                " say --endpoint"
            )
    if not found:
        raise Stopped("the file of endpoints has none of that tenant, provider account and name")
    return found
