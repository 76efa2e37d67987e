"""Owns the search, which leads to the page of anything that has an id, and what became of a request's key."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console.looking_up import METHODS, PLAYERS_METHODS, look_up
from console.pages import Page
from console.search import may_be_key, path_of
from console.views.deposits import formats_of
from console.views.records import fields_of
from console.visit import Visit
from defter_client import messages as m

_LONGEST: Final = 255


async def search(visit: Visit) -> Response:
    """Lead to what a text names; where it names several things, show them, and else what was looked for."""
    text = visit.query.get("q", "").strip()[:_LONGEST]
    player_id = visit.query.get("player", "").strip()[:_LONGEST]
    path = path_of(visit.tenant_id, text)
    if path is not None and not player_id:
        return visit.redirect(path)
    hits = await look_up(visit, text, player_id) if text else []
    if len(hits) == 1:
        return visit.redirect(hits[0].path)
    return await visit.page(
        "search.html", 404 if text and not hits else 200, q=text, player=player_id, hits=hits
    )


async def outcome(visit: Visit) -> Response:
    """Show what became of a request by its key: outcomes are kept for ever."""
    method, key = visit.query.get("method", ""), visit.query.get("key", "")
    if method not in {*METHODS, *PLAYERS_METHODS} or not key or not may_be_key(key):
        raise HTTPException(404)
    ledger = visit.ledger
    player_id = visit.query.get("player", "")
    answer = await ledger.ask(
        ledger.client.journal.get_outcome,
        m.GetOutcomeRequest(
            tenant_id=visit.tenant_id, method=method, idempotency_key=key, player_id=player_id
        ),
    )
    record = answer.entry.record
    return await visit.page(
        "outcome.html",
        method=method,
        key=key,
        player_id=player_id,
        r=record,
        is_refused=record.WhichOneof("fact") == "request_rejected",
        fields=fields_of(record, await formats_of(visit)),
    )


PAGES: Final = (
    Page("/t/{tenant}/search", search),
    Page("/t/{tenant}/outcomes", outcome),
)
