"""The tables of metrics that operators read have what the code has, and what pages name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from prometheus_client import REGISTRY, CollectorRegistry
from pydantic_settings import BaseSettings

from console.metrics import Metrics as ConsoleMetrics
from console.settings import ConsoleSettings
from ledger_server.cli.verbs import app
from ledger_server.operator.setting_names import COMMAND_SETTINGS
from ledger_server.process.settings import Settings
from tests.support.monitoring import DASHBOARDS, RULE_FILES
from tests.unit.operator.test_documentation import OPERATIONS, REPOSITORY
from webhook_edge.metrics import Metrics
from webhook_edge.settings import EdgeSettings

METRICS = "| metric | look at it when |"
METRIC = re.compile(
    r'\b(Counter|Gauge|Histogram|HistogramMetricFamily|Summary|Info|Enum)\(\s*"((?:defter|rpc)_\w+)"'
)


def rows(file: str, header: str) -> list[list[str]]:
    """Return the cells of the table with this header."""
    _, _, below = (OPERATIONS / file).read_text().partition(header + "\n")
    assert below, f"{file} has no table {header}"
    lines = below.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quoted(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]*)`", cell)


def variables(settings: type[BaseSettings]) -> list[str]:
    """Return the environment variables of settings."""
    prefix = settings.model_config["env_prefix"]
    return [prefix + name.upper() for name in settings.model_fields]


def test_variables_that_are_told_exist() -> None:
    """No document tells of a variable that nothing reads."""
    of_all_commands = {*COMMAND_SETTINGS, *of_commands(typer.main.get_command(app))}
    known = {*variables(Settings), *variables(EdgeSettings), *variables(ConsoleSettings), *of_all_commands}
    for file in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *RULE_FILES, *DASHBOARDS):
        assert set(re.findall(r"DEFTER_[A-Z_]*[A-Z]", file.read_text())) <= known, file


def of_commands(command: object) -> Iterator[str]:
    """Yield the variables that command lines read."""
    for parameter in getattr(command, "params", ()):
        if isinstance(parameter.envvar, str):
            yield parameter.envvar
    for below in getattr(command, "commands", {}).values():
        yield from of_commands(below)


@pytest.mark.parametrize(
    ("file", "package"), [("runbook.md", "ledger_server"), ("webhooks.md", "webhook_edge")]
)
def test_metrics_are_told_one_by_one(file: str, package: str) -> None:
    """Each stands in the table once, by the name that Prometheus sees, and the table has no other."""
    told = [name.partition("{")[0] for row in rows(file, METRICS) for name in quoted(row[0])]
    defined = [
        # Prometheus calls a counter so whether or not the code does.
        name.removesuffix("_total") + "_total" if kind == "Counter" else name
        for module in (REPOSITORY / package).rglob("*.py")
        for kind, name in METRIC.findall(module.read_text())
    ]

    assert sorted(told) == sorted(defined)


def labels_of(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Return the labels of each metric, by the name that Prometheus sees."""
    found = {}
    collector: Any
    for name, collector in registry._names_to_collectors.items():
        if name.startswith(("defter_", "rpc_")):
            # One that is made by the library has its labels, and one of ours describes them.
            [told] = [collector] if hasattr(collector, "_labelnames") else collector.describe()
            found[name] = set(getattr(told, "_labelnames", ()))
    return found


@pytest.mark.parametrize(
    ("file", "registry"), [("runbook.md", REGISTRY), ("webhooks.md", Metrics(CollectorRegistry()).registry)]
)
def test_labels_are_told_as_they_are(file: str, registry: CollectorRegistry) -> None:
    """Whoever writes a query finds in the table by what a metric can be told apart."""
    known = labels_of(registry)
    for row in rows(file, METRICS):
        for quote in quoted(row[0]):
            name, _, labels = quote.partition("{")
            assert set(filter(None, labels.rstrip("}").split(","))) == known[name], name


# What else is named so: databases and roles, functions, packages, keys of metadata.
OTHER_NAMES = re.compile(
    r"defter_(application|reports|login|now|client|channel|retrying|tracing|payment_id|bench_\w*|mix\w*|test\w*)?$"
)


def test_metrics_that_are_named_exist() -> None:
    """No page, however deep in a sentence, sends anybody after a metric that is not there."""
    registries = (
        REGISTRY,
        Metrics(CollectorRegistry()).registry,
        ConsoleMetrics(CollectorRegistry()).registry,
    )
    found = {name: labels for registry in registries for name, labels in labels_of(registry).items()}
    known = {name + suffix for name in found for suffix in ("", "_count", "_sum", "_bucket")}
    known.update(*found.values())  # labels, which may look alike
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    told = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"\b(?:defter|rpc)_[a-z_]+", page.read_text())
        if not OTHER_NAMES.match(name)
    }

    # The changelog tells what is gone as well.
    assert {(page, name) for page, name in told if name not in known and page != "CHANGELOG.md"} == set()
