"""Owns the console's URLs, and what comes before each page: who asks, and how a failure is told."""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from console import words
from console.catalogue import N_, language_of
from console.forms import FormRefused, check_token, read_form
from console.guarding import REQUEST_ID, Guarding
from console.oidc.client import LOGOUT
from console.oidc.problems import SignInFailed
from console.pages import Page
from console.users import User, UsersUnusable
from console.views import (
    adjusting,
    adjustments,
    bulk_approval,
    findings,
    freezing,
    marking_paid,
    openid,
    overview,
    players,
    records,
    signals,
    signing_in,
    statements,
    withdrawal,
    withdrawal_policy,
    withdrawals,
)
from console.visit import FOLDER, LANGUAGE_COOKIE, THEME_COOKIE, THEMES, Console, Visit
from defter_client import LedgerError

log = structlog.get_logger()

PAGES: Final[tuple[Page, ...]] = (
    *overview.PAGES,
    *signing_in.PAGES,
    *openid.PAGES,
    *signals.PAGES,
    *withdrawals.PAGES,
    *bulk_approval.PAGES,
    *marking_paid.PAGES,
    *withdrawal.PAGES,
    *withdrawal_policy.PAGES,
    *findings.PAGES,
    *players.PAGES,
    *statements.PAGES,
    *adjusting.PAGES,
    *adjustments.PAGES,
    *freezing.PAGES,
    *records.PAGES,
)
_SENTENCES: Final = {
    400: N_("The form can't be read. Go back and send it again."),
    403: N_("This page has expired, or the form is not from a page of yours. Open it again."),
    404: N_("There is no such page."),
    405: N_("There is no such page."),
    413: N_("What was sent is too long."),
    415: N_("The form can't be read. Go back and send it again."),
    429: N_("Too many tries. Wait a few minutes."),
    500: N_("Something failed in the console."),
    503: N_("The file of users can't be read, so nobody can be signed in."),
}


class _Static(StaticFiles):
    """Scripts and styles; a browser asks each time whether they have changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def make_app(console: Console) -> Starlette:
    """Return the application."""

    def visit_of(request: Request) -> Visit:
        theme = request.cookies.get(THEME_COOKIE, "")
        return Visit(
            console=console,
            request=request,
            request_id=str(getattr(request.state, REQUEST_ID)),
            language=language_of(
                request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", "")
            ),
            theme=theme if theme in THEMES else THEMES[0],
        )

    async def sign_in_known(visit: Visit) -> None:
        """Fill in who asks, if somebody has signed in whose user still is what it was then."""
        token = visit.request.cookies.get(console.cookie, "")
        fetched = "hx-request" in visit.request.headers or visit.request.url.path.endswith("/signals")
        session = console.sessions.find(token, is_activity=not fetched) if token else None
        if session is None:
            return
        known = session.provider_person
        if known is not None:
            visit.session, visit.user = session, User(name=known.name, groups=known.groups, password="")
            return
        console.users.refresh()
        user = console.users.get(session.person)
        if user is None or user.password != session.password:
            console.sessions.end(token)
            return
        visit.session, visit.user = session, user

    def answering(page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            visit = visit_of(request)
            try:
                await sign_in_known(visit)
                if visit.session is None and not page.is_open:
                    return _to_sign_in(visit)
                if request.method != "POST":
                    assert page.get is not None
                    return await page.get(visit)
                assert page.post is not None
                form = dict(await read_form(request))
                if visit.session is not None and not page.is_signing_in:
                    check_token(form, visit.session)
                return await page.post(visit, form)
            except FormRefused as refused:
                return await _problem(visit, refused.status, _SENTENCES[refused.status])
            except UsersUnusable as unusable:
                log.warning("the file of users can't be used", problem=str(unusable))
                return await _problem(visit, 503, _SENTENCES[503])
            except SignInFailed as failed:
                status, sentence = openid.told(failed.problem)
                log.warning("nobody was signed in", request_id=visit.request_id, problem=failed.problem.value)
                visit.session = visit.user = None
                return await _problem(visit, status, sentence, code=failed.problem.value)
            except LedgerError as error:
                return await _problem(
                    visit, words.status_of(error), words.sentence_of(error), code=error.reason
                )
            except HTTPException as error:
                return await _problem(
                    visit, error.status_code, _SENTENCES.get(error.status_code, _SENTENCES[404])
                )
            except Exception as error:
                log.exception("a page failed", request_id=visit.request_id, kind=type(error).__name__)
                return await _problem(visit, 500, _SENTENCES[500])

        return answer

    def route(page: Page) -> Route:
        methods = [name for name, handler in (("GET", page.get), ("POST", page.post)) if handler is not None]
        return Route(page.path, answering(page), methods=methods)

    async def lost(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        visit = visit_of(request)
        return await _problem(visit, error.status_code, _SENTENCES.get(error.status_code, _SENTENCES[404]))

    async def health(_request: Request) -> Response:
        return PlainTextResponse("alive")

    app = Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Mount("/static", _Static(directory=FOLDER / "static")),
            *(route(page) for page in PAGES),
        ],
        middleware=[Middleware(Guarding, origins=lambda: console.origins, signed=[LOGOUT])],
        exception_handlers={HTTPException: lost},
    )
    app.router.redirect_slashes = False
    return app


def _to_sign_in(visit: Visit) -> Response:
    """Lead to the form for signing in, and from there back to here."""
    request = visit.request
    if "hx-request" in request.headers:
        # What a page fetches is a part of it; the whole page has to go there.
        return Response(status_code=204, headers={"HX-Redirect": "/sign-in"})
    if request.method != "GET" or request.url.path.endswith("/signals"):
        return visit.redirect("/sign-in") if request.method != "GET" else Response(status_code=204)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return visit.redirect(f"/sign-in?next={quote(here, safe='')}" if here != "/" else "/sign-in")


async def _problem(visit: Visit, status: int, sentence: str, *, code: str = "") -> Response:
    """Return a page that says what is wrong, with the id by which the logs name the request."""
    if "hx-request" in visit.request.headers:
        # The page that fetched this stays as it is; 204 is what leaves it so.
        return Response(status_code=204)
    return await visit.page("problem.html", status, sentence=visit.say(sentence), code_told=code)
