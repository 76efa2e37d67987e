"""Owns the metrics of RPCs, which follow OpenTelemetry's stable conventions (semconv 1.45).

`rpc.server.call.duration` and its attributes are named as OpenTelemetry's exporter for Prometheus names them:
dots become underscores, and the unit ends the name.
"""

from typing import Final

import grpc
from prometheus_client import Counter, Histogram

from ledger_server.domain.errors import Refused
from ledger_server.rpc.errors import CODES, code_of

_SECONDS: Final = Histogram(
    "rpc_server_call_duration_seconds",
    "Time from the arrival of a call until its end, whatever that is",
    ["rpc_system_name", "rpc_method", "rpc_response_status_code", "error_type"],
    # The conventions' own bounds, and two below them: most calls take less than the least of those.
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)
_DENIED: Final = Counter(
    "defter_calls_denied_total",
    "Calls that were refused for who called, or what they may, by reason",
    ["reason"],
)

# The codes that the conventions count as errors of a server; for the others the label stays empty.
ERRORS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
_DENIALS: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
# Prometheus sees no rise in a counter that begins at one.
for _reason, _code in CODES.items():
    if _code in _DENIALS:
        _DENIED.labels(_reason.name)


class MethodCalls:
    """The calls of one method."""

    def __init__(self, method: str) -> None:
        """Take the method's full name: `package.Service/Method`."""
        self._method = method
        self._by_code: dict[str, Histogram] = {}

    def ended(self, code: str, seconds: float) -> None:
        """Count a call that has ended with the name of a gRPC code."""
        histogram = self._by_code.get(code)
        if histogram is None:
            error = code if code in ERRORS else ""
            histogram = self._by_code[code] = _SECONDS.labels("grpc", self._method, code, error)
        histogram.observe(seconds)


def count_denied(refused: Refused) -> None:
    """Count a refusal, if it is one for who called or what they may."""
    if code_of(refused) in _DENIALS:
        _DENIED.labels(refused.reason.name).inc()
