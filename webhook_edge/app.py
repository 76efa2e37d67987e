"""Owns the edge's URLs: webhooks, and what those who run it ask."""

from collections.abc import Callable
from http import HTTPStatus

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from webhook_edge.receiver import Answer, Receiver
from webhook_edge.verdicts import Verdict

log = structlog.get_logger()

# Where part of a body may not have been read: what is left of it must not be taken for a next request.
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
_CLOSE = {"Connection": "close"}


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
    # Providers take a redirect for a failure, or follow it and lose the body.
    app.router.redirect_slashes = False
    return app


def _response(answer: Answer) -> Response:
    headers = dict(_CLOSE) if answer.verdict in _UNREAD else {}
    if answer.retry_seconds is not None:
        headers["Retry-After"] = str(answer.retry_seconds)
    return Response(answer.body, answer.status, headers, answer.media_type)


def _no_route(_request: Request, error: Exception) -> Response:
    """Answer what no route takes: 404, or 405 with what is allowed."""
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, {**(error.headers or {}), **_CLOSE})


def _unexpected(_request: Request, error: Exception) -> Response:
    """Answer what even the receiver has not caught."""
    log.error("unexpected error outside the receiver", kind=type(error).__name__)
    return PlainTextResponse(Verdict.UNEXPECTED.value, HTTPStatus.BAD_REQUEST, _CLOSE)
