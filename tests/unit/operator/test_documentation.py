"""What operators are told about reconciliation is what the code does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from defter.reconciliation.v1 import finding_pb2
from defter.reconciliation.v1 import reconciliation_pb2 as pb
from google.protobuf import json_format
from google.protobuf.message import Message

from ledger_server.cli.verbs import app
from ledger_server.domain.findings.discrepancy import RULES
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.scope import STALE_AFTER, Scope
from ledger_server.operator.connection import Exit
from tests.support.clock import START
from tests.support.monitoring import DASHBOARDS, RULE_FILES

REPOSITORY = Path(__file__).parents[3]
OPERATIONS = REPOSITORY / "docs" / "operations"
TEXT = (OPERATIONS / "reconciliation.md").read_text()
UNITS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "minute": timedelta(minutes=1)}


def rows(header: str) -> list[list[str]]:
    """Return the cells of the table with this header."""
    _, _, below = TEXT.partition(header + "\n")
    assert below, f"there is no table {header}"
    lines = below.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def length(text: str) -> timedelta:
    """Return what `5 days` or `-` means."""
    if text == "-":
        return timedelta(0)
    count, unit = text.split()
    return int(count) * UNITS[unit.removesuffix("s")]


def test_classes_are_told_as_the_rules_have_them() -> None:
    """Every class, its severity and how long it may be in transit."""
    told = {
        name.strip("`"): (severity, length(transit))
        for name, severity, transit, _ in rows("| class | severity | in transit | what it means |")
    }

    assert told == {kind.name: (rule.severity.name, rule.grace) for kind, rule in RULES.items()}
    assert "the day of `STALE_PENDING`" in TEXT
    assert timedelta(days=1) == STALE_AFTER


def test_grace_is_told_as_a_run_takes_it() -> None:
    """A movement is young until the very moment that the table names."""
    told = [length(transit) for _, transit in rows("| what moved | in transit for |")]
    scope = Scope(from_time=START, to_time=START, now=START, listed=frozenset())
    instant = timedelta(microseconds=1)
    kinds = {
        told[0]: (
            ProviderRecordKind.PAYMENT,
            ProviderRecordKind.PAYOUT,
            ProviderRecordKind.REFUND,
            ProviderRecordKind.DISPUTE,
        ),
        told[1]: (ProviderRecordKind.FEE,),
        told[2]: (ProviderRecordKind.SETTLEMENT,),
    }

    for grace, of_kind in kinds.items():
        for kind in of_kind:
            assert scope.young(START - grace + instant, kind)
            assert not scope.young(START - grace, kind)


def test_exit_codes_are_told_one_by_one() -> None:
    """Schedulers rely on them."""
    told = [int(row[0]) for row in rows("| exit code | meaning | what a scheduler does |")]

    assert told == sorted(Exit)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every command line of ours in what operators read: documents, README, alerts and dashboards."""
    for file in (*sorted(OPERATIONS.rglob("*.md")), REPOSITORY / "README.md", *RULE_FILES, *DASHBOARDS):
        for found in re.findall(
            r"(?:`|\$ |\.venv/bin/|/usr/bin/|:50051 )(defter [^`\n)]*)", file.read_text()
        ):
            yield file.name, shlex.split(found)[1:]


def test_command_lines_are_told_as_they_can_be_typed() -> None:
    """Each names a command that there is, with options that it has."""
    root = typer.main.get_command(app)
    seen = 0
    for file, line in commands():
        command, rest = root, line
        while rest and hasattr(command, "commands"):
            if rest[0].startswith("-") and getattr(command, "invoke_without_command", False):
                break  # the command itself, which has others below it
            assert rest[0] in command.commands, f"{file}: defter {' '.join(line)}"
            command, rest = command.commands[rest[0]], rest[1:]
        known = {name for parameter in command.params for name in parameter.opts}
        said = {word for word in rest if word.startswith("--")}
        assert said <= known, f"{file}: defter {' '.join(line)}"
        seen += 1

    assert seen > 20


@pytest.mark.parametrize(
    ("method", "request_type"),
    [
        ("ReconciliationService/RunReconciliation", pb.RunReconciliationRequest),
        ("FindingService/ListFindings", finding_pb2.ListFindingsRequest),
        ("FindingService/ResolveFinding", finding_pb2.ResolveFindingRequest),
    ],
)
def test_requests_are_told_as_the_contract_has_them(method: str, request_type: type[Message]) -> None:
    """The examples for grpcurl are whole messages."""
    json_format.Parse(documented_request(method), request_type())


def documented_request(method: str) -> str:
    """Return the JSON that the document sends to a method."""
    _, _, below = TEXT.partition(f"defter.reconciliation.v1.{method} <<'JSON'\n")
    assert below, f"there is no example of {method}"
    return below.partition("\nJSON\n")[0]
