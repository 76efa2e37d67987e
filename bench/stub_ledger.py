"""Own a ledger that takes every provider event at once and makes nothing durable.

Run as `python -m bench.stub_ledger --port N`, it is what is left of the edge's way without the durable
write; within a process it also tells which events it was given.
"""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import uvloop
from defter.payments.v1.payment_pb2 import ProviderEvent
from defter.payments.v1.provider_event_pb2 import (
    IngestedProviderEvent,
    IngestProviderEventsRequest,
    IngestProviderEventsResponse,
)
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from bench.stack import HOST


@asynccontextmanager
async def stub_ledger(port: int, on_event: Callable[[ProviderEvent], None]) -> AsyncIterator[None]:
    """Take events in this process until the context ends."""

    async def ingest(request: IngestProviderEventsRequest, _: object) -> IngestProviderEventsResponse:
        for event in request.events:
            on_event(event)
        return IngestProviderEventsResponse(events=[IngestedProviderEvent() for _ in request.events])

    async def check(_: health_pb2.HealthCheckRequest, __: object) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            _handler(
                "defter.payments.v1.ProviderEventService/IngestProviderEvents",
                ingest,
                IngestProviderEventsRequest,
            ),
            _handler("grpc.health.v1.Health/Check", check, health_pb2.HealthCheckRequest),
        )
    )
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(grace=None)


def _handler(path: str, behaviour: Callable[..., Any], request: type[Message]) -> grpc.GenericRpcHandler:
    service, method = path.split("/")
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
        behaviour,
        request_deserializer=request.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )
    return grpc.method_handlers_generic_handler(service, {method: handler})


async def _serve(port: int) -> None:
    async with stub_ledger(port, lambda _event: None):
        await asyncio.Event().wait()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    # Nothing is worth draining here: the default action ends the process at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    uvloop.run(_serve(port))


if __name__ == "__main__":
    main()
