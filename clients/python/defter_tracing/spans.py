"""Own what others know of traces: how to switch them on, and the spans that can be made.

OpenTelemetry is an extra (`defter[otel]`). It is imported when traces are switched on, and not before.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, Protocol

Metadata = Iterable[tuple[str, str | bytes]]
Value = str | int | float | bool


class Kind(Enum):
    """Which side of a call a span is."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


class Place(Protocol):
    """Where a span stands: in which trace, and below or beside which span others may be put."""

    @property
    def trace_id(self) -> int:
        """The trace's id."""

    @property
    def span_id(self) -> int:
        """The span's own id."""


class Span(Protocol):
    """A span that is not over yet."""

    def say(self, **attributes: Value) -> None:
        """Add attributes; a double underscore in a name stands for a dot."""

    def fail(self, why: str) -> None:
        """Mark the span as failed, for a kind of reason of which there are few."""


class TracingMissing(Exception):
    """Traces are wanted, and the packages for them are not installed."""


class Traces(Protocol):
    """The traces of this process, while they are switched on."""

    def span(
        self,
        name: str,
        kind: Kind,
        *,
        attributes: Mapping[str, Value],
        incoming: Metadata | None = None,
        below: Place | None = None,
    ) -> AbstractContextManager[Span]:
        """Make a span for the block, below the span under way unless another place is given.

        Args:
            incoming: metadata or headers of a caller, whose `traceparent` says what it is below; without one
                that can be read, it begins a trace.
            below: a place that is known here.
        """

    def root(self, name: str, kind: Kind, *, attributes: Mapping[str, Value]) -> AbstractContextManager[Span]:
        """Make a span for the block that begins a trace, whatever is under way."""

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
        """Record a span that is over; return its place.

        Args:
            begin_ns, end_ns: nanoseconds since 1970.
            beside: places of other traces that it belongs to as well.
        """

    def here(self) -> Place | None:
        """Return the place of the span under way, if there is one that is recorded."""

    def outgoing(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata or headers that tell another process of the span under way."""

    def remember(self, subject: Any, place: Place) -> None:
        """Remember where something was decided that is done later; of many the oldest are forgotten."""

    def remembered(self, subject: Any) -> Place | None:
        """Return where it was decided, as far as this process knows."""

    def stop(self) -> None:
        """Send what was not sent yet; this waits for a while."""


_on: Traces | None = None


def traces() -> Traces | None:
    """Return the traces of this process; None while they are switched off."""
    return _on


def switch_on(service_name: str, endpoint: str) -> Traces:
    """Make traces from now on, and send them.

    Args:
        service_name: `service.name` of this process, unless `OTEL_SERVICE_NAME` says another.
        endpoint: `http://host:port` of a collector that takes OTLP over HTTP. OpenTelemetry's own variables
            (`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_…`) count beside it.
    Raises:
        TracingMissing: the packages are not installed.
    """
    global _on  # noqa: PLW0603  # one process has one way to send its traces
    try:
        from defter_tracing.exporting import exporting  # noqa: PLC0415  # an extra, which few install
    except ImportError as error:
        raise TracingMissing(f"pip install 'defter[otel]' ({error})") from None
    _on = exporting(service_name, endpoint)
    return _on


def switch_off() -> None:
    """Send what was not sent yet, which waits for a while, and make no more traces."""
    global _on  # see above
    before, _on = _on, None
    if before is not None:
        before.stop()
