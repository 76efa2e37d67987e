"""Own the dashboard of whoever is on duty: does money move, and what waits for a person?"""

from typing import Final

from tools.dashboards.panels import Board, Panel, Section

_NOW: Final = Section(
    title="Now",
    panels=(
        Panel(
            title="Processes that can decide",
            meaning="0: nobody is served. Each process logs `not ready` with the reason.",
            see="start-stop-upgrade",
            queries=(("sum(defter_ready) or vector(0)", "ready"),),
            number=True,
            red_below=1,
        ),
        Panel(
            title="Calls to providers stopped",
            meaning="Yes: no payout and no refund is made until a person resumes. `defter outbound "
            "status` says why.",
            see="incidents",
            queries=(("max(defter_outbound_stopped)", "stopped"),),
            unit="bool_yes_no",
            number=True,
            red_from=1,
        ),
        Panel(
            title="Critical findings open",
            meaning="Money may be lost: `defter findings list --severity critical`, at once.",
            see="payments",
            queries=(
                ('sum(max by (tenant, finding_class) (defter_findings_open{severity="critical"}))', "open"),
            ),
            number=True,
            red_from=1,
        ),
        Panel(
            title="Calls that wait for a person",
            meaning="A provider has something else under one of our ids: OBJECT_NOT_OURS. The money stays "
            "held.",
            see="payments",
            queries=(("sum(max by (provider) (defter_owed_calls_stopped))", "stopped"),),
            number=True,
            red_from=1,
        ),
        Panel(
            title="Calls that end by our fault",
            meaning="The share of all calls. The panel of codes tells which; above 1 % callers notice.",
            see="what-callers-may-see",
            queries=(("job:rpc_server_errors:ratio5m", "share"),),
            unit="percentunit",
            number=True,
            red_from=0.01,
        ),
        Panel(
            title="Counted ago",
            meaning="How old the counts of holds, parked events, findings, payments and runs are. They "
            "are made every DEFTER_METRICS_SECONDS; older ones mean that the database does not "
            "answer.",
            see="metrics",
            queries=(("time() - max(defter_stocks_counted_timestamp_seconds)", "ago"),),
            unit="s",
            number=True,
            red_from=300,
        ),
    ),
)

_MONEY: Final = Section(
    title="Does money move?",
    panels=(
        Panel(
            title="Records written",
            meaning="What the ledger decides, by kind. Nothing at all: nobody calls, or nobody comes "
            "through.",
            see="incidents",
            queries=(("kind:defter_journal_records:rate5m > 0", "{{kind}}"),),
            unit="ops",
        ),
        Panel(
            title="Refusals",
            meaning="Requests refused for the state of the books, and overdrafts that passed in SHADOW. A "
            "jump of refusals is a caller that has changed, or players without money.",
            see="metrics",
            queries=(
                ('kind:defter_journal_records:rate5m{kind="request_rejected"}', "refused"),
                ("sum(rate(defter_limit_breaches_total[5m]))", "passed in SHADOW"),
            ),
            unit="ops",
        ),
        Panel(
            title="Calls by answer",
            meaning="UNAVAILABLE: the database or a standby; RESOURCE_EXHAUSTED: too much waits; "
            "INTERNAL: a fault, in the log under its `error_id`.",
            see="what-callers-may-see",
            queries=(
                (
                    "sum by (rpc_response_status_code) (method_code:rpc_server_calls:rate5m)",
                    "{{rpc_response_status_code}}",
                ),
            ),
            unit="reqps",
        ),
        Panel(
            title="Payments that reach a state",
            meaning="Captured deposits and paid withdrawals should follow those that are begun.",
            see="payments",
            queries=(
                ("sum by (kind, state) (rate(defter_payment_changes_total[5m])) > 0", "{{kind}} {{state}}"),
            ),
            unit="ops",
        ),
        Panel(
            title="Payments that are open",
            meaning="`requested` grows: withdrawals wait for a review. `approved` grows: payouts are not "
            "made. At most 1,000 of a tenant and a state are counted.",
            see="payments",
            queries=(
                (
                    "max by (tenant, kind, state) (defter_payments_open)",
                    "{{tenant}} {{kind}} {{state}}",
                ),
            ),
        ),
        Panel(
            title="Accounts that are nearly full",
            meaning="Accounts that have passed a share of what a side can count, within a day. Continue "
            "them: `defter accounts turnover`.",
            see="currencies-and-decimal-places",
            queries=(
                ("sum by (percent) (increase(defter_turnover_warnings_total[1d]))", "past {{percent}} %"),
            ),
            red_from=1,
        ),
    ),
)

