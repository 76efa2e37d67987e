"""Owns signing in by an identity provider: the way there and back, and what it says by itself."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from console.catalogue import N_
from console.oidc.client import BEGIN, CALLBACK, LOGOUT, OidcClient
from console.oidc.pending import LIFE_SECONDS
from console.oidc.problems import Problem, SignInFailed
from console.pages import Page
from console.views.local_paths import local_path
from console.visit import Visit

log = structlog.get_logger()

_LONGEST_TARGET: Final = 2_000
_EXPIRED: Final = N_("This sign-in has expired, or it was begun in another window. Begin again.")
_REFUSED: Final = N_("The identity provider has not signed you in.")
_AWAY: Final = N_("The identity provider can't be reached. Try again in a minute.")
_UNUSABLE: Final = N_("The identity provider, or this console at it, is not set up rightly.")
_NOT_PROVED: Final = N_("What the identity provider sent proves nothing: nobody was signed in. Begin again.")
_NOBODY: Final = N_("The identity provider names nobody whom the ledger could record.")
_GROUPS: Final = N_(
    "The identity provider tells more of your groups than the ledger takes. Have it tell fewer."
)
_TOLD: Final[Mapping[Problem, tuple[int, str]]] = {
    Problem.SIGN_IN_EXPIRED: (400, _EXPIRED),
    Problem.STATE_OTHER: (400, _EXPIRED),
    Problem.PROVIDER_REFUSED: (403, _REFUSED),
    Problem.PROVIDER_AWAY: (503, _AWAY),
    Problem.PROVIDER_UNUSABLE: (502, _UNUSABLE),
    Problem.SUBJECT_UNUSABLE: (403, _NOBODY),
    Problem.TOO_MANY_GROUPS: (403, _GROUPS),
}


def told(problem: Problem) -> tuple[int, str]:
    """Return how a problem is told: a status, and a sentence."""
    return _TOLD.get(problem, (403, _NOT_PROVED))


def _client(visit: Visit) -> OidcClient:
    if visit.console.oidc is None:
        raise HTTPException(404)
    return visit.console.oidc


def _cookie(visit: Visit) -> str:
    """Return the name of the cookie that binds a sign-in to its browser."""
    return f"{visit.console.cookie}-sign-in"


def _address(visit: Visit) -> str:
    return visit.request.client.host if visit.request.client is not None else ""


async def begin(visit: Visit) -> Response:
    """Send the browser to the provider."""
    client, console = _client(visit), visit.console
    target = local_path(visit.query.get("next", ""))
    if visit.session is not None:
        return visit.redirect(target)
    if len(target) > _LONGEST_TARGET:  # it is kept until the person comes back
        target = "/"
    # The provider knows one name of the console, and cookies are of the name that was asked.
    if visit.request.headers.get("host", "").lower() != console.origins[0].partition("://")[2]:
        return visit.redirect(f"{console.origins[0]}{BEGIN}?next={quote(target, safe='')}")
    if not await console.throttle.admits_address(_address(visit)):
        raise HTTPException(429)
    token, address = await client.begin(target, origin=console.origins[0])
    response = visit.redirect(address)
    response.set_cookie(
        _cookie(visit),
        token,
        LIFE_SECONDS,
        path="/",
        secure=console.is_secure,
        httponly=True,
        samesite="lax",
    )
    return response


async def complete(visit: Visit) -> Response:
    """Begin a session by what the provider says, under a new id, and end the one before."""
    client, console = _client(visit), visit.console
    cookies = visit.request.cookies
    person, target = await client.complete(
        cookies.get(_cookie(visit), ""), visit.request.query_params.multi_items(), origin=console.origins[0]
    )
    console.sessions.end(cookies.get(console.cookie, ""))
    token, _ = console.sessions.begin_by_provider(person)
    log.info(
        "signed in", person=person.name, by="provider", request_id=visit.request_id, address=_address(visit)
    )
    response = visit.redirect(target)
    response.delete_cookie(_cookie(visit), path="/", secure=console.is_secure, httponly=True, samesite="lax")
    response.set_cookie(
        console.cookie, token, path="/", secure=console.is_secure, httponly=True, samesite="lax"
    )
    return response


async def ended_there(visit: Visit, form: dict[str, str]) -> Response:
    """End the sessions that the provider says have ended (OpenID Connect Back-Channel Logout)."""
    client = _client(visit)
    try:
        logout = await client.ended(form.get("logout_token", ""))
    except SignInFailed as failed:
        log.warning("nobody was signed out", request_id=visit.request_id, problem=failed.problem.value)
        status = 503 if failed.problem is Problem.PROVIDER_AWAY else 400
        return JSONResponse({"error": "invalid_request"}, status)
    ended = visit.console.sessions.end_by_provider(logout)
    log.info("signed out by the provider", sessions=ended, request_id=visit.request_id)
    return Response(status_code=200)


PAGES: Final = (
    Page(BEGIN, begin, is_open=True),
    Page(CALLBACK, complete, is_open=True),
    Page(LOGOUT, post=ended_there, is_open=True, is_signing_in=True),
)
