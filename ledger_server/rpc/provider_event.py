"""Owns ProviderEventService."""

from collections.abc import Sequence

from defter.payments.v1 import payment_pb2, provider_event_pb2

from ledger_server.domain.payments.events import EventState
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.reads.ledger import Span
from ledger_server.engine.reads.payments import PaymentReads
from ledger_server.engine.reconciliation.event_requests import read_since
from ledger_server.engine.records.wire_format import boolean, length_delimited
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.outcomes import decide_one, refusal_of, results_message
from ledger_server.rpc.page_token import number_position, page_bytes, page_size
from ledger_server.rpc.payment_requests import (
    PaymentReader,
    payment_place,
    provider_name,
    replay_event,
    supersede_event,
)
from ledger_server.rpc.read_requests import bound, optional_enum, tenant_violations
from ledger_server.rpc.requests import ids_of
from ledger_server.rpc.serving import Context, deadline_of
from ledger_server.rpc.shares import SIZE
from ledger_server.store.queries.payments import EventFilter


class ProviderEventServicer:
    """Takes verified events in, each of them once, and reads what became of them."""

    def __init__(self, ledger: CallersLedger, reader: PaymentReader, reads: PaymentReads) -> None:
        self._ledger = ledger
        self._reader = reader
        self._reads = reads

    async def IngestProviderEvents(
        self, request: provider_event_pb2.IngestProviderEventsRequest, context: Context
    ) -> bytes:
        """Store up to 100 events in one commit and let them take effect."""
        self._ledger.check_room(request.tenant_id, SIZE.get())
        items = self._reader.events(request)
        ids = ids_of(request.tenant_id)
        outcomes = list(await self._submit(request.tenant_id, items, context))
        read = {
            place: again
            for place, (item, outcome) in enumerate(zip(items, outcomes, strict=True))
            if (again := read_since(ids, item, outcome)) is not None
        }
        if read:
            # Stored events that were unread or came to nothing have these ids; the answer is that of the new
            # events.
            found = await self._submit(request.tenant_id, list(read.values()), context)
            for place, outcome in zip(read, found, strict=True):
                outcomes[place] = outcome
        return results_message([_ingested(outcome) for outcome in outcomes])

    async def _submit(self, tenant_id: str, items: Sequence[Request], context: Context) -> Sequence[Outcome]:
        outcomes = await self._ledger.submit(tenant_id, items, deadline=deadline_of(context))
        for outcome in outcomes:
            # The sender must hear of an event that was not stored; in its next delivery the others are
            # duplicates.
            if outcome.rejected:
                raise refusal_of(outcome)
        return outcomes

    async def ListProviderEvents(
        self, request: provider_event_pb2.ListProviderEventsRequest, _: Context
    ) -> bytes:
        """List events in the order in which they were stored."""
        violations = tenant_violations(request)
        if request.provider:
            provider_name(violations, request.provider)
        state = optional_enum(violations, request.state, "state", EventState)
        if request.payment_id:
            violations.identifier(request.payment_id, "payment_id")
        stored = Span(bound(violations, request, "from_time"), bound(violations, request, "to_time"))
        size = page_size(request, violations)
        after = number_position(request, violations)
        violations.check()
        number, kind = payment_place(await self._reads.ids(request.tenant_id), request.payment_id)
        wanted = EventFilter(provider=request.provider, state=state, payment_number=number, payment_kind=kind)
        page = await self._reads.list_events(request.tenant_id, wanted, stored, after=after, size=size)
        return page_bytes(request, page)

    async def GetProviderEvent(
        self, request: provider_event_pb2.GetProviderEventRequest, _: Context
    ) -> provider_event_pb2.GetProviderEventResponse:
        """Read one event with its payload."""
        violations = tenant_violations(request)
        violations.identifier(request.provider_event_id, "provider_event_id")
        violations.check()
        stored, newest = await self._reads.event(request.tenant_id, request.provider_event_id)
        event = payment_pb2.RecordedProviderEvent.FromString(stored.body)
        event.event.payload = stored.payload
        return provider_event_pb2.GetProviderEventResponse(event=event, sequence=newest)

    async def ReplayProviderEvent(
        self, request: provider_event_pb2.ReplayProviderEventRequest, context: Context
    ) -> bytes:
        """Apply a stored event again."""
        item = replay_event(request)
        return length_delimited(1, await decide_one(self._ledger, request.tenant_id, item, context))

    async def SupersedeProviderEvent(
        self, request: provider_event_pb2.SupersedeProviderEventRequest, context: Context
    ) -> bytes:
        """Say what an unread event became."""
        item = supersede_event(request)
        return length_delimited(1, await decide_one(self._ledger, request.tenant_id, item, context))


def _ingested(outcome: Outcome) -> bytes:
    """Return what became of one event, as the bytes of an `IngestedProviderEvent`."""
    return length_delimited(1, outcome.content) + boolean(2, value=outcome.replayed)
