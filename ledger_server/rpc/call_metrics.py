"""Owns the metrics of RPCs, which follow OpenTelemetry's stable conventions (semconv 1.45).

`rpc.server.call.duration` and its attributes are named as OpenTelemetry's exporter for Prometheus names them:
dots become underscores, and the unit ends the name.
"""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

import grpc
from prometheus_client import REGISTRY, Counter, Metric
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector

from ledger_server.domain.errors import Refused
from ledger_server.rpc.errors import CODES, code_of

_LABELS: Final = ("rpc_system_name", "rpc_method", "rpc_response_status_code", "error_type")
# The conventions' own bounds, and two below them: most calls take less than the least of those.
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
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
    """The calls of one method, counted by the event loop's thread.

    The library's own histogram takes three locks for each call; nobody else writes these numbers.
    """

    def __init__(self, method: str) -> None:
        """Take the method's full name: `package.Service/Method`."""
        self._by_code = _DURATIONS.of_method(method)

    def ended(self, code: str, seconds: float) -> None:
        """Count a call that has ended with the name of a gRPC code."""
        durations = self._by_code.get(code)
        if durations is None:
            durations = self._by_code[code] = _Durations()
        durations.counts[bisect_left(BOUNDS, seconds)] += 1
        durations.total += seconds


class _Durations:
    """How long calls took: how many fell below each bound and above the one before, and all together."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0


class _AllDurations(Collector):
    """The histogram of all methods, as Prometheus asks for it."""

    def __init__(self) -> None:
        self._by_method: dict[str, dict[str, _Durations]] = {}

    def of_method(self, method: str) -> dict[str, _Durations]:
        """Return the durations of a method's calls by code; those of all servers in a process are one."""
        return self._by_method.setdefault(method, {})

    def describe(self) -> Iterable[Metric]:
        """Name the histogram, so that no other one has its name."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Return the histogram as it is now."""
        family = self._family()
        for method, by_code in tuple(self._by_method.items()):
            for code, durations in tuple(by_code.items()):
                below = accumulate(tuple(durations.counts))
                family.add_metric(
                    ("grpc", method, code, code if code in ERRORS else ""),
                    list(zip(_TOLD, below, strict=True)),
                    durations.total,
                )
        return [family]

    @staticmethod
    def _family() -> HistogramMetricFamily:
        return HistogramMetricFamily(
            "rpc_server_call_duration_seconds",
            "Time from the arrival of a call until its end, whatever that is",
            labels=_LABELS,
        )


# As the library's own histograms write them.
_TOLD: Final = (*(str(float(bound)) for bound in BOUNDS), "+Inf")
_DURATIONS: Final = _AllDurations()
REGISTRY.register(_DURATIONS)


def count_denied(refused: Refused) -> None:
    """Count a refusal, if it is one for who called or what they may."""
    if code_of(refused) in _DENIALS:
        _DENIED.labels(refused.reason.name).inc()
