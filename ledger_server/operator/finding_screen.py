"""Owns the display of findings: as rows, in full, and as changes between versions."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from defter.reconciliation.v1 import finding_pb2 as pb
from rich.console import Console
from rich.text import Text

from ledger_server.operator.lists import Shape
from ledger_server.operator.money import Money
from ledger_server.operator.run_screen import class_name
from ledger_server.operator.screen import age, by_whom, print_facts, print_line, print_table, styled, when

_PREFIX: Final = "fnd_"
_SHORT: Final = len(_PREFIX) + 10


def short(finding_id: str) -> str:
    """Return a short prefix of an id for the screen; commands accept it as a name."""
    return finding_id[:_SHORT]


def state_of(finding: pb.Finding) -> str:
    """Return where a finding stands in one word."""
    return pb.FindingState.Name(finding.state).removeprefix("FINDING_STATE_")


def severity_of(finding: pb.Finding) -> str:
    """Return how urgent a finding is in one word."""
    return pb.Severity.Name(finding.severity).removeprefix("SEVERITY_")


def reason_of(finding: pb.Finding) -> str:
    """Return why somebody resolved a finding in one word; empty if nobody has."""
    if not finding.resolution_reason:
        return ""
    return pb.ResolutionReason.Name(finding.resolution_reason).removeprefix("RESOLUTION_REASON_")


def findings_shape(money: Money, now: datetime) -> Shape:
    """Return the columns of a table of findings."""

    def row(finding: pb.Finding) -> list[str | Text]:
        return [
            short(finding.finding_id),
            styled(severity_of(finding)),
            class_name(finding.finding_class),
            finding.provider,
            finding.payment_id or "-",
            _amount(finding.ledger, money) if finding.HasField("ledger") else "-",
            _amount(finding.at_provider, money) if finding.HasField("at_provider") else "-",
            age(finding.open_time, now),
            styled(state_of(finding)),
            finding.assignee or "-",
        ]

    columns = (
        "finding",
        "severity",
        "class",
        "account",
        "payment",
        "ledger",
        "provider",
        "age",
        "state",
        "assignee",
    )
    numbers, whole = ("ledger", "provider", "age"), ("severity", "class", "age", "state")
    return Shape("findings", ("finding", "findings"), columns, row, numbers, whole)


def _amount(side: pb.Side, money: Money) -> str:
    if not side.HasField("amount_minor"):
        return f"no exact amount of {side.currency_code}"
    return money.show(side.amount_minor, side.currency_code)


def print_finding(out: Console, finding: pb.Finding) -> None:
    """Print a finding as it stands."""
    by = finding.actor or f"the ledger{f' in {finding.run_id}' if finding.run_id else ''}"
    print_facts(
        out,
        [
            ("finding", finding.finding_id),
            ("what", f"{class_name(finding.finding_class)}: {finding.description}"),
            ("severity", styled(severity_of(finding))),
            ("state", styled(state_of(finding))),
            ("version", f"{finding.version}, {when(finding.update_time)} UTC by {by}"),
            ("account", finding.provider),
            ("payment", finding.payment_id),
            ("happened", f"{when(finding.subject_time)} UTC"),
            ("opened", f"{when(finding.open_time)} UTC"),
            ("seen by", pb.FindingSource.Name(finding.source).removeprefix("FINDING_SOURCE_")),
            ("assignee", finding.assignee),
            ("reason", reason_of(finding)),
            ("note", finding.note),
            ("correction", finding.correction_transaction_id),
            ("duplicate of", finding.duplicate_of_finding_id),
        ],
    )


def print_sides(out: Console, finding: pb.Finding, money: Money) -> None:
    """Print what both sides say, next to one another."""
    sides = [
        ("ledger", finding.ledger if finding.HasField("ledger") else None),
        ("provider", finding.at_provider if finding.HasField("at_provider") else None),
    ]
    rows = []
    for name, side in sides:
        if side is None:
            rows.append([name, "nothing", "", "", "", "", ""])
            continue
        kind = pb.RecordKind.Name(side.kind).removeprefix("RECORD_KIND_") if side.kind else ""
        amount = _amount(side, money)
        rows.append([name, amount, side.ref, kind, side.type, side.state, when(side.time)])
    print_table(out, ("side", "amount", "ref", "kind", "type", "state", "time"), rows, right=("amount",))


def print_evidence(out: Console, finding: pb.Finding) -> None:
    """Print further facts."""
    if finding.evidence:
        print_line(out, "evidence", style="bold")
        print_facts(out, sorted(finding.evidence.items()), indent=2)


def print_history(out: Console, history: Sequence[pb.FindingVersion], money: Money) -> None:
    """Print who changed what, the oldest first."""
    print_line(out, "history", style="bold")
    rows = []
    known: pb.Finding | None = None
    for version in history:
        after = version.finding
        rows.append(
            [
                f"version {after.version}",
                when(after.update_time),
                by_whom(who(after), version.caller),
                changed(known, after, money),
            ]
        )
        known = after
    print_table(out, ("", "time", "by", "what"), rows)


def who(finding: pb.Finding) -> str:
    """Return who made the latest change."""
    return finding.actor or ("a run" if finding.run_id else "the ledger")


def changed(before: pb.Finding | None, after: pb.Finding, money: Money) -> str:
    """Return what has changed from one version of a finding to a later one, in one line."""
    if before is None:
        return f"{state_of(after)}: {after.description}"
    parts = []
    if before.state != after.state:
        parts.append(f"{state_of(before)} to {state_of(after)}")
    for name, old, new in _facts(before, after, money):
        if old != new:
            parts.append(f"{name} {new or 'none'}")
    return ", ".join(parts) or f"{state_of(after)} again"


def _facts(before: pb.Finding, after: pb.Finding, money: Money) -> Iterable[tuple[str, str, str]]:
    """Yield the fields that may change beside the state: name, text before and text after."""
    yield "severity", severity_of(before), severity_of(after)
    yield "assignee", before.assignee, after.assignee
    yield "reason", reason_of(before), reason_of(after)
    yield "correction", before.correction_transaction_id, after.correction_transaction_id
    yield "duplicate of", before.duplicate_of_finding_id, after.duplicate_of_finding_id
    yield "ledger", _side(before, "ledger", money), _side(after, "ledger", money)
    yield "provider", _side(before, "at_provider", money), _side(after, "at_provider", money)
    yield "note", before.note, after.note


def _side(finding: pb.Finding, name: str, money: Money) -> str:
    if not finding.HasField(name):  # type: ignore[arg-type]
        return ""
    side: pb.Side = getattr(finding, name)
    return f"{_amount(side, money)} {side.state}".strip()
