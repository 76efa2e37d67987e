"""Own the command: `python -m bench` measures load, `python -m bench size` measures scale.

`python -m bench edge` measures the webhook edge, `python -m bench reconcile` measures reconciliation,
`python -m bench fairness` measures what a quiet tenant notices of another one, `python -m bench openings`
measures the import of opening balances, `python -m bench console` measures what live pages cost.
"""

import sys

import uvloop

from bench.console import measure_console
from bench.edge import measure_edge
from bench.fairness import measure_fairness
from bench.load import measure_load
from bench.openings import measure_openings
from bench.order import read_order
from bench.reconcile import measure_reconciliation
from bench.report import as_json, markdown, print_report
from bench.size import measure_size

_MEASURES = {
    "load": measure_load,
    "size": measure_size,
    "edge": measure_edge,
    "reconcile": measure_reconciliation,
    "fairness": measure_fairness,
    "openings": measure_openings,
    "console": measure_console,
}


def main() -> int:
    """Measure, show and write the report; return 0 when no line failed and the books add up."""
    order = read_order()
    report = uvloop.run(_MEASURES[order.what](order))
    print_report(report)
    if order.json:
        order.json.write_text(as_json(report), encoding="utf-8")
    if order.markdown:
        order.markdown.write_text(markdown(report), encoding="utf-8")
    return 0 if report.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
