"""Own the list of all RPCs of a server, and a way to call any of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2

from ledger_server.rpc.tenant_scope import OF_THE_CALLER, name_of
from tests.support.service import Service

REFLECTION: Any = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].methods[0]
# A refusal is on its way by then; whoever is admitted waits in vain for it.
_REFUSAL_SECONDS = 2.0


def rpcs_of(service: Service) -> dict[str, MethodDescriptor]:
    """Return the RPCs that need a permission, by name: those of the server's services, and reflection."""
    methods = [*service.server._handlers._methods.values(), REFLECTION]
    return {name_of(method): method for method in methods if name_of(method) not in OF_THE_CALLER}


def request_of(method: MethodDescriptor, tenant_id: str) -> Message:
    """Return a request that says a tenant, if it can, and little else."""
    request: Any = GetMessageClass(method.input_type)()
    if "tenant_id" in method.input_type.fields_by_name:
        request.tenant_id = tenant_id
    elif "header" in method.input_type.fields_by_name:
        request.header.tenant_id = tenant_id
    elif method is REFLECTION:
        request.list_services = ""
    assert isinstance(request, Message)
    return request


async def call(
    channel: grpc.aio.Channel,
    method: MethodDescriptor,
    request: Message | bytes,
    metadata: Sequence[tuple[str, str]] = (),
) -> list[Any]:
    """Call any RPC with one message, or with any bytes for one, and return all answers."""
    path = f"/{name_of(method)}"
    make: Any = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[method.client_streaming, method.server_streaming]
    response = GetMessageClass(method.output_type)
    rpc = make(path, _bytes_of, response.FromString)
    if method.client_streaming and method.server_streaming:
        calling = rpc(timeout=60, metadata=tuple(metadata))
        await _send(calling, request)
    else:
        sent = iter([request]) if method.client_streaming else request
        calling = rpc(sent, timeout=60, metadata=tuple(metadata))
    if method.server_streaming:
        return [answer async for answer in calling]
    return [await calling]


async def _send(calling: Any, request: Message | bytes) -> None:
    """Send the one message of a stream, unless the call was refused before it.

    gRPC's client may lose the status of a call that is refused while its first message goes out.
    """
    began = asyncio.ensure_future(calling.initial_metadata())
    await asyncio.wait({began}, timeout=_REFUSAL_SECONDS)
    with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
        if not calling.done():
            await calling.write(request)
            await calling.done_writing()


def _bytes_of(request: Message | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()
