"""Owns the loading of findings: which ones commands name, and reading them into a working set."""

from collections.abc import Iterable
from typing import assert_never

from defter.reconciliation.v1 import finding_pb2

from ledger_server.domain.findings.commands import (
    AnyFindingCommand,
    FindingCommand,
    ReportDiscrepancy,
    ResolveFinding,
    ResolveUnseen,
)
from ledger_server.domain.ids import TenantIds, TenantKey, finding_fingerprint
from ledger_server.domain.state.working_set import FindingEntry, WorkingSet
from ledger_server.engine.records.findings import finding_of
from ledger_server.store import finding_store
from ledger_server.store.database import AnyConnection


def named_findings(command: AnyFindingCommand) -> Iterable[bytes]:
    """Return the fingerprints of the findings that a command names; an invalid id names nothing."""
    match command:
        case ReportDiscrepancy(discrepancy=discrepancy):
            return (discrepancy.fingerprint,)
        case ResolveFinding(fingerprint=fingerprint, duplicate_of=duplicate_of):
            named = (fingerprint, finding_fingerprint(duplicate_of))
        case FindingCommand(fingerprint=fingerprint):
            named = (fingerprint, None)
        case ResolveUnseen(fingerprint=fingerprint):
            return (fingerprint,)
        case _:
            assert_never(command)
    return (fingerprint for fingerprint in named if fingerprint is not None)


def named_transaction(ids: TenantIds, command: AnyFindingCommand) -> int | None:
    """Return the sequence of the correcting transaction that a command names, if it names one."""
    return ids.transaction_sequence(command.correction) if isinstance(command, ResolveFinding) else None


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
    """Put a stored finding into its entry, unless the entry has one, which may be newer."""
    finding = finding_of(working_set.ids, finding_pb2.Finding.FromString(body))
    entry = working_set.findings.setdefault(finding.fingerprint, FindingEntry(finding))
    entry.stamp = working_set.stamp
