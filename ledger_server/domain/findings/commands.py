"""Owns what may be asked of findings: one command per keyed RPC, and what runs and jobs report."""

from msgspec import Struct

from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.findings.finding import Resolution, Source


class ReportDiscrepancy(Struct, frozen=True, kw_only=True):
    """Something was seen; asked for by runs and jobs, without a key."""

    discrepancy: Discrepancy
    source: Source
    run: int | None = None


class ResolveUnseen(Struct, frozen=True, kw_only=True):
    """A complete run, or an import, did not see it any more.

    Nothing happens if it has changed since `version`.
    """

    fingerprint: bytes
    version: int
    run: int | None = None


class FindingCommand(Struct, frozen=True, kw_only=True):
    """What all steps by hand share; `fingerprint` is None for an id that can't be one."""

    finding_id: str
    fingerprint: bytes | None
    expected_version: int
    actor: str
    note: str


class AcknowledgeFinding(FindingCommand, frozen=True, kw_only=True):
    """Somebody looks after it."""

    assignee: str


class ResolveFinding(FindingCommand, frozen=True, kw_only=True):
    """It is none any more."""

    resolution: Resolution
    correction: str
    duplicate_of: str


class ReopenFinding(FindingCommand, frozen=True, kw_only=True):
    """Take it up again."""


AnyFindingCommand = ReportDiscrepancy | ResolveUnseen | AcknowledgeFinding | ResolveFinding | ReopenFinding
