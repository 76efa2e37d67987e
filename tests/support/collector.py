"""Own a collector of traces: it takes OTLP over HTTP as a real one does, and keeps the spans."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass(frozen=True)
class Seen:
    """A span that came in."""

    name: str
    kind: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    begin_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, str]
    links: tuple[bytes, ...]
    """The ids of other traces that it belongs to as well."""


@dataclass
class Collector:
    """The spans that came in, and where to send more."""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)

    def named(self, name: str) -> list[Seen]:
        """Return the spans of a name, in the order of their beginning."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.begin_ns)

    def above(self, span: Seen) -> list[Seen]:
        """Return the spans above a span, the nearest first."""
        by_id = {each.span_id: each for each in self.spans}
        found = []
        while span.parent_id in by_id:
            span = by_id[span.parent_id]
            found.append(span)
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Take spans in until the block ends."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces", self.path
            collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                values = {each.key: each.value for each in span.attributes}
                yield Seen(
                    name=span.name,
                    kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace_id=span.trace_id,
                    span_id=span.span_id,
                    parent_id=span.parent_span_id,
                    begin_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    failed=span.status.code == Status.STATUS_CODE_ERROR,
                    attributes={
                        key: str(getattr(value, value.WhichOneof("value") or "string_value"))
                        for key, value in values.items()
                    },
                    links=tuple(link.trace_id for link in span.links),
                )
