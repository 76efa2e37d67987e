"""Own the histogram of calls: Prometheus is shown what its library's own histogram would show."""

from __future__ import annotations

import uuid

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ledger_server.rpc.call_metrics import BOUNDS, MethodCalls

NAME = "rpc_server_call_duration_seconds"
_seconds = st.one_of(st.sampled_from(BOUNDS), st.floats(0, 20))


def shown(registry: CollectorRegistry, method: str) -> dict[tuple[str, str, str], float]:
    """Return what a registry tells of a method: by sample, code and bound."""
    [family] = [
        each
        for each in text_string_to_metric_families(generate_latest(registry).decode())
        if each.name == NAME
    ]
    assert family.type == "histogram"
    return {
        (sample.name, sample.labels["rpc_response_status_code"], sample.labels.get("le", "")): sample.value
        for sample in family.samples
        if sample.labels["rpc_method"] == method and not sample.name.endswith("_created")
    }


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(["OK", "INTERNAL"]), _seconds), min_size=1, max_size=30))
def test_histogram_is_the_librarys(calls: list[tuple[str, float]]) -> None:
    """Bounds included, in the same words."""
    labels = ["rpc_system_name", "rpc_method", "rpc_response_status_code", "error_type"]
    usual = CollectorRegistry()
    histogram = Histogram(NAME, "the same", labels, buckets=BOUNDS, registry=usual)
    method = f"Service/{uuid.uuid4().hex}"
    ours = MethodCalls(method)
    for code, seconds in calls:
        ours.ended(code, seconds)
        histogram.labels("grpc", method, code, "INTERNAL" if code == "INTERNAL" else "").observe(seconds)

    expected, told = shown(usual, method), shown(REGISTRY, method)
    assert told.keys() == expected.keys()
    for key, value in expected.items():
        assert abs(told[key] - value) < 1e-9
