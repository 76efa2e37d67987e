"""Owns the path of one webhook: bounds, signature, meaning, ledger. The first step that fails ends it.

Verified signatures are not remembered. A delivery that is replayed within its scheme's ±300 s is verified and
forwarded again, and changes nothing, since the ledger stores every event once under the provider's own id.
That works across processes and restarts, which a memory here could not do. Schemes without a signed time rely
on the same.
"""

import asyncio
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import structlog
from defter.payments.v1 import payment_pb2
from msgspec import Struct
from starlette.requests import Request

from defter_tracing import Kind, traces
from webhook_edge.body import BodyReader
from webhook_edge.configuration import Configuration, ConfiguredEndpoint
from webhook_edge.gateway import Ledger
from webhook_edge.metrics import Metrics
from webhook_edge.scheme import Endpoint, Malformed, NotVerified, Scheme
from webhook_edge.schemes import scheme_named
from webhook_edge.throttle import Throttle
from webhook_edge.verdicts import STATUSES, Refused, Verdict

log = structlog.get_logger()

# Headers of signatures. If one stood twice, it could not be told which one counts.
_SIGNATURE_HEADERS: Final = frozenset(
    {
        "authorization",
        "hmacsignature",
        "protocol",
        "stripe-signature",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    }
)


_SPAN: Final = {"http.request.method": "POST"}


class Answer(Struct, frozen=True, kw_only=True):
    """The answer to the sender of a webhook."""

    verdict: Verdict
    status: int
    body: bytes
    media_type: str = "text/plain"
    retry_seconds: int | None = None


class _Event(Struct, frozen=True, kw_only=True):
    """The only parts of a verified webhook that are logged."""

    ids: Sequence[str] = ()
    secret: str = ""
    unread: Sequence[str] = ()


def system_clock() -> datetime:
    """Return the present instant, in UTC."""
    return datetime.now(UTC)


