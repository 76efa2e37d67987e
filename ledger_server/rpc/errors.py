"""Owns the one table from reasons to gRPC codes, and how a refusal becomes a status on the wire."""

from typing import Final

import grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ledger_server.domain.errors import Reason, Refused

DOMAIN: Final = "defter"
REPLAYED: Final = ("idempotent-replayed", "true")
"""Trailing metadata of an outcome that an earlier request had decided."""

_DETAILS_KEY: Final = "grpc-status-details-bin"
_RETRY_SECONDS: Final = 0.1

_Code = grpc.StatusCode
CODES: Final = {
    Reason.MESSAGE_TOO_LARGE: _Code.INVALID_ARGUMENT,
    Reason.MALFORMED_MESSAGE: _Code.INVALID_ARGUMENT,
    Reason.IDEMPOTENCY_KEY_MISSING: _Code.INVALID_ARGUMENT,
    Reason.IDEMPOTENCY_KEY_MALFORMED: _Code.INVALID_ARGUMENT,
    Reason.FIELD_MISSING: _Code.INVALID_ARGUMENT,
    Reason.FIELD_TOO_LONG: _Code.INVALID_ARGUMENT,
    Reason.FIELD_MALFORMED: _Code.INVALID_ARGUMENT,
    Reason.FIELD_OUT_OF_RANGE: _Code.INVALID_ARGUMENT,
    Reason.BATCH_SIZE_OUT_OF_RANGE: _Code.INVALID_ARGUMENT,
    Reason.PAGE_TOKEN_INVALID: _Code.INVALID_ARGUMENT,
    Reason.CURRENCY_UNKNOWN: _Code.INVALID_ARGUMENT,
    Reason.AMOUNT_NOT_POSITIVE: _Code.INVALID_ARGUMENT,
    Reason.POSTING_COUNT_OUT_OF_RANGE: _Code.INVALID_ARGUMENT,
    Reason.UNBALANCED_TRANSACTION: _Code.INVALID_ARGUMENT,
    Reason.SAME_ACCOUNT: _Code.INVALID_ARGUMENT,
    Reason.LIMITS_CONTRADICT: _Code.INVALID_ARGUMENT,
    Reason.PROVIDER_UNKNOWN: _Code.INVALID_ARGUMENT,
    Reason.PROVIDER_CURRENCY_UNSUPPORTED: _Code.INVALID_ARGUMENT,
    Reason.REPORT_MALFORMED: _Code.INVALID_ARGUMENT,
    Reason.LANE_FULL: _Code.RESOURCE_EXHAUSTED,
    Reason.DEADLINE_PASSED: _Code.DEADLINE_EXCEEDED,
    Reason.SHUTTING_DOWN: _Code.UNAVAILABLE,
    Reason.STORE_UNAVAILABLE: _Code.UNAVAILABLE,
    Reason.INTERNAL: _Code.INTERNAL,
    Reason.IDEMPOTENCY_KEY_REUSED: _Code.ALREADY_EXISTS,
    Reason.TENANT_NOT_FOUND: _Code.NOT_FOUND,
    Reason.OUTCOME_NOT_FOUND: _Code.NOT_FOUND,
    Reason.NOT_YET_RECORDED: _Code.OUT_OF_RANGE,
    Reason.BATCH_ABORTED: _Code.ABORTED,
    Reason.WALLET_NOT_FOUND: _Code.NOT_FOUND,
    Reason.RECONCILIATION_UNDER_WAY: _Code.ABORTED,
    Reason.RUN_NOT_FOUND: _Code.NOT_FOUND,
    Reason.FINDING_NOT_REPAIRABLE: _Code.FAILED_PRECONDITION,
    Reason.BATCH_NOT_FOUND: _Code.NOT_FOUND,
    Reason.BATCH_NOT_BALANCED: _Code.FAILED_PRECONDITION,
    Reason.TENANT_ALREADY_EXISTS: _Code.ALREADY_EXISTS,
    Reason.ACCOUNT_ALREADY_EXISTS: _Code.ALREADY_EXISTS,
    Reason.ACCOUNT_NOT_FOUND: _Code.NOT_FOUND,
    Reason.TRANSACTION_NOT_FOUND: _Code.NOT_FOUND,
    Reason.HOLD_NOT_FOUND: _Code.NOT_FOUND,
    Reason.HOLD_ALREADY_CAPTURED: _Code.FAILED_PRECONDITION,
    Reason.HOLD_ALREADY_RELEASED: _Code.FAILED_PRECONDITION,
    Reason.HOLD_EXPIRED: _Code.FAILED_PRECONDITION,
    Reason.CAPTURE_EXCEEDS_HOLD: _Code.FAILED_PRECONDITION,
    Reason.EXPIRE_TIME_NOT_LATER: _Code.FAILED_PRECONDITION,
    Reason.ALREADY_REVERSED: _Code.FAILED_PRECONDITION,
    Reason.REVERSAL_NOT_REVERSIBLE: _Code.FAILED_PRECONDITION,
    Reason.ILLEGAL_TRANSITION: _Code.FAILED_PRECONDITION,
    Reason.CURRENCY_MISMATCH: _Code.FAILED_PRECONDITION,
    Reason.ACCOUNT_CLOSED: _Code.FAILED_PRECONDITION,
    Reason.ACCOUNT_FROZEN: _Code.FAILED_PRECONDITION,
    Reason.ACCOUNT_NOT_EMPTY: _Code.FAILED_PRECONDITION,
    Reason.AMOUNT_OVERFLOW: _Code.OUT_OF_RANGE,
    Reason.INSUFFICIENT_FUNDS: _Code.FAILED_PRECONDITION,
    Reason.BALANCE_LIMIT_EXCEEDED: _Code.FAILED_PRECONDITION,
    Reason.DEPOSIT_NOT_FOUND: _Code.NOT_FOUND,
    Reason.WITHDRAWAL_NOT_FOUND: _Code.NOT_FOUND,
    Reason.PROVIDER_EVENT_NOT_FOUND: _Code.NOT_FOUND,
    Reason.PROVIDER_REF_TAKEN: _Code.ALREADY_EXISTS,
    Reason.PLAYER_CANCEL_NOT_ALLOWED: _Code.FAILED_PRECONDITION,
    Reason.SECOND_REVIEWER_REQUIRED: _Code.FAILED_PRECONDITION,
    Reason.CALL_UNDER_WAY: _Code.FAILED_PRECONDITION,
    Reason.REFUND_EXCEEDS_CAPTURED: _Code.FAILED_PRECONDITION,
    Reason.HOLD_OWNED_BY_PAYMENT: _Code.FAILED_PRECONDITION,
    Reason.TRANSACTION_OWNED_BY_PAYMENT: _Code.FAILED_PRECONDITION,
    Reason.FINDING_NOT_FOUND: _Code.NOT_FOUND,
    Reason.FINDING_VERSION_MISMATCH: _Code.ABORTED,
}


