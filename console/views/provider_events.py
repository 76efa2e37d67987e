"""Owns the pages of providers' events: the list, and one with its body, and what became of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import csv_lists, refusals, words
from console.csv_lists import Text
from console.formats import iso
from console.forms import form_key, key_of
from console.ledger import REPLAY, SUPERSEDE
from console.pages import Page
from console.payloads import payload_of
from console.views.allowed import if_allowed
from console.views.deposits import formats_of
from console.views.lists import PAGE_SIZE, Filters, csv_answer
from console.views.records import fields_of
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_ACTS: Final = {"replay": REPLAY, "supersede": SUPERSEDE}
_SHOWN: Final = 20


def _request(visit: Visit, filters: Filters) -> m.ListProviderEventsRequest:
    """Return what the address asks for."""
    return m.ListProviderEventsRequest(
        tenant_id=visit.tenant_id,
        provider=filters.text("provider"),
        state=filters.number("state", words.EVENT_STATES),  # type: ignore[arg-type]  # one of the words' keys
        payment_id=filters.text("payment"),
        from_time=filters.time("from"),
        to_time=filters.time("to"),
        page_size=PAGE_SIZE,
        page_token=filters.page_token,
    )


async def listed(visit: Visit) -> Response:
    """Show events."""
    filters = Filters(visit)
    request = _request(visit, filters)
    ledger = visit.ledger
    answer = await ledger.page(ledger.client.provider_events.list_provider_events, request)
    return await visit.page(
        "events.html",
        422 if filters.problems else 200,
        rows=answer.events,
        state=request.state,
        next_token=answer.next_page_token,
        sequence=answer.sequence,
        problems=filters.problems,
    )


async def as_csv(visit: Visit) -> Response:
    """Return all pages of the same list as a file; bodies are not in it."""
    filters = Filters(visit)
    request = _request(visit, filters)
    if filters.problems:
        raise HTTPException(400)
    request.page_size, request.page_token = 1_000, ""
    ledger = visit.ledger
    formats = await formats_of(visit)

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        pager = ledger.client.provider_events.list_provider_events(request, metadata=ledger.metadata)
        async for each in pager:
            event = each.event
            has_amount = each.HasField("amount_minor")
            yield (
                each.provider_event_id,
                Text(event.provider),
                Text(event.event_id),
                m.ProviderEventType.Name(event.type),
                Text(event.provider_type),
                m.ProviderEventState.Name(each.state),
                each.payment_id,
                Text(event.payment_ref),
                Text(event.object_ref),
                formats.plain(each.amount_minor, event.currency_code) if has_amount else "",
                Text(event.currency_code),
                Text(each.note),
                iso(event.occur_time),
                iso(each.receive_time),
            )

    header = "provider_event_id,provider,event_id,type,provider_type,state,payment_id,payment_ref,object_ref"
    rest = ("amount", "currency", "note", "occur_time", "receive_time")
    return await csv_answer(visit, "events", [*header.split(","), *rest], rows())


async def one(visit: Visit) -> Response:
    """Show one event."""
    return await _shown(visit, problem="", typed={}, status=200)


async def act(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger to apply the event again, or to note what it became; then show it as it stands."""
    name, event_id = visit.request.path_params["act"], visit.request.path_params["event"]
    if name not in _ACTS:
        raise HTTPException(404)
    ledger = visit.ledger
    events = ledger.client.provider_events
    common: dict[str, Any] = {
        "tenant_id": visit.tenant_id,
        "idempotency_key": key_of(form),
        "provider_event_id": event_id,
    }
    try:
        answer: Any
        if name == "replay":
            answer = await ledger.ask(events.replay_provider_event, m.ReplayProviderEventRequest(**common))
        else:
            became = form.get("became", "").strip()
            answer = await ledger.ask(
                events.supersede_provider_event,
                m.SupersedeProviderEventRequest(**common, superseded_by_event_id=became),
            )
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            ledger.forget_access(visit.tenant_id)
        again = "yes" if error.outcome_unknown or error.retryable else ""
        return await _shown(
            visit,
            problem=visit.say(refusals.sentence_of(error)),
            typed={**form, "act": name, "again": again},
            status=refusals.status_of(error),
            code=error.reason,
        )
    visit.note(
        "replayed" if answer.replayed else "event_replayed" if name == "replay" else "event_superseded"
    )
    return visit.redirect(visit.path("events", event_id))


async def _shown(
    visit: Visit, *, problem: str, typed: dict[str, str], status: int, code: str = ""
) -> Response:
    ledger, tenant_id = visit.ledger, visit.tenant_id
    answer = await ledger.ask(
        ledger.client.provider_events.get_provider_event,
        m.GetProviderEventRequest(tenant_id=tenant_id, provider_event_id=visit.request.path_params["event"]),
    )
    event = answer.event
    is_unread = event.state == m.PROVIDER_EVENT_STATE_UNREAD
    findings, may = await asyncio.gather(
        if_allowed(_findings(visit, event.payment_id)) if event.payment_id else _none(),
        ledger.may(tenant_id, *_ACTS.values()),
    )
    payload = payload_of(event.event.payload)
    event.event.ClearField("payload")
    return await visit.page(
        "event.html",
        status,
        e=event,
        sequence=answer.sequence,
        payload=payload,
        payload_shown=visit.query.get("payload") == "all",
        findings=findings,
        is_unread=is_unread,
        may={name: may[method] for name, method in _ACTS.items()},
        keys={
            name: typed["key"]
            if typed.get("again") and typed.get("act") == name and "key" in typed
            else form_key()
            for name in _ACTS
        },
        typed=typed,
        problem=problem,
        code_told=code,
        fields=fields_of(event, await formats_of(visit)),
    )


async def _findings(visit: Visit, payment_id: str) -> m.ListFindingsResponse:
    request = m.ListFindingsRequest(tenant_id=visit.tenant_id, payment_id=payment_id, page_size=_SHOWN)
    answer: m.ListFindingsResponse = await visit.ledger.page(
        visit.ledger.client.findings.list_findings, request
    )
    return answer


async def _none() -> None:
    return None


PAGES: Final = (
    Page("/t/{tenant}/events", listed),
    Page("/t/{tenant}/events.csv", as_csv),
    Page("/t/{tenant}/events/{event}", one),
    Page("/t/{tenant}/events/{event}/{act}", post=act),
)
