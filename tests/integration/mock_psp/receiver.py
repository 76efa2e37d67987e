"""Own a receiver of webhooks on a real socket, which does with deliveries what a test says."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mock_psp.server import answering


@dataclass
class Received:
    """One delivery as it came."""

    body: bytes
    headers: dict[str, str]

    @property
    def event_id(self) -> str:
        """The event's id."""
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """Takes deliveries and answers the statuses that it was given, then 204."""

    url: str
    statuses: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    on_receive: Callable[[], object] = lambda: None

    async def take(self, request: Request) -> Response:
        """Take one delivery."""
        self.received.append(Received(await request.body(), dict(request.headers)))
        self.on_receive()
        headers = {"Location": self.url}
        return Response(status_code=self.statuses.pop(0) if self.statuses else 204, headers=headers)

    @property
    def event_ids(self) -> list[str]:
        """The ids of all events, in the order in which they came."""
        return [received.event_id for received in self.received]


@contextlib.asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """Run a receiver until the context ends."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        receiver = Receiver(f"http://127.0.0.1:{listening.getsockname()[1]}/hook")
        app = Starlette(routes=[Route("/hook", receiver.take, methods=["POST", "GET"])])
        async with answering(app, listening, asyncio.Event()):
            yield receiver
