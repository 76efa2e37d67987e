"""Owns what the edge counts; labels come from the configuration, never from a request."""

from prometheus_client import CollectorRegistry, Counter, Histogram

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

    def count_webhook(self, endpoint: str, verdict: Verdict) -> None:
        """Count what became of a webhook."""
        self._webhooks.labels(endpoint, verdict.value).inc()

    def count_secret(self, endpoint: str, secret: str) -> None:
        """Count which secret verified a webhook."""
        self._secrets.labels(endpoint, secret).inc()

    def observe_forward(self, seconds: float) -> None:
        """Note how long the ledger took."""
        self._forward_seconds.observe(seconds)

    def count_reload(self, *, succeeded: bool) -> None:
        """Count a read of the configuration."""
        self._reloads.labels("read" if succeeded else "failed").inc()
