"""Owns the console's metrics; labels are pages and calls of its own code, never parts of a request."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from defter_client import LedgerError

_SECONDS: Final = (0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0)


class Metrics:
    """The counters of one console."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._requests = Counter(
            "defter_console_requests",
            "Requests by page and by the first digit of their answer's status.",
            ("page", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "defter_console_request_seconds",
            "Time until a page was rendered; of files and streams, until they began.",
            ("page",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._failures = Counter(
            "defter_console_ledger_failures",
            "Calls that the ledger refused or that failed, by kind; `unknown`: it may have taken effect.",
            ("call", "kind"),
            registry=self.registry,
        )
        self._streams = Gauge("defter_console_live_streams", "Live pages now.", registry=self.registry)
        self._sessions = Gauge("defter_console_sessions", "Sessions now.", registry=self.registry)
        self._checks = Gauge(
            "defter_console_checks_running", "Checks of journals that run now.", registry=self.registry
        )

    def expect(self, pages: Iterable[str]) -> None:
        """Show at 0 what may be counted: Prometheus sees no rise in what begins at one."""
        for page in pages:
            for status in "2345":
                self._requests.labels(page, "GET", status)

    def observe(
        self, *, streams: Callable[[], int], sessions: Callable[[], int], checks: Callable[[], int]
    ) -> None:
        """Tell by these how much is open, each time that somebody asks."""
        self._streams.set_function(streams)
        self._sessions.set_function(sessions)
        self._checks.set_function(checks)

    def count_request(self, page: str, method: str, status: int, seconds: float) -> None:
        """Count an answer.

        Args:
            page: the address as the table of pages has it.
            method: GET or POST; HEAD counts as GET.
        """
        self._requests.labels(page, "POST" if method == "POST" else "GET", str(status // 100)).inc()
        self._seconds.labels(page).observe(seconds)

    def count_failure(self, call: str, error: LedgerError) -> None:
        """Count a call that the ledger has refused or that has failed."""
        self._failures.labels(call, "unknown" if error.outcome_unknown else error.kind or "fault").inc()