class Replayed(Exception):
    """Carries a refusal that an earlier request had decided."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


def code_of(refused: Refused) -> grpc.StatusCode:
    """Return the gRPC code of a refusal."""
    return CODES[refused.reason]


def status_of(refused: Refused) -> status_pb2.Status:
    """Return a refusal as a rich status: always ErrorInfo; BadRequest and RetryInfo where they apply."""
    name, number = code_of(refused).name, code_of(refused).value[0]
    assert code_pb2.Code.Value(name) == number
    status = status_pb2.Status(code=number, message=refused.message)
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=refused.reason.name, domain=DOMAIN, metadata=refused.metadata)
    )
    # A rule between fields, such as LIMITS_CONTRADICT, has no field to point at.
    broken = getattr(refused, "violations", ()) or (refused,)
    violations = [violation for violation in broken if "field" in violation.metadata]
    if violations:
        status.details.add().Pack(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.metadata["field"],
                        description=violation.message,
                        reason=violation.reason.name,
                    )
                    for violation in violations
                ]
            )
        )
    if refused.reason is Reason.LANE_FULL:
        delay = duration_pb2.Duration(nanos=int(_RETRY_SECONDS * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


async def abort(
    context: "grpc.aio.ServicerContext[object, object]", refused: Refused, *, replayed: bool
) -> None:
    """End a call with a refusal."""
    trailing: list[tuple[str, str | bytes]] = [(_DETAILS_KEY, status_of(refused).SerializeToString())]
    if replayed:
        trailing.append(REPLAYED)
    await context.abort(code_of(refused), refused.message, tuple(trailing))
