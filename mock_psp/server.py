"""Owns a running provider: its wiring, and the socket that it listens on."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from http_process import serving
from mock_psp.answers import failure
from mock_psp.api import Api
from mock_psp.control import Control
from mock_psp.idempotency import Keys
from mock_psp.knobs import Knobs
from mock_psp.state import State
from mock_psp.webhooks import Deliver, Retries, Webhooks, http_deliver

_LOOK_SECONDS: Final = 0.01
"""How often the clock, which may be a test's, is read while actions are scheduled."""


def system_clock() -> datetime:
    """Return the present instant, in UTC."""
    return datetime.now(UTC)


class MockPsp:
    """A running provider.

    Attributes:
        url: where it listens, without a slash at the end.
        state: its rules and memory; what is called there happens as if by the control API.
        webhooks: the delivery of its events.
    """

    def __init__(self, *, host: str, port: int, state: State, webhooks: Webhooks) -> None:
        self.port = port
        self.url = f"http://{host}:{port}"
        self.state = state
        self.webhooks = webhooks

    @property
    def knobs(self) -> Knobs:
        """How it behaves; turn one by assigning to it."""
        return self.state.knobs

    async def settled(self) -> None:
        """Run everything that is due by the clock, and wait until its events are delivered."""
        self.state.run_due()
        await self.webhooks.drained()


@contextlib.asynccontextmanager
async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "",
    webhook_url: str | None = None,
    deliver: Deliver | None = None,
    webhook_secrets: Sequence[str] = (),
    retries: Retries | None = None,
    knobs: Knobs | None = None,
    clock: Callable[[], datetime] = system_clock,
    seed: int | None = None,
) -> AsyncIterator[MockPsp]:
    """Run a provider on this loop until the context ends.

    Args:
        port: 0 takes any that is free.
        token: bearer token that callers must show; empty lets everybody in.
        webhook_url: where events are posted to; without it and `deliver` they are only written down.
        deliver: called with each event instead of posting it.
        webhook_secrets: `whsec_…`; events are signed with all of them.
        clock: the source of all the provider's times; pauses and retries pass in real time.
        seed: the same seed makes the same ids, jitter and disorder; None makes them unpredictable.
    Raises:
        InvalidRequest: events are to be delivered but there is no secret, or one is malformed.
        OSError: the port is taken.
    """
    state = State(clock=clock, random=_random(seed, "ids"), knobs=knobs)
    async with contextlib.AsyncExitStack() as stack:
        if deliver is None and webhook_url is not None:
            client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
            deliver = http_deliver(client, webhook_url)
        webhooks = Webhooks(
            deliver=deliver,
            secrets=webhook_secrets,
            clock=state.books.now,
            knobs=state.knobs,
            random=_random(seed, "webhooks"),
            retries=retries,
        )
        state.books.on_event = webhooks.send
        stack.push_async_callback(webhooks.stop)
        listening = stack.enter_context(socket.create_server((host, port)))
        stopping = asyncio.Event()
        app = make_app(state, webhooks, keys=Keys(clock), token=token, stopping=stopping)
        await stack.enter_async_context(answering(app, listening, stopping))
        await stack.enter_async_context(_time_passing(state))
        yield MockPsp(host=host, port=listening.getsockname()[1], state=state, webhooks=webhooks)


def make_app(
    state: State, webhooks: Webhooks, *, keys: Keys, token: str, stopping: asyncio.Event
) -> Starlette:
    """Return the API and the control API; pauses of calls end early when `stopping` is set."""
    api = Api(state, keys=keys, token=token, stopping=stopping)
    return Starlette(
        routes=[*api.routes(), *Control(state, webhooks, token=token).routes()],
        exception_handlers={HTTPException: _no_such_route},
    )


def _no_such_route(_request: Request, error: Exception) -> Response:
    """Answer a request without a route, in the form of every other failure."""
    assert isinstance(error, HTTPException)
    return failure(error.status_code, "no_such_route", error.detail)


class _Protocol(H11Protocol):
    """Lets a request reach the connection that it came by, so that it can be cut."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def answering(
    app: Starlette, listening: socket.socket, stopping: asyncio.Event
) -> contextlib.AbstractAsyncContextManager[None]:
    """Serve a socket; `stopping` is set first when the context ends."""

    async def stop() -> None:
        stopping.set()

    return serving.answering(
        app,
        listening,
        before_end=stop,
        http=_Protocol,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )


@contextlib.asynccontextmanager
async def _time_passing(state: State) -> AsyncIterator[None]:
    """Let things happen by themselves while the context lasts."""
    added = asyncio.Event()
    state.agenda.on_add = added.set

    async def pass_time() -> None:
        while True:
            state.run_due()
            if state.agenda:
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                added.clear()
                await added.wait()

    passing = asyncio.create_task(pass_time())
    try:
        yield
    finally:
        passing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await passing


def _random(seed: int | None, use: str) -> Random:
    """Return a separate random source per use, so that the timing of one use does not change another."""
    return Random() if seed is None else Random(f"{seed}:{use}")  # noqa: S311 - nothing here is secret
