"""Counters are there before they count: Prometheus sees no rise in a series that begins at one."""

from __future__ import annotations

from pathlib import Path

from defter.payments.v1.payment_pb2 import UnreadReason
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric

from ledger_server.cli.verbs import app
from ledger_server.process.live_identity import LiveFiles
from webhook_edge.metrics import Metrics
from webhook_edge.needed import needed_types
from webhook_edge.scheme import Endpoint, Secret
from webhook_edge.verdicts import Verdict

ENDPOINT = Endpoint(
    name="stripe-eu",
    tenant_id="casino",
    provider="stripe-eu",
    scheme="stripe",
    secrets=(Secret(name="2026-11", value="whsec_x"), Secret(name="2026-12", value="whsec_y")),
    options={},
)


def counters(registry: CollectorRegistry) -> list[Metric]:
    """Return the counters of a registry that are ours."""
    return [
        metric
        for metric in registry.collect()
        if metric.type == "counter" and metric.name.startswith("defter_")
    ]


def test_each_counter_of_the_server_is_shown_before_it_counts(tmp_path: Path) -> None:
    """A new one with labels says which values these can have."""
    assert app.registered_commands  # with these, everything that a server counts is imported
    file = tmp_path / "policy.toml"
    file.write_bytes(b"")
    LiveFiles("DEFTER_POLICY_FILE", (file,), lambda contents: contents)

    found = counters(REGISTRY)

    assert found
    assert [metric.name for metric in found if not metric.samples] == []


def test_an_edge_shows_what_its_endpoints_may_count() -> None:
    """From the first read of its file on, and at 0."""
    metrics = Metrics(CollectorRegistry())

    metrics.expect([ENDPOINT])

    samples = [sample for metric in counters(metrics.registry) for sample in metric.samples]
    totals = [sample for sample in samples if sample.name.endswith("_total")]
    assert {sample.value for sample in totals} == {0}

    def labels(name: str, *wanted: str) -> set[tuple[str, ...]]:
        return {
            tuple(sample.labels[label] for label in wanted) for sample in totals if sample.name.endswith(name)
        }

    of_the_endpoint = {("stripe-eu", verdict.value) for verdict in Verdict}
    assert labels("_webhooks_total", "endpoint", "verdict") == of_the_endpoint | {("", "unknown_endpoint")}
    assert labels("_secret_uses_total", "endpoint", "secret") == {
        ("stripe-eu", "2026-11"),
        ("stripe-eu", "2026-12"),
    }
    assert labels("_edge_events_total", "endpoint", "type") == {
        ("stripe-eu", each) for each in ("", *needed_types(ENDPOINT))
    }
    assert labels("_unread_events_total", "reason", "moves_money") == {
        (name.removeprefix("UNREAD_REASON_").lower(), moves)
        for name, number in UnreadReason.items()
        if number
        for moves in ("false", "true")
    }
