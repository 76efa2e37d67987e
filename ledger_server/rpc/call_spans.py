"""Owns the spans of RPCs: each call is one, below its caller's, named by OpenTelemetry's conventions."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from defter_tracing import Kind, Traces
from ledger_server.rpc.call_facts import CALL
from ledger_server.rpc.call_metrics import ERRORS

_Answer = TypeVar("_Answer")


def traced(
    serve: Callable[[Any, Any], Awaitable[_Answer]], method: str, traces: Traces
) -> Callable[[Any, Any], Awaitable[_Answer]]:
    """Wrap what serves calls of a method so that each is a span.

    Args:
        method: `package.Service/Method`.
    """
    attributes = {"rpc.system.name": "grpc", "rpc.method": method}

    async def serve_traced(request: Any, context: Any) -> _Answer:
        incoming = context.invocation_metadata() or ()
        with traces.span(method, Kind.SERVER, attributes=attributes, incoming=incoming) as span:
            try:
                return await serve(request, context)
            finally:
                facts = CALL.get()
                if facts is not None:
                    span.say(
                        rpc__response__status_code=facts.code,
                        defter__request_id=facts.request_id,
                        defter__tenant_id=facts.tenant_id or "",
                        defter__identity=facts.identity,
                    )
                    if facts.code in ERRORS:
                        span.fail(facts.code)

    return serve_traced
