"""Owns the stream of signals to a live page."""

from typing import Final

from starlette.responses import Response, StreamingResponse

from console.pages import Page
from console.visit import Visit
from defter_client import messages as m


async def signals(visit: Visit) -> Response:
    """Tell that something has changed, for as long as the page is open and the session goes on."""
    console, session = visit.console, visit.session
    assert session is not None
    if not console.live.admits(session):
        # A browser does not come again after 204: the page is not live, and says so.
        return Response(status_code=204)
    # Whoever may not read the tenant's withdrawals is told nothing of it, not even that something happens;
    # for the journal's own page it is the journal that has to be readable.
    client, tail = visit.ledger.client, bool(visit.query.get("tail"))
    answer: m.ListJournalResponse | m.ListWithdrawalsResponse
    if tail:
        answer = await visit.ledger.page(
            client.journal.list_journal, m.ListJournalRequest(tenant_id=visit.tenant_id, page_size=1)
        )
    else:
        answer = await visit.ledger.page(
            client.withdrawals.list_withdrawals,
            m.ListWithdrawalsRequest(tenant_id=visit.tenant_id, page_size=1),
        )
    told = visit.request.headers.get("last-event-id") or visit.query.get("after", "")
    after = int(told) if told.isascii() and told.isdecimal() and len(told) < 19 else answer.sequence
    stream = console.live.signals(
        session,
        visit.tenant_id,
        after=min(after, answer.sequence),
        head=answer.sequence,
        goes_on=lambda: console.sessions.counts(session),
        tail=tail,
    )
    return StreamingResponse(
        stream,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


PAGES: Final = (Page("/t/{tenant}/signals", signals),)
