"""Dashboards and alerts ask for metrics that there are, and say what to do about the answer."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry

from ledger_server.rpc.methods import every_method
from tests.support.monitoring import (
    CASE_FILES,
    Asked,
    alerts,
    asked_by_panels,
    asked_by_rules,
    panels,
    recorded,
    selectors,
)
from tests.unit.operator.test_documentation import OPERATIONS
from tests.unit.operator.test_operators_tables import METRICS, labels_of, quoted, rows
from tools.dashboards.panels import RUNBOOK
from webhook_edge.metrics import Metrics

ASKED = (*asked_by_panels(), *asked_by_rules())
# What Prometheus, and the client of every Python process, has by itself.
OTHERS = {
    "up": {"job", "instance"},
    "process_resident_memory_bytes": set[str](),
    "process_cpu_seconds_total": set[str](),
}
# What Prometheus adds to whatever it reads.
ADDED = {"job", "instance"}
# Documented metrics that no dashboard shows, each with the reason.
NOT_DRAWN: dict[str, str] = {}
WIDTH = 24


def told() -> set[str]:
    """Return the metrics that the operators' tables have."""
    tables = [*rows("runbook.md", METRICS), *rows("webhooks.md", METRICS)]
    return {name.partition("{")[0] for row in tables for name in quoted(row[0])}


def known() -> dict[str, set[str]]:
    """Return the labels of every series that an expression may take, by its name."""
    found = {**labels_of(REGISTRY), **labels_of(Metrics(CollectorRegistry()).registry)}
    buckets = {name: labels | {"le"} for name, labels in found.items() if name.endswith("_bucket")}
    return {**found, **buckets, **OTHERS}


def base(name: str) -> str:
    """Return the name under which a series is documented."""
    return name if name in told() else re.sub(r"_(bucket|count|sum)$", "", name)


def headings() -> set[str]:
    """Return the anchors of the runbook's headings, as they are made of Markdown."""
    titles = re.findall(r"^#+ (.+)$", (OPERATIONS / "runbook.md").read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


def by_where(asked: Asked) -> str:
    """Return what a case of a test is called."""
    return asked.where


@pytest.mark.parametrize("asked", ASKED, ids=by_where)
def test_expressions_take_series_that_there_are(asked: Asked) -> None:
    """A metric or label that was renamed would leave a panel empty, and an alert silent for ever."""
    there = known()
    for selector in selectors(asked.expression):
        if selector.name in recorded():
            continue
        assert selector.name in there, selector
        assert selector.labels | selector.grouped_by <= there[selector.name] | ADDED, selector


def test_expressions_take_metrics_that_are_told() -> None:
    """Whoever reads an alert finds its metric in the operators' tables."""
    taken = {selector.name for asked in ASKED for selector in selectors(asked.expression)}
    ours = taken - recorded().keys() - OTHERS.keys()

    assert {base(name) for name in ours} <= told()


def test_metrics_that_are_told_are_drawn() -> None:
    """What is worth counting is seen on a dashboard, by itself or by what is recorded of it."""
    drawn = set[str]()
    for asked in asked_by_panels():
        for selector in selectors(asked.expression):
            expression = recorded().get(selector.name)
            drawn |= {each.name for each in selectors(expression)} if expression else {selector.name}

    assert told() - {base(name) for name in drawn} == NOT_DRAWN.keys()


def test_recorded_series_are_used() -> None:
    """Each is computed all the time."""
    taken = {selector.name for asked in ASKED for selector in selectors(asked.expression)}

    assert recorded().keys() == {name for name in taken if ":" in name}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_alerts_say_what_to_do(alert: dict[str, Any]) -> None:
    """How urgent it is, what has happened, what to do, why there, and where more stands."""
    notes = alert["annotations"]

    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(notes) == {"summary", "description", "threshold", "runbook_url"}
    assert all(notes[name].endswith(".") for name in ("description", "threshold"))
    page, _, anchor = notes["runbook_url"].partition("#")
    assert page == RUNBOOK
    assert anchor in headings()


@pytest.mark.parametrize(
    ("board", "panel"), panels(), ids=[f"{board}: {panel['title']}" for board, panel in panels()]
)
def test_panels_say_what_to_do(board: str, panel: dict[str, Any]) -> None:
    """Whoever is on duty at night is not sent to search."""
    [anchor] = re.findall(r"\[Runbook\]\(\$\{runbook\}#([a-z-]+)\)$", panel["description"])

    assert board
    assert anchor in headings()
    assert len(panel["description"].partition("[Runbook]")[0]) > 20


def test_panels_stand_beside_one_another() -> None:
    """None hides another, and none sticks out."""
    places = {
        (board, panel["title"]): tuple(panel["gridPos"][side] for side in "xywh") for board, panel in panels()
    }

    assert len(places) == len(panels())
    assert all(x + w <= WIDTH for x, _, w, _ in places.values())
    for (one, (x, y, w, h)), (other, (x2, y2, w2, h2)) in itertools.combinations(places.items(), 2):
        apart = x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
        assert apart or one[0] != other[0], (one, other)


def test_alerts_have_a_case_that_fires_and_one_that_does_not() -> None:
    """An alert that can't fire is worse than none."""
    fires, silent = set[str](), set[str]()
    for file in CASE_FILES:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for look in case["promql_expr_test"]:
                [name] = re.findall(r'^ALERTS\{alertname="(\w+)", alertstate="firing"\}$', look["expr"])
                (fires if look["exp_samples"] else silent).add(name)
    names = [alert["alert"] for alert in alerts()]

    assert len(names) == len(set(names))
    assert fires == silent == set(names)


def test_durations_leave_out_streams_and_nothing_else() -> None:
    """A watch lasts for days by its caller's will, and would hide how long the others take."""
    [left_out] = re.findall(
        r'rpc_method!~"\.\*/\(([\w|]+)\)"', recorded()["method:rpc_server_call_duration_seconds:p99_5m"]
    )
    streams = {
        name.rpartition("/")[2]
        for name, method in every_method().items()
        if method.client_streaming or method.server_streaming
    }

    assert set(left_out.split("|")) == streams
