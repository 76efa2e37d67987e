"""Owns the reflection service for grpcurl and similar tools, methods included.

grpcio's own servicer does not find methods, though the protocol counts them among the symbols.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any, Final

from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ledger_server.domain.errors import Refused
from ledger_server.rpc.call_facts import begin_call
from ledger_server.rpc.errors import abort
from ledger_server.rpc.guard import Door, caller_now
from ledger_server.rpc.request_id import REQUEST_ID_KEY
from ledger_server.rpc.serving import Context
from ledger_server.rpc.shares import Way

_NAME: Final = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


class ReflectionServicer:
    """Answers as grpcio's servicer does, and finds methods."""

    def __init__(self, service_names: Iterable[str], door: Door | None, way: Way) -> None:
        """Take the services to tell of, who admits callers (None: everyone may ask), and what calls pass."""
        self._door = door
        self._way = way
        self._symbols = descriptor_pool.Default()
        # The type stubs declare a coroutine, but this is an async generator.
        self._usual: Any = reflection.aio.ReflectionServicer(service_names, pool=self._symbols)

    async def ServerReflectionInfo(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Context
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        """Answer one request after the other, each if the caller may ask."""
        facts = begin_call(_NAME, context.invocation_metadata() or ())
        context.set_trailing_metadata(((REQUEST_ID_KEY, facts.request_id),))
        try:
            async for response in self._admitted(requests, context):
                yield response
        except Refused as refused:
            if self._door is not None:
                self._door.tell_refused(refused, None, context)
            await abort(context, refused, replayed=False)
        finally:
            facts.end("OK")

    async def _admitted(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Context
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        if self._door is None:
            async for response in self._metered(requests, context):
                yield response
            return
        admission = self._door.admit(requests, context)
        try:
            with self._door.guard.watching(admission):
                async for response in self._metered(admission.request, context):
                    yield response
        except asyncio.CancelledError:
            if admission.refused is None:
                raise
            raise admission.refused from None  # the guard has ended the stream, which is told why

    async def _metered(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Context
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        passage = self._way.begin(requests, None, caller_now())
        try:
            async for response in self._usual.ServerReflectionInfo(self._findable(passage.request), context):
                yield response
        finally:
            passage.end()

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
