"""Dashboards and alerts ask for what is there: in the code, and of a real Prometheus on a real stack."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from tests.edge.harness import BODY, PATH, TENANT, signed
from tests.integration.edge.test_process import edge_process
from tests.support.cashier import Cashier
from tests.support.fake_provider import fake_providers
from tests.support.prometheus import program, scraping
from tests.support.service import serving
from tests.unit.operator.test_operators_tables import labels_of
from tools.dashboards import expressions
from webhook_edge.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = [FOLDER / "recording.yml", FOLDER / "alerts.yml"]
CASES = FOLDER / "alerts_test.yml"
NAME = re.compile(r"\b(?:defter|rpc_server)[a-z0-9_:]*[a-z0-9]\b(?!\s*=)")
SUFFIX = re.compile(r"_(bucket|count|sum)$")
STREAMS = {"RunReconciliation", "StreamTransactions", "VerifyJournal", "WatchJournal"}


def metrics_in(text: str) -> set[str]:
    """Return the metrics that an expression asks for, without those that rules record."""
    outside_quotes = re.sub(r'"[^"]*"', '""', text)
    return {SUFFIX.sub("", name) for name in NAME.findall(outside_quotes) if ":" not in name}


def recorded_in(text: str) -> set[str]:
    """Return the recorded series that an expression asks for."""
    return {name for name in NAME.findall(re.sub(r'"[^"]*"', '""', text)) if ":" in name}


def expressions_of_rules() -> list[str]:
    """Return what the rules say behind `expr:`, on one line or folded over some."""
    text = "\n".join(file.read_text() for file in RULES)
    folded = re.sub(r">-\n\s+", "", text)
    found = re.findall(r"^\s+expr: (.+(?:\n\s{10}/ .+)?)$", folded, re.MULTILINE)
    return [each.strip("'").replace("''", "'") for each in found]


def bare(name: str) -> str:
    """Return a metric's name without what says which of its series it is."""
    return re.sub(r"_(bucket|count|created|sum|total)$", "", name)


def test_every_metric_that_is_asked_for_exists() -> None:
    """A metric that was renamed leaves no graph empty and no alert blind."""
    known = labels_of(REGISTRY) | labels_of(Metrics(CollectorRegistry()).registry)
    recorded = set(re.findall(r"record: (\S+)", RULES[0].read_text()))
    asked = [*expressions(), *expressions_of_rules()]

    assert len(asked) > 80
    for expression in asked:
        assert metrics_in(expression) <= known.keys(), expression
        assert recorded_in(expression) <= recorded, expression


def test_every_metric_is_on_a_dashboard() -> None:
    """What is worth counting is worth looking at."""
    known = labels_of(REGISTRY) | labels_of(Metrics(CollectorRegistry()).registry)
    shown = {bare(name) for each in [*expressions(), *expressions_of_rules()] for name in metrics_in(each)}

    assert {bare(name) for name in known} - shown == set()


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """An alert that can't fire is worse than none."""
    alerts = re.findall(r"- alert: (\w+)", RULES[1].read_text())
    cases = re.findall(r"- name: (\w+) (fires|does not fire)$", CASES.read_text(), re.MULTILINE)

    assert len(alerts) == len(set(alerts))
    assert sorted(cases) == sorted((name, which) for name in alerts for which in ("fires", "does not fire"))


def test_percentiles_leave_out_streams_and_nothing_else() -> None:
    """A watch lasts for hours, by its caller's will."""
    [left_out] = re.findall(r"\.\*/\(([\w|]+)\)", RULES[0].read_text())

    assert set(left_out.split("|")) == STREAMS


@pytest.mark.parametrize("words", [["check", "rules", *map(str, RULES)], ["test", "rules", str(CASES)]])
def test_promtool_finds_rules_right(words: list[str]) -> None:
    """They can be read, and each alert fires where it should."""
    done = subprocess.run(
        [program("promtool"), *words], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_every_expression_is_answered_on_a_running_stack(database_url: str, tmp_path: Path) -> None:
    """Ledger, edge and Prometheus are real: each graph has data where its metrics have, and no rule fails."""
    program("prometheus")
    exposed, thread = start_http_server(0, "127.0.0.1")
    try:
        async with serving(
            database_url, providers=fake_providers(), metrics_port=0, metrics_seconds=1.0
        ) as service:
            cashier = Cashier(await service.new_ledger(TENANT))
            await cashier.initiate()
            async with edge_process(tmp_path, ledger_port=service.server.port) as edge:
                await edge.until("/ready", 200)
                async with httpx.AsyncClient(trust_env=False) as client:
                    headers = signed(BODY, at=datetime.now(UTC))
                    taken = await client.post(edge.url + PATH, content=BODY, headers=headers)
                    assert taken.is_success, taken.text
                jobs = {
                    "defter": exposed.server_port,
                    "defter-edge": int(edge.metrics_url.rpartition(":")[2]),
                }
                async with scraping(tmp_path, jobs, RULES) as prometheus:
                    for name in sorted({name for each in expressions() for name in recorded_in(each)}):
                        await prometheus.until(name)
                    await prometheus.until("defter_edge_webhooks_total")
                    described = await prometheus.ask("metadata")
                    groups = (await prometheus.ask("rules"))["groups"]
                    series = set(await prometheus.ask("label/__name__/values"))
                    empty = []
                    for expression in expressions():
                        asked = expression.replace("$__rate_interval", "1m")
                        if not await prometheus.query(asked):
                            empty.append(expression)
    finally:
        exposed.shutdown()
        exposed.server_close()
        thread.join()

    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    with_series = {SUFFIX.sub("", name) for name in series}
    for expression in [*expressions(), *expressions_of_rules()]:
        for name in metrics_in(expression):
            # A counter with labels has no series before it was counted, but it is described.
            assert {name, bare(name)} & described.keys(), name
    assert [each for each in empty if metrics_in(each) <= with_series] == []
