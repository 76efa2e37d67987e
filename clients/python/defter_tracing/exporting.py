"""Own the traces that are made and sent by OpenTelemetry: this module is imported only for that."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from defter_tracing.spans import Kind, Metadata, Place, Span, Value

_MOST_REMEMBERED: Final = 10_000
_KINDS: Final = {
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.INTERNAL: SpanKind.INTERNAL,
}
_PATH: Final = "/v1/traces"
_HEADERS: Final = frozenset({"traceparent", "tracestate"})


def exporting(service_name: str, endpoint: str) -> "OpenTelemetryTraces":
    """Return traces that are sent to a collector, in a thread of their own."""
    resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or service_name})
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + _PATH)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OpenTelemetryTraces(provider)


class OpenTelemetryTraces:
    """Traces over OpenTelemetry's SDK; see `spans.Traces`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("defter")
        self._propagator = TraceContextTextMapPropagator()
        self._remembered: OrderedDict[Any, SpanContext] = OrderedDict()

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind,
        *,
        attributes: Mapping[str, Value],
        incoming: Metadata | None = None,
        below: Place | None = None,
    ) -> Iterator[Span]:
        """Make a span for the block; see `spans.Traces`."""
        context: Context | None = None
        if incoming is not None:
            headers = {key: value for key, value in incoming if key in _HEADERS and isinstance(value, str)}
            context = self._propagator.extract(headers, Context())
        elif below is not None:
            context = _below(below)
        with self._under(name, kind, attributes, context) as made:
            yield made

    @contextmanager
    def root(self, name: str, kind: Kind, *, attributes: Mapping[str, Value]) -> Iterator[Span]:
        """Make a span for the block that begins a trace; see `spans.Traces`."""
        with self._under(name, kind, attributes, Context()) as made:
            yield made

    @contextmanager
    def _under(
        self, name: str, kind: Kind, attributes: Mapping[str, Value], context: Context | None
    ) -> Iterator[Span]:
        # The text of an exception may repeat what a caller has sent, so none is recorded.
        with self._tracer.start_as_current_span(
            name,
            context,
            _KINDS[kind],
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as under_way:
            yield _Span(under_way)

    def record(
        self,
        name: str,
        *,
        below: Place,
        begin_ns: int,
        end_ns: int,
        attributes: Mapping[str, Value],
        beside: Iterable[Place] = (),
    ) -> Place:
        """Record a span that is over; see `spans.Traces`."""
        links = [Link(_context_of(place)) for place in beside]
        made = self._tracer.start_span(
            name, _below(below), SpanKind.INTERNAL, attributes=attributes, links=links, start_time=begin_ns
        )
        made.end(end_ns)
        return made.get_span_context()

    def here(self) -> Place | None:
        """Return the place of the span under way; see `spans.Traces`."""
        under_way = trace.get_current_span()
        return under_way.get_span_context() if under_way.is_recording() else None

    def outgoing(self) -> tuple[tuple[str, str], ...]:
        """Return what tells another process of the span under way."""
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return tuple(headers.items())

    def remember(self, subject: Any, place: Place) -> None:
        """Remember where something was decided that is done later."""
        self._remembered[subject] = _context_of(place)
        self._remembered.move_to_end(subject)
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    def remembered(self, subject: Any) -> Place | None:
        """Return where it was decided, as far as this process knows."""
        return self._remembered.get(subject)

    def stop(self) -> None:
        """Send what was not sent yet."""
        self._provider.shutdown()


class _Span:
    """A span of OpenTelemetry's."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def say(self, **attributes: Value) -> None:
        """Add attributes; a double underscore in a name stands for a dot."""
        for name, value in attributes.items():
            self._span.set_attribute(name.replace("__", "."), value)

    def fail(self, why: str) -> None:
        """Mark the span as failed."""
        self._span.set_attribute("error.type", why)
        self._span.set_status(Status(StatusCode.ERROR))


def _context_of(place: Place) -> SpanContext:
    assert isinstance(place, SpanContext), "places come from here"
    return place


def _below(place: Place) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(_context_of(place)), Context())
