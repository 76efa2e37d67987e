"""Owns the console's URLs, and what answers each of them."""

from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from console.answering import Answering
from console.guarding import Guarding
from console.oidc.client import LOGOUT
from console.pages import Page
from console.views import (
    accounts,
    adjusting,
    adjustments,
    bulk_approval,
    confirming,
    deposits,
    findings,
    freezing,
    journal,
    marking_paid,
    money,
    openid,
    overview,
    players,
    provider_events,
    providers,
    records,
    refunds,
    runs,
    searching,
    settlement,
    settlement_files,
    signals,
    signing_in,
    statements,
    transactions,
    trial_balance,
    verification,
    withdrawal,
    withdrawal_policy,
    withdrawals,
)
from console.visit import FOLDER, Console

PAGES: Final[tuple[Page, ...]] = (
    *overview.PAGES,
    *money.PAGES,
    *signing_in.PAGES,
    *openid.PAGES,
    *signals.PAGES,
    *withdrawals.PAGES,
    *bulk_approval.PAGES,
    *marking_paid.PAGES,
    *withdrawal.PAGES,
    *withdrawal_policy.PAGES,
    *findings.PAGES,
    *deposits.PAGES,
    *refunds.PAGES,
    *provider_events.PAGES,
    *providers.PAGES,
    *settlement_files.PAGES,
    *settlement.PAGES,
    *confirming.PAGES,
    *runs.PAGES,
    *players.PAGES,
    *statements.PAGES,
    *adjusting.PAGES,
    *adjustments.PAGES,
    *freezing.PAGES,
    *records.PAGES,
    *searching.PAGES,
    *trial_balance.PAGES,
    *accounts.PAGES,
    *transactions.PAGES,
    *journal.PAGES,
    *verification.PAGES,
)


class _Static(StaticFiles):
    """Scripts and styles; a browser asks each time whether they have changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def make_app(console: Console) -> Starlette:
    """Return the application."""
    answering = Answering(console)
    console.gateway.metrics.expect(page.path for page in PAGES)

    def route(page: Page) -> Route:
        methods = [name for name, handler in (("GET", page.get), ("POST", page.post)) if handler is not None]
        return Route(page.path, answering.to(page), methods=methods)

    async def health(_request: Request) -> Response:
        return PlainTextResponse("alive")

    app = Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Mount("/static", _Static(directory=FOLDER / "static")),
            *(route(page) for page in PAGES),
        ],
        middleware=[Middleware(Guarding, origins=lambda: console.origins, signed=[LOGOUT])],
        exception_handlers={HTTPException: answering.lost},
    )
    app.router.redirect_slashes = False
    return app
