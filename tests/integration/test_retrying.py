"""Own the proof that whoever calls the ledger over gRPC comes again as it asks, and only then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from defter.payments.v1 import payment_pb2
from defter.payments.v1 import provider_event_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from defter_client import LedgerClient, LedgerError
from ledger_server.operator.connection import tried, tries_for
from webhook_edge.gateway import LedgerGateway
from webhook_edge.verdicts import Refused, Verdict

Code = grpc.StatusCode
EVENT = payment_pb2.ProviderEvent(provider="mock", event_id="evt_1")
# What a server says: a code, and after how many seconds it wants to be asked again, if it says so.
Said = tuple[grpc.StatusCode, float | None]


class ScriptedLedger:
    """Refuses as it is told, then takes every event."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.requests: list[bytes] = []
        self.server: Any = grpc.aio.server()
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            self._ingest, None, pb.IngestProviderEventsResponse.SerializeToString
        )
        name = "defter.payments.v1.ProviderEventService"
        service = grpc.method_handlers_generic_handler(name, {"IngestProviderEvents": handler})
        self.server.add_generic_rpc_handlers((service,))
        self.target = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    async def _ingest(self, request: bytes, context: Any) -> pb.IngestProviderEventsResponse:
        self.requests.append(request)
        if self.said:
            code, seconds = self.said.pop(0)
            trailing: tuple[tuple[str, bytes], ...] = ()
            if seconds is not None:
                status = status_pb2.Status(code=code.value[0], message="refused")
                delay = Duration(seconds=int(seconds), nanos=round(seconds % 1 * 1e9))
                status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
                trailing = (("grpc-status-details-bin", status.SerializeToString()),)
            await context.abort(code, "refused", trailing)
        return pb.IngestProviderEventsResponse(events=[pb.IngestedProviderEvent()])


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedLedger]:
    """A server that says what it is told."""
    ledger = ScriptedLedger()
    await ledger.server.start()
    yield ledger
    await ledger.server.stop(None)


async def by_client(target: str) -> bool:
    """Deliver an event through the client; whether it was taken."""
    async with LedgerClient(target, timeout_seconds=60) as ledger:
        try:
            await ledger.provider_events.ingest_provider_events(
                pb.IngestProviderEventsRequest(events=[EVENT])
            )
        except LedgerError:
            return False
    return True


async def by_command(target: str) -> bool:
    """Deliver an event as the operators' commands call; whether it was taken."""
    request = pb.IngestProviderEventsRequest(events=[EVENT])
    async with LedgerClient(target) as ledger:
        try:
            await tried(
                lambda seconds: ledger.provider_events.ingest_provider_events(request, timeout=seconds),
                tries_for(60),
            )
        except LedgerError:
            return False
    return True


async def by_edge(target: str) -> bool:
    """Deliver an event as the edge does; whether it was taken."""
    gateway = LedgerGateway(target, seconds=60)
    try:
        await gateway.ingest("casino", [EVENT])
    except Refused:
        return False
    finally:
        await gateway.close()
    return True


Deliver = Callable[[str], Awaitable[bool]]


@pytest.mark.parametrize("deliver", [by_client, by_command, by_edge])
@pytest.mark.parametrize(
    "said",
    [
        (Code.UNAVAILABLE, None),
        (Code.UNAVAILABLE, 0.05),
        (Code.RESOURCE_EXHAUSTED, 0.0),
        (Code.RESOURCE_EXHAUSTED, 0.05),
        (Code.OUT_OF_RANGE, 0.05),
    ],
)
async def test_who_is_asked_to_come_again_does_so_with_the_same_request(
    scripted: ScriptedLedger, deliver: Deliver, said: Said
) -> None:
    """The server is away, or has no room for the moment."""
    scripted.said = [said]

    assert await deliver(scripted.target)
    assert len(scripted.requests) == 2
    assert len(set(scripted.requests)) == 1


@pytest.mark.parametrize("deliver", [by_client, by_command, by_edge])
@pytest.mark.parametrize(
    "said",
    [
        (Code.RESOURCE_EXHAUSTED, None),
        (Code.INVALID_ARGUMENT, None),
        (Code.FAILED_PRECONDITION, None),
        (Code.ABORTED, None),
        # Later than whoever calls will be there.
        (Code.RESOURCE_EXHAUSTED, 3600.0),
        (Code.UNAVAILABLE, 3600.0),
    ],
)
async def test_who_is_answered_or_asked_to_come_too_late_does_not_come_again(
    scripted: ScriptedLedger, deliver: Deliver, said: Said
) -> None:
    """An answer is an answer, and nobody comes before the server wants it."""
    scripted.said = [said]

    assert not await deliver(scripted.target)
    assert len(scripted.requests) == 1


async def test_edge_comes_once_more_and_not_again(scripted: ScriptedLedger) -> None:
    """The provider delivers again by itself, so that its webhook is not kept waiting."""
    scripted.said = [(Code.UNAVAILABLE, None)] * 10
    gateway = LedgerGateway(scripted.target, seconds=60)

    with pytest.raises(Refused) as refused:
        await gateway.ingest("casino", [EVENT])

    assert refused.value.verdict is Verdict.LEDGER_UNAVAILABLE
    assert len(scripted.requests) == 2
    await gateway.close()


async def test_client_says_after_how_long_the_ledger_wants_to_be_asked_again(
    scripted: ScriptedLedger,
) -> None:
    """A caller that has more time than this call may wait by itself."""
    scripted.said = [(Code.RESOURCE_EXHAUSTED, 90.0)]

    async with LedgerClient(scripted.target) as ledger:
        with pytest.raises(LedgerError) as refused:
            await ledger.provider_events.ingest_provider_events(
                pb.IngestProviderEventsRequest(events=[EVENT])
            )

    assert refused.value.retryable
    assert refused.value.retry_delay_seconds == 90.0
