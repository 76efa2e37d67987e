"""Owns the edge's metrics; labels come from the configuration, never from a request."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from defter.payments.v1.payment_pb2 import ProviderEvent, UnreadReason
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from webhook_edge.needed import needed_types
from webhook_edge.scheme import Endpoint
from webhook_edge.verdicts import Verdict


class Metrics:
    """The counters of one edge."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._webhooks = Counter(
            "defter_edge_webhooks",
            "Webhooks by what became of them; an endpoint that is not configured has no name.",
            ("endpoint", "verdict"),
            registry=self.registry,
        )
        self._unread = Counter(
            "defter_edge_unread_events",
            "Genuine events that could not be read, by why, and whether their type moves money.",
            ("endpoint", "reason", "moves_money"),
            registry=self.registry,
        )
        self._events = Counter(
            "defter_edge_events",
            "Events by type; those that are not needed have no name.",
            ("endpoint", "type"),
            registry=self.registry,
        )
        self._secrets = Counter(
            "defter_edge_secret_uses",
            "Webhooks by the name of the secret that verified them: one that stays still can be retired.",
            ("endpoint", "secret"),
            registry=self.registry,
        )
        self._forward_seconds = Histogram(
            "defter_edge_forward_seconds",
            "Time until the ledger had made the events of a webhook durable, or had not.",
            registry=self.registry,
        )
        self._reloads = Counter(
            "defter_edge_configuration_reads",
            "Reads of a changed configuration; one that failed left the old one in force.",
            ("result",),
            registry=self.registry,
        )
        self._current = Gauge(
            "defter_edge_configuration_current",
            "1 while what the files say is in force; 0 while they can't be used.",
            registry=self.registry,
        )
        self._current.set(1)
        self._days_left = Gauge(
            "defter_edge_certificate_days_left",
            "Days until the certificate that proves to the ledger who this edge is has expired.",
            registry=self.registry,
        )
        self._days_left.set(float("nan"))

    def expect(self, endpoints: Iterable[Endpoint]) -> None:
        """Show at 0 what these endpoints may count: Prometheus sees no rise in what begins at one."""
        self._webhooks.labels("", Verdict.UNKNOWN_ENDPOINT.value)
        for result in ("read", "failed"):
            self._reloads.labels(result)
        for endpoint in endpoints:
            for verdict in Verdict:
                self._webhooks.labels(endpoint.name, verdict.value)
            for secret in endpoint.secrets:
                self._secrets.labels(endpoint.name, secret.name)
            for type_ in ("", *needed_types(endpoint)):
                self._events.labels(endpoint.name, type_)
            for reason in UnreadReason.values():
                if reason:
                    for moves_money in ("false", "true"):
                        self._unread.labels(endpoint.name, _reason(reason), moves_money)

    def show_certificate(self, file: Path) -> None:
        """Tell how long the certificate in a file, which can be read now, is good for."""
        self._days_left.set_function(lambda: _days_left(file))

    def count_webhook(self, endpoint: str, verdict: Verdict) -> None:
        """Count what became of a webhook."""
        self._webhooks.labels(endpoint, verdict.value).inc()

    def count_events(self, endpoint: Endpoint, events: Sequence[ProviderEvent]) -> None:
        """Count the events of a webhook, and the unread ones."""
        needed = needed_types(endpoint)
        for event in events:
            self._events.labels(
                endpoint.name, event.provider_type if event.provider_type in needed else ""
            ).inc()
            if event.unread_reason:
                moves_money = str(event.moves_money).lower()
                self._unread.labels(endpoint.name, _reason(event.unread_reason), moves_money).inc()

    def count_secret(self, endpoint: str, secret: str) -> None:
        """Count which secret verified a webhook."""
        self._secrets.labels(endpoint, secret).inc()

    def observe_forward(self, seconds: float) -> None:
        """Note how long the ledger took."""
        self._forward_seconds.observe(seconds)

    def count_reload(self, *, succeeded: bool) -> None:
        """Count a read of the configuration, and note whether it is in force."""
        self._current.set(succeeded)
        self._reloads.labels("read" if succeeded else "failed").inc()


def _reason(reason: UnreadReason.ValueType) -> str:
    return UnreadReason.Name(reason).removeprefix("UNREAD_REASON_").lower()


def _days_left(file: Path) -> float:
    """Return the days until the first certificate in a file has expired; NaN if it can't be read now."""
    try:
        ends = [each.not_valid_after_utc for each in x509.load_pem_x509_certificates(file.read_bytes())]
    except (OSError, ValueError):
        return float("nan")
    return (min(ends) - datetime.now(UTC)).total_seconds() / 86_400
