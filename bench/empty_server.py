"""Own the ceiling of the edge: its HTTP stack with nothing behind it, as a process of its own.

Run as `python -m bench.empty_server --port N`: every POST is answered with an empty 200.
"""

import argparse
import asyncio
import signal
import socket

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from webhook_edge.server import answering


async def serve(port: int) -> None:
    """Answer until the process is ended, with the same HTTP server and settings as the edge."""

    async def answer(request: Request) -> Response:
        # Read, as every server must that is sent a body; so it is the same traffic.
        await request.body()
        return Response()

    async def health(_request: Request) -> Response:
        return Response()

    app = Starlette(
        routes=[
            Route("/webhooks/{provider}/{endpoint}", answer, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ]
    )
    with socket.create_server(("127.0.0.1", port)) as listening:
        async with answering(app, listening):
            await asyncio.Event().wait()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    # Nothing is worth draining here: the default action ends the process at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    uvloop.run(serve(port))


if __name__ == "__main__":
    main()
