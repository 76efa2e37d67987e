"""Owns the numbers that the engine reports to Prometheus."""

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from ledger_server.domain.ledger.turnover import SHARES
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.domain.state.facts import (
    DepositChanged,
    Fact,
    FactKind,
    HoldChanged,
    TransactionPosted,
    WithdrawalChanged,
)

RECORDS: Final = Counter(
    "defter_journal_records_total", "Journal records written, by what they say", ["kind"]
)
PAYMENT_CHANGES: Final = Counter(
    "defter_payment_changes_total", "Payments that reached a state, or changed in it", ["kind", "state"]
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
COMPANY_SECONDS: Final = Histogram(
    "defter_lane_company_seconds",
    "Time for which a commit waited for more callers to join it",
    buckets=(0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
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
WATCHES: Final = Gauge("defter_watches", "Watches of journals that are open")
WATCH_LAG: Final = Gauge(
    "defter_watch_lag_records", "Records by which the watcher is behind that is furthest behind"
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

# Prometheus sees no rise in a counter that begins at one, so each that can be foreseen is shown at once.
for _kind in FactKind:
    RECORDS.labels(kind=_kind.name.lower())
for _name, _states in (("deposit", DepositState), ("withdrawal", WithdrawalState)):
    for _state in _states:
        PAYMENT_CHANGES.labels(_name, _state.name.lower())
for _share in SHARES:
    TURNOVER_WARNINGS.labels(percent=str(_share))


def count_batch(request_count: int, facts: Sequence[Fact]) -> None:
    """Count a committed batch and what it wrote."""
    BATCH_SIZE.observe(request_count)
    for kind, count in Tally([fact.kind for fact in facts]).items():
        RECORDS.labels(kind=kind.name.lower()).inc(count)
    for fact in facts:
        if type(fact) is DepositChanged:
            PAYMENT_CHANGES.labels("deposit", fact.deposit.state.name.lower()).inc()
        elif type(fact) is WithdrawalChanged:
            PAYMENT_CHANGES.labels("withdrawal", fact.withdrawal.state.name.lower()).inc()
    breaches = sum([_breached(fact) for fact in facts])
    if breaches:
        LIMIT_BREACHES.inc(breaches)


def _breached(fact: Fact) -> bool:
    if type(fact) is TransactionPosted:
        return fact.transaction.limit_breached
    return isinstance(fact, HoldChanged) and bool(fact.lines) and fact.hold.limit_breached
