"""Own how tests read what is deployed to watch Defter: dashboards, rules, and what their expressions take."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import promql_parser as promql
import yaml

from tests.support.tools import REPOSITORY

DEPLOYED = REPOSITORY / "deploy"
RULE_FILES = sorted((DEPLOYED / "prometheus").glob("*.rules.yml"))
CASE_FILES = sorted((DEPLOYED / "prometheus" / "tests").glob("*.test.yml"))
EXAMPLE = DEPLOYED / "prometheus" / "prometheus.example.yml"
DASHBOARDS = sorted((DEPLOYED / "grafana").glob("*.json"))


@dataclass(frozen=True, slots=True)
class Asked:
    """An expression that something asks Prometheus for.

    Attributes:
        where: the dashboard and panel, or the rule.
        legend: of a panel's series; empty for a rule.
    """

    where: str
    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Selector:
    """What an expression takes of one metric.

    Attributes:
        text: the selector itself, as it may be asked.
        labels: those that it is selected by.
        grouped_by: the labels of the groups that its values are summed up in.
    """

    name: str
    text: str
    labels: frozenset[str]
    grouped_by: frozenset[str]


@cache
def rules() -> tuple[dict[str, Any], ...]:
    """Return all rules, recording and alerting."""
    return tuple(
        rule
        for file in RULE_FILES
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    )


def alerts() -> list[dict[str, Any]]:
    """Return the alerting rules."""
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> dict[str, str]:
    """Return the expression of each recorded series."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


@cache
def panels() -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return all panels that ask something, each with the name of its dashboard."""
    return tuple(
        (file.stem, panel)
        for file in DASHBOARDS
        for panel in json.loads(file.read_text())["panels"]
        if panel["type"] != "row"
    )


def asked_by_panels() -> list[Asked]:
    """Return the expressions of all dashboards."""
    return [
        Asked(f"{board}: {panel['title']}", target["expr"], target["legendFormat"])
        for board, panel in panels()
        for target in panel["targets"]
    ]


def asked_by_rules() -> list[Asked]:
    """Return the expressions of all rules."""
    return [Asked(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def parsed(expression: str) -> promql.Expr:
    """Return an expression as its parser understands it."""
    return promql.parse(expression)


def selectors(expression: str) -> list[Selector]:
    """Return every selector of an expression."""
    return list(_selectors(parsed(expression), frozenset()))


def filters(expression: str) -> bool:
    """Whether an expression leaves out series by their values, so that having none of them is an answer."""
    outside_quotes = re.sub(r'"[^"]*"', "", expression)
    return re.search(r"[<>]|==", outside_quotes) is not None


def _selectors(node: promql.Expr, grouped_by: frozenset[str]) -> Iterator[Selector]:
    match node:
        case promql.VectorSelector():
            yield _selector(node, grouped_by)
        case promql.MatrixSelector():
            yield _selector(node.vector_selector, grouped_by)
        case promql.AggregateExpr():
            assert node.modifier is None or node.modifier.type == promql.AggModifierType.By, node
            labels = frozenset() if node.modifier is None else frozenset(node.modifier.labels)
            yield from _selectors(node.expr, grouped_by | labels)
        case promql.BinaryExpr():
            for side in (node.lhs, node.rhs):
                yield from _selectors(side, grouped_by)
        case promql.Call():
            for argument in node.args:
                yield from _selectors(argument, grouped_by)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _selectors(node.expr, grouped_by)
        case promql.NumberLiteral() | promql.StringLiteral():
            return
        case _:
            raise AssertionError(node)


def _selector(node: promql.VectorSelector, grouped_by: frozenset[str]) -> Selector:
    matchers = node.matchers.matchers
    words = ", ".join(f"{each.name}{_OPERATORS[str(each.op)]}{json.dumps(each.value)}" for each in matchers)
    assert node.name is not None, node
    return Selector(node.name, f"{node.name}{{{words}}}", frozenset(m.name for m in matchers), grouped_by)


_OPERATORS = {
    str(operator): text
    for operator, text in (
        (promql.MatchOp.Equal, "="),
        (promql.MatchOp.NotEqual, "!="),
        (promql.MatchOp.Re, "=~"),
        (promql.MatchOp.NotRe, "!~"),
    )
}
