"""Owns what comes before each page and what its failures become: who asks, the form, the sentence."""

import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from console import refusals
from console.catalogue import N_, language_of
from console.forms import FormRefused, check_token, read_form
from console.guarding import REQUEST_ID
from console.metrics import Metrics
from console.oidc.problems import SignInFailed
from console.pages import Page
from console.uploads import UploadRefused, receive
from console.users import User, UsersUnusable
from console.views import openid
from console.visit import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, Console, Visit
from defter_client import LedgerError
from defter_tracing import Kind, traces

log = structlog.get_logger()

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


class Answering:
    """Answers requests by the pages' own functions."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def to(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers the requests for a page."""

        async def answer(request: Request) -> Response:
            visit = self._visit(request)
            try:
                return await self._answered(page, visit)
            except LedgerError as error:
                return await _problem(
                    visit, refusals.status_of(error), refusals.sentence_of(error), code=error.reason
                )
            except HTTPException as error:
                return await _missing(visit, error)
            except Exception as error:
                log.exception("a page failed", request_id=visit.request_id, kind=type(error).__name__)
                return await _problem(visit, 500, _SENTENCES[500])

        return _counted(page, self._console.gateway.metrics, answer)

    async def lost(self, request: Request, error: Exception) -> Response:
        """Answer a request for which there is no page."""
        assert isinstance(error, HTTPException)
        return await _missing(self._visit(request), error)

    async def _answered(self, page: Page, visit: Visit) -> Response:
        try:
            self._sign_in_known(visit)
            if visit.session is None and not page.is_open:
                return _to_sign_in(visit)
            if visit.request.method != "POST":
                assert page.get is not None
                return await page.get(visit)
            assert page.post is not None
            return await page.post(visit, await _sent(page, visit))
        except FormRefused as refused:
            return await _problem(visit, refused.status, _SENTENCES[refused.status])
        except UploadRefused as unread:
            return await _problem(visit, unread.status, unread.sentence)
        except UsersUnusable as unusable:
            log.warning("the file of users can't be used", problem=str(unusable))
            return await _problem(visit, 503, _SENTENCES[503])
        except SignInFailed as failed:
            status, sentence = openid.told(failed.problem)
            log.warning("nobody was signed in", request_id=visit.request_id, problem=failed.problem.value)
            visit.session = visit.user = None
            return await _problem(visit, status, sentence, code=failed.problem.value)

    def _visit(self, request: Request) -> Visit:
        theme = request.cookies.get(THEME_COOKIE, "")
        return Visit(
            console=self._console,
            request=request,
            request_id=str(getattr(request.state, REQUEST_ID)),
            language=language_of(
                request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", "")
            ),
            theme=theme if theme in THEMES else THEMES[0],
        )

    def _sign_in_known(self, visit: Visit) -> None:
        """Fill in who asks, if somebody has signed in whose user still is what it was then."""
        console = self._console
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


async def _sent(page: Page, visit: Visit) -> dict[str, str]:
    """Return the fields of a form that is of a page of this session.

    Raises:
        FormRefused, UploadRefused: it is not, or can't be read.
    """
    session = visit.session
    if page.takes_file:
        assert session is not None

        def check(fields: Mapping[str, str]) -> None:
            check_token(fields, session)

        visit.received = await receive(visit.request, check)
        return dict(visit.received.fields)
    form = dict(await read_form(visit.request))
    if session is not None and not page.is_signing_in:
        check_token(form, session)
    return form


def _counted(
    page: Page, metrics: Metrics, answer: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers requests for a page, counts them, and makes a span for each while traces are on."""

    async def spanned(request: Request) -> Response:
        made = traces()
        if made is None:
            return await answer(request)
        attributes = {"http.route": page.path, "http.request.method": request.method}
        # What a browser says of traces of its own is not read.
        with made.root(f"{request.method} {page.path}", Kind.SERVER, attributes=attributes) as span:
            response = await answer(request)
            span.say(http__response__status_code=response.status_code)
            if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.fail(str(response.status_code))
            return response

    async def counted(request: Request) -> Response:
        begin = time.perf_counter()
        response = await spanned(request)
        metrics.count_request(page.path, request.method, response.status_code, time.perf_counter() - begin)
        return response

    return counted


def _to_sign_in(visit: Visit) -> Response:
    """Lead to the form for signing in, and from there back to here."""
    request = visit.request
    if "hx-request" in request.headers:
        # What a page fetches is a part of it; the whole page has to go there, and comes back from there.
        shown = urlsplit(request.headers.get("hx-current-url", ""))
        here = shown.path + (f"?{shown.query}" if shown.query else "")
        way = f"/sign-in?next={quote(here, safe='')}" if here else "/sign-in"
        return Response(status_code=204, headers={"HX-Redirect": way})
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


async def _missing(visit: Visit, error: HTTPException) -> Response:
    return await _problem(visit, error.status_code, _SENTENCES.get(error.status_code, _SENTENCES[404]))
