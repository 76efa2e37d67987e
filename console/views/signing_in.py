"""Owns signing in and out, and what a browser prefers."""

import asyncio
from typing import Final

import structlog
from starlette.responses import Response

from console.catalogue import LANGUAGES, N_
from console.oidc.problems import SignInFailed
from console.pages import Page
from console.users import MOST_PASSWORD
from console.views.local_paths import local_path
from console.visit import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, Visit

log = structlog.get_logger()

_A_YEAR: Final = 31_536_000
_MOST_NAME: Final = 64
# A hash takes 32 MiB and a tenth of a second: so many at a time.
_HASHING: Final = asyncio.Semaphore(2)
WRONG: Final = N_("The name or the password is wrong.")
TOO_MANY: Final = N_("Too many tries. Wait a few minutes.")


async def form(visit: Visit) -> Response:
    """Show the form."""
    target = local_path(visit.query.get("next", ""))
    if visit.session is not None:
        return visit.redirect(target)
    return await visit.page("sign_in.html", target=target, problem="", name="")


async def sign_in(visit: Visit, form: dict[str, str]) -> Response:
    """Begin a session under a new id, and end the one before."""
    console, request = visit.console, visit.request
    name, target = form.get("name", "").strip()[:_MOST_NAME], local_path(form.get("next", ""))
    address = request.client.host if request.client is not None else ""
    problem, status, user = WRONG, 422, None
    if not await console.throttle.admits(address, name):
        problem, status = TOO_MANY, 429
    else:
        console.users.refresh()
        async with _HASHING:
            password = form.get("password", "")[: MOST_PASSWORD + 1]
            user = await asyncio.to_thread(console.users.verified, name, password)
    if user is None:
        log.warning("nobody was signed in", request_id=visit.request_id, status=status, address=address)
        # Whoever else has signed in here is not shown around a refused form.
        visit.session = visit.user = None
        return await visit.page("sign_in.html", status, target=target, problem=visit.say(problem), name=name)
    console.sessions.end(request.cookies.get(console.cookie, ""))
    token, _ = console.sessions.begin(user.name, user.password)
    log.info("signed in", person=user.name, request_id=visit.request_id, address=address)
    response = visit.redirect(target)
    response.set_cookie(
        console.cookie, token, path="/", secure=console.is_secure, httponly=True, samesite="lax"
    )
    return response


async def sign_out(visit: Visit, _form: dict[str, str]) -> Response:
    """End the session."""
    console = visit.console
    person = None if visit.session is None else visit.session.provider_person
    console.sessions.end(visit.request.cookies.get(console.cookie, ""))
    visit.session = visit.user = None
    response = visit.redirect("/sign-in")
    if person is not None and console.oidc is not None:
        try:
            address = await console.oidc.end_address(person, origin=console.origins[0])
        except SignInFailed:  # it has ended here, whatever the provider knows of it
            address = ""
        # Not by a redirect: the answer to a form leads nowhere else (`form-action`).
        response = await visit.page("signed_out.html", address=address)
    response.delete_cookie(console.cookie, path="/", secure=console.is_secure, httponly=True, samesite="lax")
    return response


async def prefer(visit: Visit, form: dict[str, str]) -> Response:
    """Keep the language or the colours that a browser is to have."""
    response = visit.redirect(local_path(form.get("next", "")))
    for cookie, value, known in (
        (LANGUAGE_COOKIE, form.get("language", ""), tuple(LANGUAGES)),
        (THEME_COOKIE, form.get("theme", ""), THEMES),
    ):
        if value in known:
            response.set_cookie(
                cookie,
                value,
                _A_YEAR,
                path="/",
                secure=visit.console.is_secure,
                httponly=True,
                samesite="lax",
            )
    return response


PAGES: Final = (
    Page("/sign-in", form, sign_in, is_open=True, is_signing_in=True),
    Page("/sign-out", post=sign_out),
    Page("/preferences", post=prefer, is_open=True),
)
