"""Owns Grafana's dashboards: they are generated from here into `deploy/grafana/`.

`python -m tools.dashboards` writes them, `--check` fails if they are other than they would be written.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER: Final = Path(__file__).parents[1] / "deploy" / "grafana"
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph: its title, the unit of its values, and expressions with what each line is called."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]


def _quantile(share: str, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"


def _rate(metric: str, by: str = "") -> str:
    return (
        f"sum by ({by}) (rate({metric}[$__rate_interval]))"
        if by
        else f"sum(rate({metric}[$__rate_interval]))"
    )


_RPC: Final = "rpc_server_call_duration_seconds"
_FOUND: Final = "finding_class, severity"

DASHBOARDS: Final[dict[str, tuple[str, dict[str, tuple[Graph, ...]]]]] = {
    "defter-overview": (
        "Defter: overview",
        {
            "Calls": (
                Graph(
                    "Calls by code",
                    "reqps",
                    ((_rate(f"{_RPC}_count", "rpc_response_status_code"), "{{rpc_response_status_code}}"),),
                ),
                Graph(
                    "Share of calls that failed by our fault",
                    "percentunit",
                    (("defter:rpc_errors:ratio_rate5m", "failed"),),
                ),
                Graph("Median by method", "s", ((_quantile("0.5", _RPC, "rpc_method"), "{{rpc_method}}"),)),
                Graph(
                    "99th percentile by method",
                    "s",
                    (("defter:rpc_duration_seconds:p99_5m", "{{rpc_method}}"),),
                ),
                Graph(
                    "Calls that were denied",
                    "reqps",
                    ((_rate("defter_calls_denied_total", "reason"), "{{reason}}"),),
                ),
                Graph("Bytes of requests under way", "bytes", (("defter_requests_bytes", "{{instance}}"),)),
            ),
            "Processes": (
                Graph("Ready", "bool", (("defter_ready", "{{instance}}"),)),
                Graph(
                    "Clock against the database's",
                    "s",
                    (
                        ("defter_clock_offset_seconds", "{{instance}}"),
                        ("defter_clock_uncertainty_seconds", "{{instance}}, uncertain"),
                    ),
                ),
                Graph(
                    "Database connections at work",
                    "percentunit",
                    (
                        (
                            "defter_database_connections_used / defter_database_connections_max",
                            "{{instance}} {{pool}}",
                        ),
                    ),
                ),
                Graph(
                    "Connections given up, and proofs",
                    "ops",
                    (
                        (_rate("defter_database_connections_condemned_total"), "given up"),
                        (_rate("defter_durability_proofs_total"), "proofs"),
                    ),
                ),
                Graph(
                    "Days that certificates last",
                    "d",
                    (("min by (setting) (defter_certificate_days_left)", "{{setting}}"),),
                ),
                Graph(
                    "Files in force",
                    "bool",
                    (
                        ("min by (setting) (defter_identity_current)", "{{setting}}"),
                        (
                            "sum by (setting, result) (increase(defter_identity_reloads_total[1h]))",
                            "{{setting}} {{result}}",
                        ),
                    ),
                ),
            ),
        },
    ),
    "defter-lanes": (
        "Defter: lanes",
        {
            "Queues": (
                Graph("Requests that wait", "short", (("defter_lane_waiting_requests", "{{instance}}"),)),
                Graph("Their bytes", "bytes", (("defter_lane_waiting_bytes", "{{instance}}"),)),
                Graph(
                    "Batches decided again, by cause",
                    "ops",
                    ((_rate("defter_lane_retries_total", "cause"), "{{cause}}"),),
                ),
                Graph("Decisions ahead of time", "ops", ((_rate("defter_lane_ahead_total"), "ahead"),)),
            ),
            "Commits": (
                Graph(
                    "Time of a commit",
                    "s",
                    (
                        (_quantile("0.5", "defter_lane_commit_seconds"), "median"),
                        (_quantile("0.99", "defter_lane_commit_seconds"), "99 %"),
                    ),
                ),
                Graph(
                    "Wait for company",
                    "s",
                    (
                        (_quantile("0.5", "defter_lane_company_seconds"), "median"),
                        (_quantile("0.99", "defter_lane_company_seconds"), "99 %"),
                    ),
                ),
                Graph(
                    "Requests of a commit",
                    "short",
                    (
                        (_quantile("0.5", "defter_lane_batch_requests"), "median"),
                        (_quantile("0.99", "defter_lane_batch_requests"), "99 %"),
                    ),
                ),
                Graph(
                    "Records written", "ops", ((_rate("defter_journal_records_total", "kind"), "{{kind}}"),)
                ),
                Graph(
                    "Limits",
                    "ops",
                    (
                        (_rate("defter_limit_breaches_total"), "broken in SHADOW"),
                        (_rate("defter_turnover_warnings_total", "percent"), "turnover {{percent}} %"),
                    ),
                ),
            ),
            "Memory and readers": (
                Graph("Working sets", "bytes", (("defter_working_sets_bytes", "{{instance}}"),)),
                Graph(
                    "Working sets forgotten",
                    "ops",
                    ((_rate("defter_working_sets_forgotten_total"), "forgotten"),),
                ),
                Graph(
                    "Watches",
                    "short",
                    (
                        ("defter_watches", "{{instance}}"),
                        ("defter_watch_lag_records", "{{instance}}, records behind"),
                    ),
                ),
                Graph(
                    "Bytes on their way to watchers", "bytes", (("defter_followers_bytes", "{{instance}}"),)
                ),
                Graph(
                    "Reads of instants",
                    "ops",
                    (
                        (_rate("defter_final_time_raises_total"), "made final"),
                        (_rate("defter_reads_not_final_total"), "refused"),
                    ),
                ),
            ),
        },
    ),
    "defter-payments": (
        "Defter: payments and reconciliation",
        {
            "Payments": (
                Graph(
                    "Payments that are open",
                    "short",
                    (
                        (
                            "sum by (kind, state) (max by (tenant, kind, state) (defter_payments_open))",
                            "{{kind}} {{state}}",
                        ),
                    ),
                ),
                Graph(
                    "Payments that reached a state",
                    "ops",
                    ((_rate("defter_payment_changes_total", "kind, state"), "{{kind}} {{state}}"),),
                ),
                Graph("Holds that are due", "short", (("sum(max by (tenant) (defter_holds_due))", "due"),)),
                Graph("The longest of them", "s", (("max(defter_holds_due_oldest_seconds)", "due for"),)),
            ),
            "Calls to providers": (
                Graph(
                    "Answers",
                    "ops",
                    ((_rate("defter_provider_calls_total", "kind, answer"), "{{kind}} {{answer}}"),),
                ),
                Graph(
                    "Calls that wait",
                    "short",
                    (
                        ("max by (provider) (defter_owed_calls)", "{{provider}}"),
                        ("max by (provider) (defter_owed_calls_stopped)", "{{provider}}, for a person"),
                    ),
                ),
                Graph(
                    "The longest wait",
                    "s",
                    (("max by (provider) (defter_owed_calls_oldest_seconds)", "{{provider}}"),),
                ),
                Graph(
                    "Left alone, and stopped",
                    "bool",
                    (
                        ("max by (provider) (defter_provider_circuit_open)", "{{provider}}"),
                        ("max(defter_outbound_stopped)", "all stopped"),
                    ),
                ),
            ),
            "Events and findings": (
                Graph(
                    "Events that wait for their payment",
                    "short",
                    (
                        ("sum(max by (tenant) (defter_parked_events))", "parked"),
                        (_rate("defter_parked_event_replays_total"), "tried again, a second"),
                    ),
                ),
                Graph(
                    "The longest of them", "s", (("max(defter_parked_events_oldest_seconds)", "parked for"),)
                ),
                Graph(
                    "Findings that are open",
                    "short",
                    (
                        (
                            f"sum by ({_FOUND}) (max by (tenant, {_FOUND}) (defter_findings_open))",
                            "{{finding_class}} {{severity}}",
                        ),
                    ),
                ),
                Graph("Changes of findings", "ops", ((_rate("defter_finding_changes_total"), "changes"),)),
                Graph(
                    "Since the last complete run began",
                    "s",
                    (
                        (
                            "max by (tenant, provider) (defter_reconciliation_age_seconds)",
                            "{{tenant}} {{provider}}",
                        ),
                    ),
                ),
                Graph(
                    "Runs and records",
                    "ops",
                    (
                        (_rate("defter_reconciliation_runs_total", "state"), "{{state}}"),
                        (_rate("defter_reconciliation_records_total"), "records"),
                    ),
                ),
                Graph(
                    "Settlement reports",
                    "ops",
                    ((_rate("defter_settlement_reports_total", "duplicate"), "again: {{duplicate}}"),),
                ),
                Graph(
                    "Age of these counts",
                    "s",
                    (("time() - max(defter_stocks_counted_timestamp_seconds)", "age"),),
                ),
            ),
        },
    ),
    "defter-edge": (
        "Defter: webhook edge",
        {
            "Webhooks": (
                Graph(
                    "Webhooks by verdict",
                    "reqps",
                    ((_rate("defter_edge_webhooks_total", "endpoint, verdict"), "{{endpoint}} {{verdict}}"),),
                ),
                Graph(
                    "Events by type",
                    "ops",
                    ((_rate("defter_edge_events_total", "endpoint, type"), "{{endpoint}} {{type}}"),),
                ),
                Graph(
                    "Events that could not be read",
                    "ops",
                    (
                        (
                            _rate("defter_edge_unread_events_total", "endpoint, reason, moves_money"),
                            "{{endpoint}} {{reason}}, money: {{moves_money}}",
                        ),
                    ),
                ),
                Graph(
                    "Time until the ledger has them",
                    "s",
                    (
                        (_quantile("0.5", "defter_edge_forward_seconds"), "median"),
                        (_quantile("0.99", "defter_edge_forward_seconds"), "99 %"),
                    ),
                ),
            ),
            "Configuration": (
                Graph(
                    "Uses of secrets",
                    "ops",
                    (
                        (
                            _rate("defter_edge_secret_uses_total", "endpoint, secret"),
                            "{{endpoint}} {{secret}}",
                        ),
                    ),
                ),
                Graph(
                    "In force",
                    "bool",
                    (
                        ("defter_edge_configuration_current", "{{instance}}"),
                        (
                            "sum by (result) (increase(defter_edge_configuration_reads_total[1h]))",
                            "{{result}}",
                        ),
                    ),
                ),
                Graph(
                    "Days that the certificate lasts",
                    "d",
                    (("defter_edge_certificate_days_left", "{{instance}}"),),
                ),
            ),
        },
    ),
}


def expressions() -> list[str]:
    """Return the expressions of all graphs."""
    return [
        expression
        for _, rows in DASHBOARDS.values()
        for graphs in rows.values()
        for graph in graphs
        for expression, _ in graph.lines
    ]


def rendered(uid: str) -> str:
    """Return a dashboard as JSON."""
    title, rows = DASHBOARDS[uid]
    dashboard = (
        Dashboard(title).uid(uid).tags(["defter"]).refresh("30s").time("now-3h", "now").timezone("utc")
    )
    dashboard.with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for row, graphs in rows.items():
        dashboard.with_row(Row(row))
        for graph in graphs:
            panel = Panel().title(graph.title).unit(graph.unit).datasource(_SOURCE).span(12).height(8)
            for place, (expression, legend) in enumerate(graph.lines):
                query = Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + place))
                panel.with_target(query.datasource(_SOURCE))
            dashboard.with_panel(panel)
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build()) + "\n"


def main() -> int:
    """Write the dashboards, or check that they are as they would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something would change")
    arguments = parser.parse_args()
    wanted = {FOLDER / f"{uid}.json": rendered(uid) for uid in DASHBOARDS}
    if not arguments.check:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for file, text in wanted.items():
            file.write_text(text)
        return 0
    there = {file: file.read_text() for file in FOLDER.glob("*.json")}
    changed = sorted(
        file.name for file in there.keys() | wanted.keys() if there.get(file) != wanted.get(file)
    )
    if changed:
        print(f"not as generated (run `make gen`): {', '.join(changed)}")
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
