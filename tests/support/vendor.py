"""Own what hand-written payment providers have in common: faults, idempotency keys, and a free port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from enum import StrEnum

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Fault(StrEnum):
    """A fault of a provider, instead of a good answer."""

    TIMEOUT_BEFORE = "timeout_before"
    """The request hangs, and nothing is done."""
    TIMEOUT_AFTER = "timeout_after"
    """The request is carried out, and then hangs."""
    HANG_UP_AFTER = "hang_up_after"
    """The request is carried out, and the connection breaks in the middle of the answer."""
    SERVER_ERROR = "server_error"
    RATE_LIMIT = "rate_limit"
    IN_FLIGHT = "in_flight"
    CREDENTIALS = "credentials"
    REFUSAL = "refusal"
    """The provider refuses the request."""
    NONSENSE = "nonsense"
    """A proxy's page, with status 200."""


class Vendor(ABC):
    """A provider that executes each idempotency key once.

    Attributes:
        faults: for each of the next requests a fault, a literal answer, or None, which lets the request pass.
        executions: how many times something was made for an id of ours.
        now: the date of what is made.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.faults: deque[Fault | Response | None] = deque()
        self.executions: Counter[str] = Counter()
        self._answers: dict[str, tuple[bytes, Response]] = {}
        self._released = asyncio.Event()

    @abstractmethod
    def app(self) -> Starlette:
        """The provider's API."""

    @abstractmethod
    def trouble(self, fault: Fault) -> Response:
        """The provider's own words for a fault."""

    @abstractmethod
    def key_reused(self) -> Response:
        """The provider's own words for a key that came with another body."""

    def forget_keys(self) -> None:
        """Forget which requests were carried out under which keys, as providers do after days."""
        self._answers.clear()

    def release(self) -> None:
        """Let every request that hangs go."""
        self._released.set()

    async def read(self, answer: Callable[[], Response]) -> Response:
        """Answer a read, unless a fault is due."""
        fault = self._next_fault()
        return answer() if fault is None else await self._fail(fault, answer)

    async def write(self, request: Request, execute: Callable[[bytes], Response]) -> Response:
        """Execute a request once for its key; the same key with another body is refused."""
        body = await request.body()
        key = request.headers["Idempotency-Key"]
        fingerprint = request.url.path.encode() + body

        def once() -> Response:
            if key not in self._answers:
                self._answers[key] = (fingerprint, execute(body))
            known, answer = self._answers[key]
            return answer if known == fingerprint else self.key_reused()

        fault = self._next_fault()
        return once() if fault is None else await self._fail(fault, once)

    def _next_fault(self) -> Fault | Response | None:
        return self.faults.popleft() if self.faults else None

    async def _fail(self, fault: Fault | Response, answer: Callable[[], Response]) -> Response:
        match fault:
            case Response():
                return fault
            case Fault.TIMEOUT_BEFORE:
                await self._released.wait()
                return self.trouble(Fault.SERVER_ERROR)
            case Fault.TIMEOUT_AFTER:
                answer()
                await self._released.wait()
                return self.trouble(Fault.SERVER_ERROR)
            case Fault.HANG_UP_AFTER:
                answer()
                # The answer announces more bytes than it has, so the server closes the connection.
                return Response(b"{", headers={"Content-Length": "4096"}, media_type="application/json")
            case Fault.NONSENSE:
                return Response("<html>Please log in</html>", media_type="text/html")
            case _:
                return self.trouble(fault)


class _Server(uvicorn.Server):
    """A server that leaves signals to the test runner, and tells when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        try:
            await super().startup(sockets)
        finally:
            self.begun.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


@contextlib.asynccontextmanager
async def serving(vendor: Vendor) -> AsyncIterator[str]:
    """Serve a provider on a free port; yield its address."""
    async with listening(vendor.app()) as address:
        try:
            yield address
        finally:
            vendor.release()


@contextlib.asynccontextmanager
async def listening(app: Starlette) -> AsyncIterator[str]:
    """Serve an application on a free port of this machine; yield its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = _Server(
            uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await server.begun.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def answer(status: int, body: object, **headers: str) -> Response:
    """Return a JSON answer; underscores in the names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse(body, status_code=status, headers=named)


def parsed(body: bytes) -> dict[str, object]:
    """Read a JSON object."""
    value = json.loads(body)
    assert isinstance(value, dict)
    return value
