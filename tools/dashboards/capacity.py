"""Own the dashboard of capacity: how much comes in, how long it takes, and which bound is near."""

from typing import Final

from tools.dashboards.panels import Board, Panel, Section

_CALLS: Final = Section(
    title="Calls",
    panels=(
        Panel(
            title="Calls by method",
            meaning="How much comes in. A new peak is a new caller, or one that tries again.",
            see="metrics",
            queries=(("sum by (rpc_method) (method_code:rpc_server_calls:rate5m) > 0", "{{rpc_method}}"),),
            unit="reqps",
        ),
        Panel(
            title="Duration by method, 99 %",
            meaning="All but streams, whose callers let them last. Slow: look at commits and pools.",
            see="metrics",
            queries=(("method:rpc_server_call_duration_seconds:p99_5m", "{{rpc_method}}"),),
            unit="s",
        ),
        Panel(
            title="Commits and what shares them",
            meaning="Requests of a commit grow with load: that is how a lane keeps up. Time for company "
            "is 12 ms at most.",
            see="metrics",
            queries=(
                ("sum(rate(defter_lane_batch_requests_count[5m]))", "commits a second"),
                (
                    (
                        "sum(rate(defter_lane_batch_requests_sum[5m]))"
                        " / sum(rate(defter_lane_batch_requests_count[5m]))"
                    ),
                    "requests of a commit",
                ),
                (
                    (
                        "1000 * histogram_quantile(0.99,"
                        " sum by (le) (rate(defter_lane_company_seconds_bucket[5m])))"
                    ),
                    "waited for company, ms, 99 %",
                ),
            ),
        ),
    ),
)

_BOUNDS: Final = Section(
    title="Bounds",
    panels=(
        Panel(
            title="Bytes of requests",
            meaning="Near DEFTER_REQUEST_BYTES, or DEFTER_LANE_CAPACITY_BYTES of a lane, callers are "
            "refused with SERVER_FULL or LANE_FULL.",
            see="what-callers-may-see",
            queries=(
                ("defter_requests_bytes", "{{instance}} not answered"),
                ("defter_lane_waiting_bytes", "{{instance}} waiting in lanes"),
            ),
            unit="bytes",
        ),
        Panel(
            title="Refused by quotas",
            meaning="A tenant or a caller does more than it may; the refusals name it. Give it a quota of "
            "its own, or let it do less.",
            see="quotas-and-shares",
            queries=(
                (
                    "sum by (quota, reason) (rate(defter_quota_refused_total[5m]))",
                    "{{quota}} {{reason}}",
                ),
            ),
            unit="reqps",
        ),
        Panel(
            title="Waiting for their share",
            meaning="While others call, a tenant or a caller has only so much in work. Many for long: "
            "somebody is at full tilt; where nobody minds, raise DEFTER_SHARE.",
            see="quotas-and-shares",
            queries=(("defter_calls_waiting_for_share", "{{instance}}"),),
        ),
        Panel(
            title="Lines of the audit log",
            meaning="Lost lines: the log can't be written, and calls go on. Look at the disk.",
            see="who-may-call",
            queries=(("sum by (outcome) (rate(defter_audit_lines_total[5m]))", "{{outcome}}"),),
            unit="ops",
        ),
        Panel(
            title="What lanes remember",
            meaning="Near DEFTER_WORKING_SET_BYTES, while sets are forgotten: more tenants are in use "
            "than the process remembers. Give it more memory, or fewer tenants.",
            see="metrics",
            queries=(("defter_working_sets_bytes", "{{instance}}"),),
            unit="bytes",
        ),
        Panel(
            title="Working sets forgotten",
            meaning="Each is read again from the database when its tenant is next used.",
            see="metrics",
            queries=(("sum by (instance) (rate(defter_working_sets_forgotten_total[5m]))", "{{instance}}"),),
            unit="ops",
        ),
        Panel(
            title="Database connections at work",
            meaning="Of the most that a pool may have. All of them for long: the database is slow, or the "
            "pool too small.",
            see="metrics",
            queries=(
                (
                    "defter_database_connections_used / defter_database_connections_max",
                    "{{instance}} {{pool}}",
                ),
            ),
            unit="percentunit",
            red_from=1,
        ),
        Panel(
            title="Watchers",
            meaning="How far the watcher is behind that is furthest behind: it does not keep up with the "
            "journal.",
            see="metrics",
            queries=(
                ("defter_watch_lag_records", "{{instance}} records behind"),
                ("defter_watches", "{{instance}} watches"),
            ),
            red_from=10000,
        ),
        Panel(
            title="Bytes that watchers have not taken",
            meaning="Near DEFTER_FOLLOWER_BYTES others wait, and then they are refused with SERVER_FULL.",
            see="what-callers-may-see",
            queries=(("defter_followers_bytes", "{{instance}}"),),
            unit="bytes",
        ),
        Panel(
            title="Memory",
            meaning="A process holds several times the bytes of its requests; `bounds.md` has every bound.",
            see="metrics",
            queries=(('process_resident_memory_bytes{job=~"defter|defter-edge"}', "{{job}} {{instance}}"),),
            unit="bytes",
        ),
        Panel(
            title="CPU",
            meaning="A process uses one core at most: near 1 it is time for DEFTER_WORKERS.",
            see="start-stop-upgrade",
            queries=(
                (
                    'rate(process_cpu_seconds_total{job=~"defter|defter-edge"}[5m])',
                    "{{job}} {{instance}}",
                ),
            ),
            unit="percentunit",
        ),
    ),
)

CAPACITY: Final = Board(
    name="defter-capacity",
    title="Defter: capacity",
    description="How much comes in, how long it takes, and which bound is near.",
    sections=(_CALLS, _BOUNDS),
)
