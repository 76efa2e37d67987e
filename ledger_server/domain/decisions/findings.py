"""Owns the decisions on findings: from (working set, command, now) to the fact that follows, if any."""

from datetime import datetime
from typing import assert_never

from ledger_server.domain.errors import (
    FindingNotFound,
    FindingVersionMismatch,
    IllegalTransition,
    TransactionNotFound,
)
from ledger_server.domain.findings import finding as life
from ledger_server.domain.findings.commands import (
    AcknowledgeFinding,
    AnyFindingCommand,
    FindingCommand,
    ReopenFinding,
    ReportDiscrepancy,
    ResolveFinding,
    ResolveUnseen,
)
from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.findings.finding import Finding, FindingState, Source
from ledger_server.domain.ids import finding_fingerprint
from ledger_server.domain.state.facts import FactKind, FindingChanged
from ledger_server.domain.state.working_set import WorkingSet


def decide_finding(
    working_set: WorkingSet, command: AnyFindingCommand, now: datetime
) -> FindingChanged | None:
    """Decide one command; None: a report without news.

    Raises:
        Rejected: a rule refuses a step by hand; nothing was changed.
    """
    match command:
        case ReportDiscrepancy(discrepancy=discrepancy, source=source, run=run):
            return see(working_set, discrepancy, now, source=source, run=run)
        case ResolveUnseen():
            return _resolve_unseen(working_set, command, now)
        case AcknowledgeFinding():
            known = _expected(working_set, command, FindingState.ACKNOWLEDGED)
            after = life.changed(
                known,
                FindingState.ACKNOWLEDGED,
                now,
                actor=command.actor,
                note=command.note,
                assignee=command.assignee,
            )
        case ResolveFinding():
            known = _expected(working_set, command, FindingState.RESOLVED)
            after = life.changed(
                known,
                FindingState.RESOLVED,
                now,
                actor=command.actor,
                note=command.note,
                resolution=command.resolution,
                correction=command.correction,
                duplicate_of=command.duplicate_of,
            )
        case ReopenFinding():
            known = _expected(working_set, command, FindingState.REOPENED)
            after = life.changed(known, FindingState.REOPENED, now, actor=command.actor, note=command.note)
        case _:
            assert_never(command)
    return FindingChanged(FactKind.FINDING_CHANGED, after)


def see(
    working_set: WorkingSet,
    discrepancy: Discrepancy,
    now: datetime,
    *,
    source: Source,
    run: int | None = None,
) -> FindingChanged | None:
    """Return the fact that follows from a discrepancy that was seen; None if its finding says so already.

    Raises:
        FindingNotLoaded: the finding may exist, but belong to no payment that is loaded.
    """
    look_up = working_set.loaded_finding if discrepancy.is_of_provider else working_set.finding
    known = look_up(discrepancy.fingerprint)
    after = life.seen(known, discrepancy, now, source=source, run=run)
    return None if after is None else FindingChanged(FactKind.FINDING_CHANGED, after)


def resolve(
    working_set: WorkingSet, fingerprint: bytes, now: datetime, *, run: int | None = None
) -> FindingChanged | None:
    """Return the fact that resolves a finding whose discrepancy is gone; None if there is no such finding."""
    known = working_set.finding(fingerprint)
    if known is None or not known.may_become(FindingState.AUTO_RESOLVED):
        return None
    after = life.changed(known, FindingState.AUTO_RESOLVED, now, run=run)
    return FindingChanged(FactKind.FINDING_CHANGED, after)


def _resolve_unseen(working_set: WorkingSet, command: ResolveUnseen, now: datetime) -> FindingChanged | None:
    known = working_set.finding(command.fingerprint)
    if known is None or known.version != command.version:
        return None
    return resolve(working_set, command.fingerprint, now, run=command.run)


def _expected(working_set: WorkingSet, command: FindingCommand, state: FindingState) -> Finding:
    """Return the finding that a manual step names, if it is still at the version that the caller has read."""
    known = _existing(working_set, command.finding_id, command.fingerprint)
    if isinstance(command, ResolveFinding) and command.duplicate_of:
        _existing(working_set, command.duplicate_of, finding_fingerprint(command.duplicate_of))
    if known.version != command.expected_version:
        raise FindingVersionMismatch(
            finding_id=command.finding_id, expected_version=command.expected_version, version=known.version
        )
    if isinstance(command, ResolveFinding) and command.correction:
        _check_posted(working_set, command.correction)
    if not known.may_become(state):
        raise IllegalTransition(subject=command.finding_id, **{"from": known.state.name, "to": state.name})
    return known


def _existing(working_set: WorkingSet, finding_id: str, fingerprint: bytes | None) -> Finding:
    known = working_set.finding(fingerprint) if fingerprint is not None else None
    if known is None:
        raise FindingNotFound(finding_id=finding_id)
    return known


def _check_posted(working_set: WorkingSet, transaction_id: str) -> None:
    """Require that a transaction exists. Transactions are never deleted, so what was required stays true."""
    sequence = working_set.ids.transaction_sequence(transaction_id)
    if sequence is None or working_set.transactions[sequence].legs is None:
        raise TransactionNotFound(transaction_id=transaction_id)
