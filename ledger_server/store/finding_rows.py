"""Owns the rows of a changed finding: its present state, and one more line of its history."""

from collections.abc import Mapping
from typing import Any, Final

from ledger_server.domain.findings.finding import Finding

# The columns after `tenant_key` with their types, in the order of the rows below.
FINDING_TABLES: Final = {
    "reconciliation_findings": {
        "fingerprint": "bytea",
        "class": "smallint",
        "severity": "smallint",
        "state": "smallint",
        "version": "bigint",
        "provider": "text",
        "payment_number": "bigint",
        "assignee": "text",
        "subject_time": "timestamptz",
        "open_time": "timestamptz",
        "update_time": "timestamptz",
        "changed_by": "bigint",
        "body": "bytea",
    },
    "finding_versions": {
        "fingerprint": "bytea",
        "version": "bigint",
        "sequence": "bigint",
    },
}
# The columns that a later fact may change.
FINDING_UPSERTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "reconciliation_findings": (
        "fingerprint",
        (
            "severity",
            "state",
            "version",
            "payment_number",
            "assignee",
            "subject_time",
            "update_time",
            "changed_by",
            "body",
        ),
    ),
}


class FindingRows:
    """The rows of one commit: the newest of each finding, and all its versions."""

    def __init__(self) -> None:
        self._findings: dict[bytes, tuple[Any, ...]] = {}
        self._versions: list[tuple[Any, ...]] = []

    @property
    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """The rows by table."""
        return {
            "reconciliation_findings": list(self._findings.values()),
            "finding_versions": self._versions,
        }

    def add(self, finding: Finding, sequence: int, content: bytes) -> None:
        """Add what a finding writes; `content` is its message, which is kept as the body of its row."""
        self._findings[finding.fingerprint] = finding_row(finding, sequence, content)
        self._versions.append((finding.fingerprint, finding.version, sequence))


def finding_row(finding: Finding, sequence: int, content: bytes) -> tuple[Any, ...]:
    """Return the row of a finding as the record of that sequence leaves it."""
    seen = finding.seen
    return (
        finding.fingerprint,
        seen.kind,
        finding.severity,
        finding.state,
        finding.version,
        seen.provider,
        seen.payment,
        finding.assignee,
        seen.subject_time,
        finding.open_time,
        finding.update_time,
        sequence,
        content,
    )
