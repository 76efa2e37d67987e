"""Owns the commands on findings: one per keyed RPC, and the reports of runs and jobs."""

from msgspec import Struct

from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.findings.finding import Resolution, Source


class ReportDiscrepancy(Struct, frozen=True, kw_only=True):
    """Report a discrepancy that was seen; asked for by runs and jobs, without a key."""

    discrepancy: Discrepancy
    source: Source
    run: int | None = None


class ResolveUnseen(Struct, frozen=True, kw_only=True):
    """Resolve a finding whose discrepancy a complete run, or an import, no longer sees.

    Nothing happens if the finding has changed since `version`.
    """

    fingerprint: bytes
    version: int
    run: int | None = None


class FindingCommand(Struct, frozen=True, kw_only=True):
    """What all manual steps share; `fingerprint` is None for an id that can't be a finding's."""

    finding_id: str
    fingerprint: bytes | None
    expected_version: int
    actor: str
    note: str


class AcknowledgeFinding(FindingCommand, frozen=True, kw_only=True):
    """Say that somebody looks after the finding."""

    assignee: str


class ResolveFinding(FindingCommand, frozen=True, kw_only=True):
    """Say that the discrepancy is settled."""

    resolution: Resolution
    correction: str
    duplicate_of: str


class ReopenFinding(FindingCommand, frozen=True, kw_only=True):
    """Take a resolved finding up again."""


AnyFindingCommand = ReportDiscrepancy | ResolveUnseen | AcknowledgeFinding | ResolveFinding | ReopenFinding
