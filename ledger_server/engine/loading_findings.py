"""Owns which findings commands name, and reading them into a working set."""

from collections.abc import Iterable

from defter.reconciliation.v1 import finding_pb2

from ledger_server.domain.findings.commands import AnyFindingCommand, FindingCommand, ReportDiscrepancy
from ledger_server.domain.ids import TenantKey
from ledger_server.domain.working_set import FindingEntry, WorkingSet
from ledger_server.engine.finding_records import finding_of
from ledger_server.store import finding_store
from ledger_server.store.database import AnyConnection


def named_finding(command: AnyFindingCommand) -> bytes | None:
    """Return the fingerprint of the finding that a command is about; None for an id that is none."""
    match command:
        case ReportDiscrepancy(discrepancy=discrepancy):
            return discrepancy.fingerprint
        case FindingCommand(fingerprint=fingerprint):
            return fingerprint
        case _:
            return command.fingerprint


async def load_findings(
    connection: AnyConnection, key: TenantKey, working_set: WorkingSet, fingerprints: Iterable[bytes]
) -> None:
    """Read findings; one that does not exist leaves an empty entry."""
    wanted = sorted(fingerprints)
    found = await finding_store.load_findings(connection, key, wanted)
    for fingerprint in wanted:
        if fingerprint in found:
            put_finding(working_set, found[fingerprint])
        else:
            working_set.findings.setdefault(fingerprint, FindingEntry(None)).stamp = working_set.stamp


def put_finding(working_set: WorkingSet, body: bytes) -> None:
    """Put a stored finding into its entry, unless there is one: that may be newer."""
    finding = finding_of(working_set.ids, finding_pb2.Finding.FromString(body))
    entry = working_set.findings.setdefault(finding.fingerprint, FindingEntry(finding))
    entry.stamp = working_set.stamp
