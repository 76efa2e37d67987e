"""Owns what holds for every request: the host, where a form comes from, the headers of answers, the id."""

import secrets
from collections.abc import Callable, Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: Final = "console.request_id"
_SAFE: Final = frozenset({"GET", "HEAD"})
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
_A_YEAR: Final = "max-age=31536000"


class Guarding:
    """Stands in front of all pages."""

    def __init__(
        self, app: ASGIApp, *, origins: Callable[[], Collection[str]], signed: Collection[str] = ()
    ) -> None:
        """Take the pages.

        Args:
            origins: under which the console is reached, as `https://name`.
            signed: paths whose forms come from no browser and have their own proof: a signature.
        """
        self._app = app
        self._signed = frozenset(signed)
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what comes from elsewhere, and put the headers on each answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"con-{secrets.token_hex(8)}"
        scope.setdefault("state", {})[REQUEST_ID] = request_id
        headers = Headers(scope=scope)
        origins = self._origins()
        is_secure = all(origin.startswith("https:") for origin in origins)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    told[name] = value
                told.setdefault("Cache-Control", "no-store")
                told["X-Request-Id"] = request_id
                if is_secure:
                    told["Strict-Transport-Security"] = _A_YEAR
            await send(message)

        method = "GET" if scope["path"] in self._signed else scope["method"]
        refusal = self._refusal(method, headers, origins)
        app = self._app if refusal is None else PlainTextResponse(f"{refusal} ({request_id})\n", 403)
        await app(scope, receive, send_with_headers)

    @staticmethod
    def _refusal(method: str, headers: Headers, origins: Collection[str]) -> str | None:
        hosts = {origin.partition("://")[2] for origin in origins}
        if headers.get("host", "").lower() not in hosts:
            return "The console is not reached under this name."
        if method in _SAFE:
            return None
        # Browsers of today tell where a request comes from in a header that no page can set; the older ones
        # tell the origin.
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        is_own = origin in origins if site is None else site == "same-origin"
        if is_own and (origin in {None, "null"} or origin in origins):
            return None
        return "This form does not come from a page of the console."
