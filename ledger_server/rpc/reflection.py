"""Owns the reflection service for grpcurl and similar tools, methods included.

grpcio's own servicer does not find methods, though the protocol counts them among the symbols.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ledger_server.rpc.serving import Context


class ReflectionServicer:
    """Answers as grpcio's servicer does, and finds methods."""

    def __init__(self, service_names: Iterable[str]) -> None:
        self._symbols = descriptor_pool.Default()
        # The type stubs declare a coroutine, but this is an async generator.
        self._usual: Any = reflection.aio.ReflectionServicer(service_names, pool=self._symbols)

    async def ServerReflectionInfo(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Context
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        """Answer one request after the other."""
        async for response in self._usual.ServerReflectionInfo(self._findable(requests), context):
            yield response

    async def _findable(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest]
    ) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        """Return a request for the method's service, which is in the same file."""
        async for request in requests:
            if request.HasField("file_containing_symbol"):
                with suppress(KeyError):  # it is something else, or nothing
                    method = self._symbols.FindMethodByName(request.file_containing_symbol)
                    request.file_containing_symbol = method.containing_service.full_name
            yield request
