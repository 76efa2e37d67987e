"""Own the dashboard of the webhook edge: do the providers' events come in?"""

from typing import Final

from tools.dashboards.panels import Board, Panel, Section

_NOW: Final = Section(
    title="Now",
    panels=(
        Panel(
            title="Edges that run",
            meaning="0: providers are answered by nobody, and deliver again later.",
            see="webhooks",
            queries=(('sum(up{job="defter-edge"})', "edges"),),
            number=True,
            red_below=1,
        ),
        Panel(
            title="Files in force",
            meaning="0: the files of an edge can't be used, and its endpoints are as they were before.",
            see="webhooks",
            queries=(("min(defter_edge_configuration_current)", "in force"),),
            number=True,
            red_below=1,
        ),
        Panel(
            title="Certificate, days left",
            meaning="Below 14: replace the certificate that proves to the ledger who the edge is.",
            see="webhooks",
            queries=(("min(defter_edge_certificate_days_left)", "days"),),
            unit="d",
            number=True,
            red_below=14,
        ),
    ),
)

_WEBHOOKS: Final = Section(
    title="Webhooks",
    panels=(
        Panel(
            title="Webhooks by verdict",
            meaning="`taken` is usual. `ledger_unavailable`: the ledger; `misconfigured`: a tenant or "
            "account that it does not know; `not_verified`: a secret, or a stranger.",
            see="webhooks",
            queries=(("endpoint_verdict:defter_edge_webhooks:rate5m > 0", "{{endpoint}} {{verdict}}"),),
            unit="reqps",
        ),
        Panel(
            title="Until a webhook is durable",
            meaning="Near DEFTER_EDGE_FORWARD_SECONDS providers deliver again: look at the commits of the "
            "ledger.",
            see="webhooks",
            queries=(
                ("job:defter_edge_forward_seconds:p99_5m", "99 %"),
                (
                    "histogram_quantile(0.5, sum by (le) (rate(defter_edge_forward_seconds_bucket[5m])))",
                    "50 %",
                ),
            ),
            unit="s",
            red_from=2,
        ),
        Panel(
            title="Events that could not be read",
            meaning="Where they move money, the money waits for a person: `defter events list --state "
            "unread`.",
            see="webhooks",
            queries=(
                (
                    (
                        "sum by (endpoint, reason, moves_money)"
                        " (increase(defter_edge_unread_events_total[1h])) > 0"
                    ),
                    "{{endpoint}} {{reason}}, moves money: {{moves_money}}",
                ),
            ),
        ),
        Panel(
            title="Events by type",
            meaning="A needed type that stands still while money moves: the provider does not send it. "
            "`defter events coverage` tells which.",
            see="webhooks",
            queries=(
                (
                    'sum by (endpoint, type) (increase(defter_edge_events_total{type!=""}[1d])) > 0',
                    "{{endpoint}} {{type}}",
                ),
            ),
        ),
        Panel(
            title="Secrets in use",
            meaning="Webhooks by the secret that verified them, in a day: one that stays at 0 can be "
            "retired.",
            see="webhooks",
            queries=(
                (
                    "sum by (endpoint, secret) (increase(defter_edge_secret_uses_total[1d]))",
                    "{{endpoint}} {{secret}}",
                ),
            ),
        ),
        Panel(
            title="Reads of the files",
            meaning="`failed`: a changed file can't be used; the log says why.",
            see="webhooks",
            queries=(
                ("sum by (result) (increase(defter_edge_configuration_reads_total[1h]))", "{{result}}"),
            ),
        ),
    ),
)

EDGE: Final = Board(
    name="defter-edge",
    title="Defter: the webhook edge",
    description="Do the providers' events come in?",
    sections=(_NOW, _WEBHOOKS),
)
