"""Owns the measures of background jobs."""

from typing import Final

from prometheus_client import Counter

CALLS: Final = Counter("defter_provider_calls_total", "Answers of providers", ["kind", "answer"])
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