_LANES: Final = Section(
    title="Lanes, commits and the database",
    panels=(
        Panel(
            title="Commits",
            meaning="Milliseconds are usual. Slow: the database's disk, a synchronous standby, or a slow "
            "statement that the log names.",
            see="metrics",
            queries=(
                ("job:defter_lane_commit_seconds:p99_5m", "99 %"),
                (
                    "histogram_quantile(0.5, sum by (le) (rate(defter_lane_commit_seconds_bucket[5m])))",
                    "50 %",
                ),
            ),
            unit="s",
            red_from=1,
        ),
        Panel(
            title="Decided again",
            meaning="`connection`: the database or its standby is away. `HeadMoved`: several processes "
            "write one tenant. `refused`: the log says what.",
            see="metrics",
            queries=(
                ("sum by (cause) (rate(defter_lane_retries_total[5m])) > 0", "{{cause}}"),
                ("sum(rate(defter_lane_ahead_total[5m])) > 0", "ahead of the clock"),
            ),
            unit="ops",
        ),
        Panel(
            title="Requests that wait in lanes",
            meaning="Near DEFTER_LANE_CAPACITY callers are refused with LANE_FULL: slow commits, or a "
            "tenant that floods.",
            see="what-callers-may-see",
            queries=(("defter_lane_waiting_requests", "{{instance}}"),),
        ),
        Panel(
            title="Proofs by a standby",
            meaning="Commits that prove to readers what they have read; only with a synchronous standby. "
            "They stop, and reads wait: the standby is away.",
            see="synchronous-standby",
            queries=(("sum by (instance) (rate(defter_durability_proofs_total[5m]))", "{{instance}}"),),
            unit="ops",
        ),
        Panel(
            title="Reads by time",
            meaning="Refused: a commit does not end. Made final: somebody polls the newest instants of "
            "tenants that hardly write.",
            see="what-callers-may-see",
            queries=(
                ("sum(rate(defter_reads_not_final_total[5m]))", "refused"),
                ("sum(rate(defter_final_time_raises_total[5m]))", "made final"),
            ),
            unit="ops",
        ),
        Panel(
            title="Connections that fell silent",
            meaning="Again and again: the network between here and the database, its NAT, firewall or "
            "pooler.",
            see="incidents",
            queries=(
                (
                    "sum by (instance) (increase(defter_database_connections_condemned_total[15m]))",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            title="Clocks",
            meaning="How far a process's clock is ahead of the database's, and how far it can be "
            "mistaken. Set the host's clock beyond 2 s.",
            see="incidents",
            queries=(
                ("defter_clock_offset_seconds", "{{instance}} ahead"),
                ("defter_clock_uncertainty_seconds", "{{instance}} unsure"),
            ),
            unit="s",
            red_from=2,
        ),
    ),
)

_PROVIDERS: Final = Section(
    title="Providers",
    panels=(
        Panel(
            title="Answers of providers",
            meaning="`unknown`: a provider times out; nothing is paid twice. `declined`: it refuses. "
            "`notours`: a person has to look.",
            see="payments",
            queries=(
                (
                    "sum by (kind, answer) (rate(defter_provider_calls_total[5m])) > 0",
                    "{{kind}} {{answer}}",
                ),
            ),
            unit="ops",
        ),
        Panel(
            title="Calls that are owed, by age",
            meaning="For how long the call waits that waits longest. Hours: no process has the account, "
            "the provider does not answer, or calls are stopped.",
            see="payments",
            queries=(("max by (provider) (defter_owed_calls_oldest_seconds)", "{{provider}}"),),
            unit="s",
            red_from=3600,
        ),
        Panel(
            title="Calls that are owed",
            meaning="Those whose time has come; 1 on the line of an account that is left alone because it "
            "does not answer.",
            see="payments",
            queries=(
                ("max by (provider) (defter_owed_calls)", "{{provider}}"),
                ("max by (provider) (defter_provider_circuit_open)", "{{provider}} does not answer"),
            ),
        ),
    ),
)

_WAITING: Final = Section(
    title="What waits, and what does not agree",
    panels=(
        Panel(
            title="Findings open",
            meaning="What the ledger and a provider do not agree about, by class: `defter findings list`.",
            see="payments",
            queries=(
                (
                    "max by (tenant, finding_class, severity) (defter_findings_open) > 0",
                    "{{tenant}} {{finding_class}} ({{severity}})",
                ),
                ("sum(increase(defter_finding_changes_total[1h]))", "changes in an hour"),
            ),
        ),
        Panel(
            title="Since the last complete run",
            meaning="Beyond two pauses of the scheduler nothing is compared: look at it, and at `defter "
            "runs list`. An account that was never reconciled is not shown.",
            see="payments",
            queries=(
                (
                    "max by (tenant, provider) (defter_reconciliation_age_seconds)",
                    "{{tenant}} {{provider}}",
                ),
            ),
            unit="s",
            red_from=10800,
        ),
        Panel(
            title="Runs and reports",
            meaning="Runs that ended in an hour, by state, records that they read, and settlement reports "
            "of a day. Only PARTIAL: the provider's listing breaks off.",
            see="payments",
            queries=(
                ("sum by (state) (increase(defter_reconciliation_runs_total[1h]))", "{{state}}"),
                ("sum(rate(defter_reconciliation_records_total[5m]))", "records a second"),
                (
                    "sum by (duplicate) (increase(defter_settlement_reports_total[1d]))",
                    "reports, again: {{duplicate}}",
                ),
            ),
        ),
        Panel(
            title="Holds that are due",
            meaning="For how long the oldest is due. Minutes: no process expires holds, or a tenant is "
            "locked. Balances are right meanwhile.",
            see="incidents",
            queries=(("max by (tenant) (defter_holds_due_oldest_seconds)", "{{tenant}}"),),
            unit="s",
            red_from=300,
        ),
        Panel(
            title="Events that are parked, by age",
            meaning="Events that wait for their payment. Beyond DEFTER_PARKED_GRACE_SECONDS each has a "
            "finding.",
            see="payments",
            queries=(("max by (tenant) (defter_parked_events_oldest_seconds)", "{{tenant}}"),),
            unit="s",
            red_from=7200,
        ),
        Panel(
            title="Holds and events that wait",
            meaning="How many, and how many parked events were tried again in an hour.",
            see="payments",
            queries=(
                ("sum(max by (tenant) (defter_holds_due))", "holds due"),
                ("sum(max by (tenant) (defter_parked_events))", "events parked"),
                ("sum(increase(defter_parked_event_replays_total[1h]))", "tried again"),
            ),
        ),
    ),
)

_CALLERS: Final = Section(
    title="Who calls",
    panels=(
        Panel(
            title="Calls that were denied",
            meaning="By reason: a caller without its certificate or role, or a stranger. `defter policy "
            "check` explains.",
            see="who-may-call",
            queries=(("sum by (reason) (rate(defter_calls_denied_total[5m])) > 0", "{{reason}}"),),
            unit="reqps",
        ),
        Panel(
            title="Days that certificates are good for",
            meaning="Below 14: replace the file, which counts within a second.",
            see="who-may-call",
            queries=(("min by (setting) (defter_certificate_days_left)", "{{setting}}"),),
            unit="d",
            red_below=14,
        ),
        Panel(
            title="Files of identity and policy",
            meaning="0: the files of a setting can't be used, and what was read before stays in force. "
            "The log says why.",
            see="who-may-call",
            queries=(
                ("min by (setting) (defter_identity_current)", "{{setting}}"),
                (
                    "sum by (result) (increase(defter_identity_reloads_total[1h])) > 0",
                    "{{result}} in an hour",
                ),
            ),
            red_below=1,
        ),
    ),
)

DUTY: Final = Board(
    name="defter-duty",
    title="Defter: on duty",
    description="Does money move, and what waits for a person?",
    sections=(_NOW, _MONEY, _LANES, _PROVIDERS, _WAITING, _CALLERS),
)
