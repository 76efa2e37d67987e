"""Owns the reading and answering of requests, for the API and the control API alike."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mock_psp.errors import ApiError, InvalidRequest, NotFound, Refused
from mock_psp.idempotency import KeyInUse, KeyReused

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Shape = TypeVar("Shape")

_STATUSES: Final[Mapping[type[ApiError], int]] = {
    InvalidRequest: 400,
    KeyReused: 400,
    Refused: 402,
    NotFound: 404,
    KeyInUse: 409,
}


class Dropped(Response):
    """No answer at all: the connection is cut."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Cut the connection of the request."""
        scope["state"]["transport"].abort()
        # The server learns of the cut in its loop's next turn; returning earlier would look like a bug.
        await asyncio.sleep(0)


def authorized(request: Request, token: str) -> bool:
    """Return whether a request carries the token; an empty token lets everybody in."""
    given = request.headers.get("authorization", "").encode()
    return not token or hmac.compare_digest(given, f"Bearer {token}".encode())


async def answered(handler: Handler, request: Request) -> Response:
    """Call a handler and make its refusals into answers."""
    try:
        return await handler(request)
    except ApiError as error:
        return failure(_STATUSES[type(error)], error.code, error.message)
    except ClientDisconnect:
        # The caller went away in the middle of its request; there is nobody to answer.
        return Dropped()


def decoded(body: bytes, shape: type[Shape]) -> Shape:
    """Return a body as the expected type; raises InvalidRequest."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest("invalid_request", str(error)) from None


def json_response(status: int, body: Any) -> Response:
    """Return an answer in JSON."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def failure(status: int, code: str, message: str) -> Response:
    """Return the answer for a failure."""
    return Response(failure_body(code, message), status, media_type="application/json")


def failure_body(code: str, message: str) -> bytes:
    """Return the body of a failure's answer."""
    return msgspec.json.encode({"error": {"code": code, "message": message}})
