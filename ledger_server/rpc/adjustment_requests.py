"""Owns the border of adjustments: checks the shape of requests, and makes commands of them."""

from typing import Final, TypedDict

from defter.ledger.v1 import adjustment_pb2 as pb

from ledger_server.domain.adjustments.adjustment import AdjustmentState, totals_of
from ledger_server.domain.adjustments.commands import (
    AdjustmentCommand,
    ApproveAdjustment,
    CancelAdjustment,
    RejectAdjustment,
    RequestAdjustment,
    SetAdjustmentPolicy,
)
from ledger_server.domain.errors import AmountTooLarge, FieldMalformed, FieldMissing, FieldTooLong
from ledger_server.domain.ledger.accounts import MAX_AMOUNT
from ledger_server.domain.state.commands import Method
from ledger_server.engine.lane.work import Request
from ledger_server.engine.records.adjustments import adjustment_policy_of
from ledger_server.rpc.guard import CALLER
from ledger_server.rpc.payment_requests import MAX_REVIEWER, some_text
from ledger_server.rpc.read_requests import optional_enum
from ledger_server.rpc.requests import (
    MAX_NOTE,
    MAX_REFERENCE,
    RequestReader,
    ids_of,
    keyed,
    keyed_violations,
)
from ledger_server.rpc.violations import Violations, members
from ledger_server.store.queries.adjustments import AdjustmentFilter

MAX_DESCRIPTION: Final = 2_000
# The size that a step counts for the adjustment that it reads: more than most have, a fifth of the largest.
_READ_BYTES: Final = 64 * 1024

_STATES: Final = members(AdjustmentState)

_StepRequest = pb.ApproveAdjustmentRequest | pb.RejectAdjustmentRequest | pb.CancelAdjustmentRequest


class _Step(TypedDict):
    """What all steps share."""

    adjustment_id: str
    number: int | None
    expected: AdjustmentState | None


def request_adjustment(reader: RequestReader, message: pb.RequestAdjustmentRequest) -> Request:
    """Read a transaction that somebody asks for by hand."""
    violations = keyed_violations(message)
    reader.check_postings(violations, message.postings, "postings")
    some_text(violations, message.reason, "reason", MAX_NOTE)
    violations.text(message.description, "description", MAX_DESCRIPTION)
    violations.text(message.reference, "reference", MAX_REFERENCE)
    violations.metadata(message.metadata, "metadata")
    some_text(violations, message.actor, "actor", MAX_REVIEWER)
    effective_time = violations.time(message, "effective_time")
    violations.check()
    postings = reader.checked_postings(violations, message.postings, "postings")
    for currency, total in totals_of(postings).items():
        if total > MAX_AMOUNT:
            violations.add(
                AmountTooLarge(
                    field="postings",
                    amount_minor=total,
                    currency_code=currency,
                    max_amount_minor=MAX_AMOUNT,
                )
            )
    violations.check()
    command = RequestAdjustment(
        postings=postings,
        reason=message.reason,
        description=message.description,
        reference=message.reference,
        effective_time=effective_time,
        metadata=dict(message.metadata),
        actor=message.actor,
        identity=_identity(),
    )
    return keyed(Method.RequestAdjustment, message, message.idempotency_key, command)


def approve_adjustment(message: pb.ApproveAdjustmentRequest) -> Request:
    """Read an approval."""
    violations = keyed_violations(message)
    step = _step(violations, message)
    some_text(violations, message.reviewer, "reviewer", MAX_REVIEWER)
    violations.text(message.note, "note", MAX_NOTE)
    violations.check()
    command = ApproveAdjustment(**step, reviewer=message.reviewer, note=message.note, identity=_identity())
    return _step_request(Method.ApproveAdjustment, message, command)


def reject_adjustment(message: pb.RejectAdjustmentRequest) -> Request:
    """Read a refusal."""
    violations = keyed_violations(message)
    step = _step(violations, message)
    some_text(violations, message.reviewer, "reviewer", MAX_REVIEWER)
    some_text(violations, message.reason, "reason", MAX_NOTE)
    violations.check()
    command = RejectAdjustment(**step, reviewer=message.reviewer, reason=message.reason)
    return _step_request(Method.RejectAdjustment, message, command)


def cancel_adjustment(message: pb.CancelAdjustmentRequest) -> Request:
    """Read the adjustment that somebody takes back."""
    violations = keyed_violations(message)
    step = _step(violations, message)
    some_text(violations, message.actor, "actor", MAX_REVIEWER)
    violations.text(message.reason, "reason", MAX_NOTE)
    violations.check()
    command = CancelAdjustment(**step, actor=message.actor, reason=message.reason)
    return _step_request(Method.CancelAdjustment, message, command)


def set_adjustment_policy(reader: RequestReader, message: pb.SetAdjustmentPolicyRequest) -> Request:
    """Read from which amounts a second person is wanted."""
    violations = keyed_violations(message)
    if not message.HasField("policy"):
        violations.add(FieldMissing(field="policy"))
    path = "policy.second_review_from_minor"
    amounts = message.policy.second_review_from_minor
    if len(amounts) > len(reader.currencies):
        # More currencies than exist can't all be known, and a message has room for so many that checking
        # takes long.
        violations.add(FieldTooLong(field=path, limit=len(reader.currencies)))
    else:
        for currency, amount in amounts.items():
            violations.currency(currency, path, reader.currencies)
            violations.amount(amount, path)
    violations.check()
    command = SetAdjustmentPolicy(policy=adjustment_policy_of(message.policy))
    return keyed(Method.SetAdjustmentPolicy, message, message.idempotency_key, command)


def wanted_adjustments(violations: Violations, message: pb.ListAdjustmentsRequest) -> AdjustmentFilter:
    """Read which adjustments are listed, and in which order; an unspecified state stands for any."""
    if any(state and state not in _STATES for state in message.states):
        violations.add(FieldMalformed(field="states"))
    asked = {int(state) for state in message.states}
    states = frozenset() if 0 in asked else frozenset(_STATES[each] for each in asked & _STATES.keys())
    return AdjustmentFilter(states=states, newest_first=message.newest_first)


def _step(violations: Violations, message: _StepRequest) -> _Step:
    violations.identifier(message.adjustment_id, "adjustment_id")
    return {
        "adjustment_id": message.adjustment_id,
        "number": ids_of(message.tenant_id).adjustment_sequence(message.adjustment_id),
        "expected": optional_enum(violations, message.expected_state, "expected_state", AdjustmentState),
    }


def _step_request(method: Method, message: _StepRequest, command: AdjustmentCommand) -> Request:
    return keyed(method, message, message.idempotency_key, command, reads_bytes=_READ_BYTES)


def _identity() -> str:
    """Return what proved who calls; empty on a server without identities."""
    caller = CALLER.get()
    return "" if caller is None else caller.identity
