"""Owns the measures of background jobs."""

from typing import Final, get_args

from defter.reconciliation.v1 import reconciliation_pb2 as pb
from prometheus_client import Counter, Gauge

from ledger_server.domain.payments.calls import CallKind
from ledger_server.providers.adapter import Answer

CALLS: Final = Counter("defter_provider_calls_total", "Answers of providers", ["kind", "answer"])
CIRCUIT_OPEN: Final = Gauge(
    "defter_provider_circuit_open",
    "1 while a provider account does not answer and is left alone",
    ["provider"],
)
OWED: Final = Gauge(
    "defter_owed_calls", "Calls whose time has come, and those that a person has to look at", ["provider"]
)
OWED_STOPPED: Final = Gauge(
    "defter_owed_calls_stopped", "Calls that are not made any more until a person has looked", ["provider"]
)
OWED_OLDEST: Final = Gauge(
    "defter_owed_calls_oldest_seconds", "For how long the call waits that waits longest", ["provider"]
)
PARKED_REPLAYS: Final = Counter("defter_parked_event_replays_total", "Parked events that were tried again")
RUNS: Final = Counter("defter_reconciliation_runs_total", "Reconciliation runs that have ended", ["state"])
RECORDS: Final = Counter("defter_reconciliation_records_total", "Records that runs have read")
REPORTS: Final = Counter(
    "defter_settlement_reports_total",
    "Settlement reports that were imported, or imported again",
    ["duplicate"],
)
FINDINGS: Final = Counter(
    "defter_finding_changes_total", "Findings that runs and imports have opened, changed or resolved"
)

# Prometheus sees no rise in a counter that begins at one, so each that can be foreseen is shown at once.
for _kind in CallKind:
    for _answer in get_args(Answer):
        CALLS.labels(kind=_kind.name.lower(), answer=_answer.__name__.lower())
for _state in pb.RunState.values():
    if _state not in (pb.RUN_STATE_UNSPECIFIED, pb.RUN_STATE_RUNNING):
        RUNS.labels(state=pb.RunState.Name(_state))
for _duplicate in ("false", "true"):
    REPORTS.labels(duplicate=_duplicate)


def waits(provider: str, *, calls: int, stopped: int, oldest_seconds: float) -> None:
    """Set what waits of one provider account."""
    OWED.labels(provider=provider).set(calls)
    OWED_STOPPED.labels(provider=provider).set(stopped)
    OWED_OLDEST.labels(provider=provider).set(oldest_seconds)
