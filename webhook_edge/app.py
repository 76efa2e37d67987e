"""Owns the edge's URLs: webhooks, health and readiness."""

import asyncio
import contextlib
from collections.abc import Callable
from http import HTTPStatus

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from webhook_edge.body import MOST_BYTES
from webhook_edge.receiver import Answer, Receiver
from webhook_edge.verdicts import Verdict

log = structlog.get_logger()

# Verdicts after which part of a body may be unread: the rest must not be taken for a next request.
_UNREAD = frozenset(
    {
        Verdict.UNKNOWN_ENDPOINT,
        Verdict.MALFORMED,
        Verdict.CUT_OFF,
        Verdict.TOO_SLOW,
        Verdict.TOO_LARGE,
        Verdict.TOO_MANY,
        Verdict.UNEXPECTED,
    }
)
# Verdicts while the sender is likely still sending: closing the connection at once would reset it and lose
# the answer.
_LINGERS = frozenset({Verdict.TOO_SLOW, Verdict.TOO_LARGE})
_LINGER_SECONDS = 0.5
_LINGER_BYTES = 4 * MOST_BYTES
_CLOSE = {"Connection": "close"}


class _LingeringResponse(Response):
    """Sends the whole answer, then discards incoming bytes for a moment before the connection is closed."""

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002  # ASGI's signature
        receive: Receive,
        send: Send,
    ) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        dropped, more = 0, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while more and dropped <= _LINGER_BYTES:
                    message = await receive()
                    more = message.get("more_body", False)
                    dropped += len(message.get("body", b""))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def make_app(receiver: Receiver, *, ready: Callable[[], bool]) -> Starlette:
    """Return the application.

    Args:
        ready: whether webhooks can be taken now.
    """

    async def take(request: Request) -> Response:
        answer = await receiver.take(
            request,
            scheme_name=request.path_params["provider"],
            endpoint_name=request.path_params["endpoint"],
        )
        return _response(answer)

    async def health(_request: Request) -> Response:
        return PlainTextResponse("alive")

    async def readiness(_request: Request) -> Response:
        if ready():
            return PlainTextResponse("ready")
        return PlainTextResponse("the ledger does not serve", HTTPStatus.SERVICE_UNAVAILABLE)

    app = Starlette(
        routes=[
            Route("/webhooks/{provider}/{endpoint}", take, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
            Route("/ready", readiness, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _no_route, Exception: _unexpected},
    )
    # Providers treat a redirect as a failure, or follow it without the body.
    app.router.redirect_slashes = False
    return app


def _response(answer: Answer) -> Response:
    headers = dict(_CLOSE) if answer.verdict in _UNREAD else {}
    if answer.retry_seconds is not None:
        headers["Retry-After"] = str(answer.retry_seconds)
    make = _LingeringResponse if answer.verdict in _LINGERS else Response
    return make(answer.body, answer.status, headers, answer.media_type)


def _no_route(_request: Request, error: Exception) -> Response:
    """Answer a request without a route: 404, or 405 with the allowed methods."""
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, {**(error.headers or {}), **_CLOSE})


def _unexpected(_request: Request, error: Exception) -> Response:
    """Answer an error that even the receiver has not caught."""
    log.error("unexpected error outside the receiver", kind=type(error).__name__)
    return PlainTextResponse(Verdict.UNEXPECTED.value, HTTPStatus.BAD_REQUEST, _CLOSE)
