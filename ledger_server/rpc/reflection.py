"""Owns the reflection service for grpcurl and similar tools, methods included.

grpcio's own servicer does not find methods, though the protocol counts them among the symbols.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ledger_server.domain.errors import Refused
from ledger_server.rpc.errors import abort
from ledger_server.rpc.guard import Door
from ledger_server.rpc.request_id import REQUEST_ID, REQUEST_ID_KEY, request_id_of
from ledger_server.rpc.serving import Context


class ReflectionServicer:
    """Answers as grpcio's servicer does, and finds methods."""

    def __init__(self, service_names: Iterable[str], door: Door | None = None) -> None:
        """Take the services to tell of, and who admits callers; None: everyone may ask."""
        self._door = door
        self._symbols = descriptor_pool.Default()
        # The type stubs declare a coroutine, but this is an async generator.
        self._usual: Any = reflection.aio.ReflectionServicer(service_names, pool=self._symbols)

    async def ServerReflectionInfo(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Context
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        """Answer one request after the other, each if the caller may ask."""
        request_id = request_id_of(context.invocation_metadata())
        REQUEST_ID.set(request_id)
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        try:
            admitted = requests if self._door is None else self._door.admit(requests, context).request
            async for response in self._usual.ServerReflectionInfo(self._findable(admitted), context):
                yield response
        except Refused as refused:
            await abort(context, refused, replayed=False)

    async def _findable(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest]
    ) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        """Return a request for the method's service, which is in the same file."""
        async for request in requests:
            broken: object = request
            if isinstance(broken, Refused):
                raise broken
            if request.HasField("file_containing_symbol"):
                with suppress(KeyError):  # it is something else, or nothing
                    method = self._symbols.FindMethodByName(request.file_containing_symbol)
                    request.file_containing_symbol = method.containing_service.full_name
            yield request
