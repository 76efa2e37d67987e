"""Owns the pages of the border: how providers are doing, which calls are owed, and whether any are made."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import csv_lists, refusals
from console.border_health import health_of
from console.csv_lists import Text
from console.formats import iso
from console.ledger import RESUME, STOP
from console.owed_calls import MOST_LOOKED_AT, OwedCall, owed_calls, providers_of
from console.pages import Page
from console.views.allowed import if_allowed
from console.views.deposits import formats_of
from console.views.findings import OPEN
from console.views.lists import Filters, csv_answer
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_ACTS: Final = {"stop": STOP, "resume": RESUME}
_DONE: Final = {"stop": "outbound_stopped", "resume": "outbound_resumed"}
_MOST_PROVIDERS: Final = 20
_SHOWN: Final = 200
_TOLD: Final = 1_000
"""Findings of which their payments are looked up."""


async def listed(visit: Visit) -> Response:
    """Show how each provider is doing."""
    return await _shown(visit, problem="", typed={}, status=200)


async def act(visit: Visit, form: dict[str, str]) -> Response:
    """Stop all calls to providers, or let them go on."""
    name = visit.request.path_params["act"]
    if name not in _ACTS:
        raise HTTPException(404)
    ledger, outbound = visit.ledger, visit.ledger.client.outbound
    note = form.get("note", "").strip()
    try:
        if name == "stop":
            await ledger.ask(outbound.stop_outbound, m.StopOutboundRequest(note=note, actor=ledger.person))
        else:
            resuming = m.ResumeOutboundRequest(
                epoch=form.get("epoch", ""),
                note=note,
                actor=ledger.person,
                allow_unreconciled=form.get("anyhow") == "yes",
            )
            await ledger.ask(outbound.resume_outbound, resuming)
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            ledger.forget_access(visit.tenant_id)
        return await _shown(
            visit,
            problem=visit.say(refusals.sentence_of(error)),
            typed={**form, "act": name},
            status=refusals.status_of(error),
            code=error.reason,
        )
    visit.note(_DONE[name])
    return visit.redirect(visit.path("providers"))


async def _shown(
    visit: Visit, *, problem: str, typed: dict[str, str], status: int, code: str = ""
) -> Response:
    ledger, tenant_id = visit.ledger, visit.tenant_id
    providers, owed, outbound, may, newest = await asyncio.gather(
        if_allowed(providers_of(visit)),
        if_allowed(owed_calls(visit)),
        if_allowed(ledger.ask(ledger.client.outbound.get_outbound, m.GetOutboundRequest())),
        ledger.may(tenant_id, *_ACTS.values()),
        # Whoever may see nothing of the tenant is told so; and a live page needs to know what it has seen.
        ledger.page(
            ledger.client.provider_events.list_provider_events,
            m.ListProviderEventsRequest(tenant_id=tenant_id, page_size=1),
        ),
    )
    calls = None if owed is None else owed.calls
    known = [] if providers is None else providers
    rows = await asyncio.gather(*(health_of(visit, each, calls) for each in known[:_MOST_PROVIDERS]))
    return await visit.page(
        "providers.html",
        status,
        rows=rows,
        left_out=len(known) - len(rows),
        may_list=providers is not None,
        is_complete=owed is None or owed.is_complete,
        looked_at=MOST_LOOKED_AT,
        outbound=None if outbound is None else outbound.outbound,
        own_findings=[]
        if outbound is None
        else [each for each in outbound.outbound.open_findings if each.tenant_id == tenant_id],
        own_unreconciled=[]
        if outbound is None
        else [each for each in outbound.outbound.unreconciled if each.tenant_id == tenant_id],
        may={name: may[method] for name, method in _ACTS.items()},
        sequence=newest.sequence,
        typed=typed,
        problem=problem,
        code_told=code,
    )


async def calls(visit: Visit) -> Response:
    """Show which calls to providers are owed, and which findings are open on their payments."""
    found, is_complete = await _calls(visit)
    page = await if_allowed(
        visit.ledger.page(
            visit.ledger.client.findings.list_findings,
            m.ListFindingsRequest(tenant_id=visit.tenant_id, states=OPEN, page_size=_TOLD),
        )
    )
    told: dict[str, list[m.Finding]] = {}
    for finding in () if page is None else page.findings:
        told.setdefault(finding.payment_id, []).append(finding)
    return await visit.page(
        "calls.html",
        rows=found[:_SHOWN],
        left_out=max(0, len(found) - _SHOWN),
        is_complete=is_complete,
        looked_at=MOST_LOOKED_AT,
        told=told,
        sequence=0 if page is None else page.sequence,
    )


async def calls_as_csv(visit: Visit) -> Response:
    """Return the same list as a file."""
    found, _ = await _calls(visit)
    formats = await formats_of(visit)

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        for each in found:
            yield (
                each.payment_id,
                each.what,
                Text(each.player_id),
                formats.plain(each.amount_minor, each.currency_code),
                each.currency_code,
                Text(each.provider),
                m.CallState.Name(each.state),  # type: ignore[arg-type]  # one that is owed
                iso(each.since),
            )

    header = "payment_id,call,player_id,amount,currency,provider,call_state,since"
    return await csv_answer(visit, "calls", header.split(","), rows())


async def _calls(visit: Visit) -> tuple[list[OwedCall], bool]:
    provider = Filters(visit).text("provider")
    owed = await owed_calls(visit)
    return [each for each in owed.calls if provider in {"", each.provider}], owed.is_complete


PAGES: Final = (
    Page("/t/{tenant}/providers", listed),
    Page("/t/{tenant}/providers/{act}", post=act),
    Page("/t/{tenant}/calls", calls),
    Page("/t/{tenant}/calls.csv", calls_as_csv),
)