class Receiver:
    """Takes webhooks in."""

    def __init__(
        self,
        *,
        configuration: Callable[[], Configuration],
        ledger: Ledger,
        metrics: Metrics | None = None,
        reader: BodyReader | None = None,
        clock: Callable[[], datetime] = system_clock,
        log_taken: bool = True,
    ) -> None:
        """Take the source of the configuration; each webhook uses the one in force when it comes.

        Args:
            log_taken: whether taken webhooks are logged too, and not only refused ones.
            clock: for the times in signatures and the ends of secrets.
        """
        self._configuration = configuration
        self._ledger = ledger
        self._metrics = metrics or Metrics()
        self._reader = reader or BodyReader()
        self._throttle = Throttle()
        self._clock = clock
        self._log_taken = log_taken

    async def take(self, request: Request, *, scheme_name: str, endpoint_name: str) -> Answer:
        """Verify a webhook and hand it to the ledger; every input ends in an answer."""
        configuration = self._configuration()
        configured = configuration.endpoint(scheme_name, endpoint_name)
        made = traces()
        if made is None or configured is None:  # strangers make no spans
            return await self._take_in(request, configuration, configured)
        # A sender outside has no say in our traces, so what it says of its own is not read.
        route = f"/webhooks/{configured.endpoint.scheme}/{configured.endpoint.name}"
        with made.root(f"POST {route}", Kind.SERVER, attributes=_SPAN | {"http.route": route}) as span:
            answer = await self._take_in(request, configuration, configured)
            span.say(http__response__status_code=answer.status, defter__verdict=answer.verdict.value)
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.fail(answer.verdict.value)
            return answer

    async def _take_in(
        self, request: Request, configuration: Configuration, configured: ConfiguredEndpoint | None
    ) -> Answer:
        label = "" if configured is None else configured.endpoint.name
        seen = _Event()

        def see(event: _Event) -> None:
            nonlocal seen
            seen = event

        try:
            address = "" if request.client is None else request.client.host
            rates = configuration.rates if configured is None else configured.rates
            await self._throttle.admit_address(rates.address, label, address)
            answer = await self._take(request, configured, see)
        except Refused as refused:
            answer = _refusal(refused)
        except asyncio.CancelledError:
            # The edge is stopping and can't wait any longer, so the task ends with this answer and not with a
            # 500.
            answer = _refusal(Refused(Verdict.LEDGER_UNAVAILABLE))
        except Exception as error:  # noqa: BLE001  # a 500 would bring the same delivery back for days
            answer = _unexpected(error, label)
        self._metrics.count_webhook(label, answer.verdict)
        if label and (self._log_taken or answer.verdict is not Verdict.TAKEN):
            log.info(
                "webhook",
                endpoint=label,
                verdict=answer.verdict.value,
                secret=seen.secret,
                provider_event_ids=seen.ids,
                **({"unread": seen.unread} if seen.unread else {}),
            )
        return answer

    async def _take(
        self, request: Request, configured: ConfiguredEndpoint | None, see: Callable[[_Event], None]
    ) -> Answer:
        endpoint = None if configured is None else configured.counting(self._clock())
        if configured is None or endpoint is None:
            raise Refused(Verdict.UNKNOWN_ENDPOINT)
        headers = _headers(request)
        scheme = scheme_named(endpoint.scheme)
        async with self._reader.body(request) as body:
            try:
                secret = scheme.verify(body, headers, endpoint, self._clock())
            except Malformed:
                raise Refused(Verdict.MALFORMED) from None
            except NotVerified:
                raise Refused(Verdict.NOT_VERIFIED) from None
            see(_Event(secret=secret.name))
            self._metrics.count_secret(endpoint.name, secret.name)
            await self._throttle.admit_verified(configured.rates.verified, endpoint.name)
            events = scheme.events(body, headers, endpoint)
            unread = [event for event in events if event.unread_reason]
            see(_Event(secret=secret.name, ids=[each.event_id for each in events], unread=_why(unread)))
            self._metrics.count_events(endpoint, events)
            if not events:
                return _success(Verdict.NOT_OURS, scheme)
            if configured.observes:
                return _success(Verdict.OBSERVED, scheme)
            await self._forward(endpoint, events)
        return _success(Verdict.UNREAD if unread else Verdict.TAKEN, scheme)

    async def _forward(self, endpoint: Endpoint, events: Sequence[payment_pb2.ProviderEvent]) -> None:
        # A verified event belongs to the endpoint's own provider account.
        assert all(event.provider == endpoint.provider for event in events)
        for event in events:
            # The ledger requires a time; an event without one has happened by now.
            if not event.HasField("occur_time"):
                event.occur_time.FromDatetime(self._clock())
        began = time.perf_counter()
        try:
            await self._ledger.ingest(endpoint.tenant_id, events)
        finally:
            self._metrics.observe_forward(time.perf_counter() - began)


def _headers(request: Request) -> Mapping[str, str]:
    """Return the headers by lower-case name; repeated headers are joined as in HTTP, if they may repeat.

    Raises:
        Refused: MALFORMED, if a header of a signature stands twice.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in headers and name in _SIGNATURE_HEADERS:
            raise Refused(Verdict.MALFORMED)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _why(unread: Sequence[payment_pb2.ProviderEvent]) -> list[str]:
    """Return why events could not be read: only the kinds, since the sentences may name input."""
    return [payment_pb2.UnreadReason.Name(event.unread_reason) for event in unread]


def _success(verdict: Verdict, scheme: Scheme) -> Answer:
    success = scheme.success
    return Answer(verdict=verdict, status=success.status, body=success.body, media_type=success.media_type)


def _refusal(refused: Refused) -> Answer:
    return Answer(
        verdict=refused.verdict,
        status=STATUSES[refused.verdict],
        body=refused.verdict.value.encode(),
        retry_seconds=refused.retry_seconds,
    )


def _unexpected(error: Exception, endpoint: str) -> Answer:
    """Log where an error came up without its text, which could contain bytes of the request."""
    error_id = uuid.uuid4().hex
    frames = traceback.extract_tb(error.__traceback__)
    log.error(
        "unexpected error; the webhook was not forwarded",
        error_id=error_id,
        endpoint=endpoint,
        kind=type(error).__name__,
        at=[f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames],
    )
    verdict = Verdict.UNEXPECTED
    return Answer(verdict=verdict, status=STATUSES[verdict], body=f"{verdict.value} {error_id}".encode())
