"""Owns the gateway to the ledger: events go over gRPC, and count as taken only once they are durable."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import grpc
import structlog
from defter.payments.v1 import payment_pb2, provider_event_pb2, provider_event_pb2_grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from defter_channel import Proof, open_channel
from defter_retrying.backoff import Tries
from defter_retrying.calls import call_until_answered
from defter_tracing import Kind, traces
from webhook_edge.verdicts import Refused, Verdict

log = structlog.get_logger()

# The most that the ledger takes in one call: 100 events, in a message of 4 MiB less some room for the frame.
_MOST_EVENTS: Final = 100
_MOST_BYTES: Final = 3 * 1024 * 1024
# The provider comes again by itself, and waits for our answer meanwhile: one more try is enough.
_TRIES: Final = 2
_INGEST: Final = "defter.payments.v1.ProviderEventService/IngestProviderEvents"
_PAUSE_SECONDS: Final = 0.2
_CHANNEL_OPTIONS: Final = (
    # A ledger that is back is found at once; by default gRPC waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # This one says how long a try to connect may take; a busy ledger needs more than the 100 ms of the first.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A refusal of a hundred events names a hundred fields; with more than 8 KiB gRPC would replace it by
    # another error.
    ("grpc.max_metadata_size", 1024 * 1024),
    # A silently dead connection is noticed before a webhook has to wait for it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # The same for a ping of gRPC\'s own behind a request: by default it waits for a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
)
_DOMAIN: Final = "defter"
_DETAILS_KEY: Final = "grpc-status-details-bin"
_PASSING: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)


class Ledger(Protocol):
    """The receiver of verified events."""

    async def ingest(self, tenant_id: str, events: Sequence[payment_pb2.ProviderEvent]) -> None:
        """Make the events durable; return only when they are.

        Raises:
            Refused: LEDGER_UNAVAILABLE, MISCONFIGURED or LEDGER_REFUSED. Some of the events may be durable
                all the same; delivered again, they change nothing.
        """


class LedgerGateway:
    """The ledger over gRPC."""

    def __init__(self, target: str, *, seconds: float = 5.0, proof: Proof | None = None) -> None:
        """Prepare a channel; nothing is sent yet.

        Args:
            target: `host:port` of the gRPC server.
            seconds: for all the events of one webhook, with the retry.
            proof: who this edge is, to a ledger with TLS; files that are replaced count within seconds.
        Raises:
            ProofUnusable: a file can't be read, or the files do not go together.
        """
        self._seconds = seconds
        self._served_at = float("-inf")
        self._channel = open_channel(target, proof, _CHANNEL_OPTIONS)
        self._events = provider_event_pb2_grpc.ProviderEventServiceStub(self._channel)
        self._check_health = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()

    async def ingest(self, tenant_id: str, events: Sequence[payment_pb2.ProviderEvent]) -> None:
        """Make the events durable; see `Ledger`."""
        deadline = asyncio.get_running_loop().time() + self._seconds
        for batch in _batches(events):
            request = provider_event_pb2.IngestProviderEventsRequest(tenant_id=tenant_id, events=batch)
            try:
                response = await self._call(request, deadline)
            except grpc.aio.AioRpcError as error:
                raise _refusal(error, request) from None
            assert len(response.events) == len(batch), "the ledger answers every event"

    async def _call(
        self, request: provider_event_pb2.IngestProviderEventsRequest, deadline: float
    ) -> provider_event_pb2.IngestProviderEventsResponse:
        """Call, and once more if the ledger was just not there or asks for it; every event is stored once."""
        tries = Tries(
            deadline - asyncio.get_running_loop().time(),
            first_seconds=_PAUSE_SECONDS,
            longest_seconds=_PAUSE_SECONDS,
            most=_TRIES,
        )

        async def ingest(
            sent: tuple[tuple[str, str], ...] = (),
        ) -> provider_event_pb2.IngestProviderEventsResponse:
            return await call_until_answered(
                lambda left_seconds: self._events.IngestProviderEvents(
                    request, timeout=left_seconds, metadata=sent
                ),
                tries,
            )

        made = traces()
        if made is None:
            return await ingest()
        with made.span(
            _INGEST, Kind.CLIENT, attributes={"rpc.system.name": "grpc", "rpc.method": _INGEST}
        ) as span:
            try:
                return await ingest(made.outgoing())
            except grpc.aio.AioRpcError as error:
                span.fail(error.code().name)
                raise

    @asynccontextmanager
    async def watched(self, seconds: float = 2.0) -> AsyncIterator[None]:
        """Ask for the ledger's health every so often while the context lasts."""
        watching = asyncio.create_task(self._watch(seconds))
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    def served_within(self, seconds: float) -> bool:
        """Return whether the ledger has said SERVING lately."""
        return asyncio.get_running_loop().time() - self._served_at <= seconds

    async def _watch(self, seconds: float) -> None:
        while True:
            try:
                answer = await self._check_health(health_pb2.HealthCheckRequest(), timeout=seconds)
            except grpc.aio.AioRpcError:
                serves = False
            else:
                serves = answer.status == health_pb2.HealthCheckResponse.SERVING
            if serves:
                self._served_at = asyncio.get_running_loop().time()
            await asyncio.sleep(seconds)


def _batches(events: Sequence[payment_pb2.ProviderEvent]) -> Iterator[list[payment_pb2.ProviderEvent]]:
    """Divide events, in order, into batches that the ledger takes in one call."""
    batch: list[payment_pb2.ProviderEvent] = []
    size = 0
    for event in events:
        event_size = event.ByteSize()
        if batch and (len(batch) == _MOST_EVENTS or size + event_size > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += event_size
    if batch:
        yield batch


def _refusal(error: grpc.aio.AioRpcError, request: provider_event_pb2.IngestProviderEventsRequest) -> Refused:
    """Return what the ledger's error means for the sender, and log faults that have to be mended.

    The ledger never refuses an event that is well-formed, so a refusal is a fault in the configuration or in
    our own code. It is logged with the ids by which the events can be fetched from the provider.
    """
    code, reasons = error.code(), _reasons(error)
    if code in _PASSING:
        return Refused(Verdict.LEDGER_UNAVAILABLE)
    verdict = Verdict.LEDGER_UNAVAILABLE
    if "PROVIDER_UNKNOWN" in reasons or code is grpc.StatusCode.NOT_FOUND:
        verdict = Verdict.MISCONFIGURED
    elif code is grpc.StatusCode.INVALID_ARGUMENT:
        verdict = Verdict.LEDGER_REFUSED
    log.error(
        "the ledger refused verified events",
        verdict=verdict.value,
        tenant=request.tenant_id,
        provider=request.events[0].provider,
        provider_event_ids=[event.event_id for event in request.events],
        code=code.name,
        reasons=sorted(reasons),
    )
    return Refused(verdict)


def _reasons(error: grpc.aio.AioRpcError) -> set[str]:
    """Return the names of all broken rules in the ledger's answer."""
    reasons: set[str] = set()
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS_KEY or not isinstance(value, bytes):
            continue
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        with contextlib.suppress(DecodeError):
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    if info.domain == _DOMAIN:
                        reasons.add(info.reason)
                elif detail.Unpack(bad):
                    reasons.update(violation.reason for violation in bad.field_violations)
    return reasons
