"""Owns the border of findings: checks the shape of requests, and makes commands of them."""

from datetime import UTC, datetime
from typing import Final

from defter.reconciliation.v1 import finding_pb2

from ledger_server.domain.errors import FieldMalformed, FieldMissing, FieldOutOfRange
from ledger_server.domain.findings.commands import AcknowledgeFinding, ReopenFinding, ResolveFinding
from ledger_server.domain.findings.discrepancy import FindingClass, Severity
from ledger_server.domain.findings.finding import FindingState, Resolution
from ledger_server.domain.ids import TenantIds, finding_fingerprint
from ledger_server.domain.state.commands import Method
from ledger_server.engine.lane.work import Request
from ledger_server.rpc.payment_requests import payment_place, provider_name, some_text
from ledger_server.rpc.read_requests import bound, optional_enum
from ledger_server.rpc.requests import ids_of, keyed, keyed_violations
from ledger_server.rpc.violations import MAX_KEY, Violations, members
from ledger_server.store.queries.findings import FindingFilter

MAX_PERSON: Final = 255
MAX_NOTE: Final = 1_000

_RESOLUTIONS: Final = {
    number: resolution
    for number, resolution in members(Resolution).items()
    if resolution is not Resolution.NONE
}
_STATES: Final = members(FindingState)

_StepRequest = (
    finding_pb2.AcknowledgeFindingRequest
    | finding_pb2.ResolveFindingRequest
    | finding_pb2.ReopenFindingRequest
)


def acknowledge_finding(message: finding_pb2.AcknowledgeFindingRequest) -> Request:
    """Read who looks after a finding."""
    violations = _step_violations(message)
    some_text(violations, message.assignee, "assignee", MAX_PERSON)
    violations.check()
    command = AcknowledgeFinding(
        finding_id=message.finding_id,
        fingerprint=finding_fingerprint(message.finding_id),
        expected_version=message.expected_version,
        actor=message.actor,
        note=message.note,
        assignee=message.assignee,
    )
    return keyed(Method.AcknowledgeFinding, message, message.idempotency_key, command)


def resolve_finding(message: finding_pb2.ResolveFindingRequest) -> Request:
    """Read why a finding is resolved."""
    violations = _step_violations(message)
    resolution = violations.enum(message.reason, "reason", _RESOLUTIONS)
    _correction(violations, message)
    _duplicate_of(violations, message)
    violations.check()
    assert resolution is not None
    command = ResolveFinding(
        finding_id=message.finding_id,
        fingerprint=finding_fingerprint(message.finding_id),
        expected_version=message.expected_version,
        actor=message.actor,
        note=message.note,
        resolution=resolution,
        correction=message.correction_transaction_id,
        duplicate_of=message.duplicate_of_finding_id,
    )
    return keyed(Method.ResolveFinding, message, message.idempotency_key, command)


def reopen_finding(message: finding_pb2.ReopenFindingRequest) -> Request:
    """Read that a finding is taken up again."""
    violations = _step_violations(message)
    violations.check()
    command = ReopenFinding(
        finding_id=message.finding_id,
        fingerprint=finding_fingerprint(message.finding_id),
        expected_version=message.expected_version,
        actor=message.actor,
        note=message.note,
    )
    return keyed(Method.ReopenFinding, message, message.idempotency_key, command)


def wanted_findings(
    violations: Violations, message: finding_pb2.ListFindingsRequest, ids: TenantIds
) -> FindingFilter:
    """Read which findings are listed; an unspecified state among the states stands for any."""
    if message.provider:
        provider_name(violations, message.provider)
    if message.payment_id:
        violations.identifier(message.payment_id, "payment_id")
    violations.text(message.assignee, "assignee", MAX_PERSON)
    if any(number and number not in _STATES for number in message.states):
        violations.add(FieldMalformed(field="states"))
    known = frozenset(_STATES[number] for number in message.states if number in _STATES)
    states = frozenset[FindingState]() if 0 in message.states else known
    payment_number, payment_kind = payment_place(ids, message.payment_id)
    return FindingFilter(
        states=states,
        kind=optional_enum(violations, message.finding_class, "finding_class", FindingClass),
        min_severity=optional_enum(violations, message.min_severity, "min_severity", Severity),
        provider=message.provider,
        payment_number=payment_number,
        payment_kind=payment_kind,
        assignee=message.assignee,
    )


def opened_between(
    violations: Violations, message: finding_pb2.CountFindingsRequest
) -> tuple[datetime, datetime] | None:
    """Read when the resolved findings that are counted were opened; None: none of them is counted."""
    start, end = bound(violations, message, "from_time"), bound(violations, message, "to_time")
    if start is None and end is not None:
        violations.add(FieldMissing(field="from_time"))
    return None if start is None else (start, end or datetime.max.replace(tzinfo=UTC))


def _step_violations(message: _StepRequest) -> Violations:
    """Check the fields that all manual steps share."""
    violations = keyed_violations(message)
    violations.identifier(message.finding_id, "finding_id")
    if message.expected_version < 1:
        violations.add(FieldOutOfRange(field="expected_version"))
    some_text(violations, message.actor, "actor", MAX_PERSON)
    violations.text(message.note, "note", MAX_NOTE)
    return violations


def _correction(violations: Violations, message: finding_pb2.ResolveFindingRequest) -> None:
    """Allow the id of a transaction of this tenant; the lane finds out whether it exists."""
    path, value = "correction_transaction_id", message.correction_transaction_id
    if not value:
        return
    violations.text(value, path, MAX_KEY)
    if len(value) <= MAX_KEY and ids_of(message.tenant_id).transaction_sequence(value) is None:
        violations.add(FieldMalformed(field=path))


def _duplicate_of(violations: Violations, message: finding_pb2.ResolveFindingRequest) -> None:
    """Require another finding's id with DUPLICATE_OF, and none without; the lane looks it up."""
    path, value = "duplicate_of_finding_id", message.duplicate_of_finding_id
    needed = message.reason == finding_pb2.RESOLUTION_REASON_DUPLICATE_OF
    if not value:
        if needed:
            violations.add(FieldMissing(field=path))
        return
    violations.text(value, path, MAX_KEY)
    well_formed = needed and finding_fingerprint(value) is not None and value != message.finding_id
    if len(value) <= MAX_KEY and not well_formed:
        violations.add(FieldMalformed(field=path))
