"""Owns the numbers that the engine reports to Prometheus."""

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from ledger_server.domain.state.facts import Fact, HoldChanged, TransactionPosted

RECORDS: Final = Counter(
    "defter_journal_records_total", "Journal records written, by what they say", ["kind"]
)
LIMIT_BREACHES: Final = Counter(
    "defter_limit_breaches_total", "Broken limits that passed because the tenant is in SHADOW"
)
TURNOVER_WARNINGS: Final = Counter(
    "defter_turnover_warnings_total",
    "Accounts that have passed a share of what their counters can hold, by percent",
    ["percent"],
)
BATCH_SIZE: Final = Histogram(
    "defter_lane_batch_requests",
    "Requests per commit",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)
COMMIT_SECONDS: Final = Histogram(
    "defter_lane_commit_seconds",
    "Time from sending a batch to the database until it was durable",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
RETRIES: Final = Counter(
    "defter_lane_retries_total", "Batches that had to be decided again, by cause", ["cause"]
)
AHEAD: Final = Counter(
    "defter_lane_ahead_total", "Decisions of lanes whose newest record is ahead of the database's clock"
)
FORGOTTEN: Final = Counter(
    "defter_working_sets_forgotten_total", "Working sets of idle lanes that were given up to make room"
)
WORKING_SETS: Final = Gauge(
    "defter_working_sets_bytes", "Bytes that all lanes remember of accounts, holds and payments, about"
)
FOLLOWERS: Final = Gauge(
    "defter_followers_bytes", "Bytes on their way to watchers of journals that these have not taken yet"
)
REQUEST_BYTES: Final = Gauge("defter_requests_bytes", "Bytes of requests that are not answered yet")
WAITING_BYTES: Final = Gauge("defter_lane_waiting_bytes", "Bytes of requests that wait in all lanes")
FINAL_RAISES: Final = Counter(
    "defter_final_time_raises_total", "Writes that made an instant final because somebody asked for it"
)
NOT_FINAL: Final = Counter(
    "defter_reads_not_final_total", "Reads by time that were refused because a commit under way did not end"
)
WAITING: Final = Gauge("defter_lane_waiting_requests", "Requests that wait in all lanes")

WAITING_FOR_SHARE: Final = Gauge(
    "defter_calls_waiting_for_share", "Calls that wait because their tenant or caller has its share in work"
)


def count_batch(request_count: int, facts: Sequence[Fact]) -> None:
    """Count a committed batch and what it wrote."""
    BATCH_SIZE.observe(request_count)
    for kind, count in Tally([fact.kind for fact in facts]).items():
        RECORDS.labels(kind=kind.name.lower()).inc(count)
    breaches = sum([_breached(fact) for fact in facts])
    if breaches:
        LIMIT_BREACHES.inc(breaches)


def _breached(fact: Fact) -> bool:
    if type(fact) is TransactionPosted:
        return fact.transaction.limit_breached
    return isinstance(fact, HoldChanged) and bool(fact.lines) and fact.hold.limit_breached
