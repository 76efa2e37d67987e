"""Owns the one table from reasons to gRPC codes, and the status of a refusal on the wire."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ledger_server.domain.errors import Reason, Refused
from ledger_server.rpc.call_facts import CALL
from ledger_server.rpc.request_id import REQUEST_ID_KEY

DOMAIN: Final = "defter"
REPLAYED: Final = ("idempotent-replayed", "true")
"""Trailing metadata of an outcome that an earlier request had decided."""

_DETAILS_KEY: Final = "grpc-status-details-bin"

# By default a client drops some answers with more than 8 KiB of metadata and all with more than 16 KiB: it
# then sees RESOURCE_EXHAUSTED instead of the reason. Base64 makes a status a third larger, and its message is
# sent beside it again, with three characters for each byte that is not ASCII.
_MAX_STATUS_BYTES: Final = 4_096
_MAX_MESSAGE_BYTES: Final = 512
_MAX_FACTS_BYTES: Final = 2_048
_MAX_DESCRIPTION_BYTES: Final = 256
# Reserved for the frame around the violations, and for the sentence that says how many are not listed.
_FRAME_BYTES: Final = 128
_CUT: Final = b"..."

_Code = grpc.StatusCode
CODES: Final = {
    Reason.IDENTITY_MISSING: _Code.UNAUTHENTICATED,
    Reason.IDENTITY_GIVEN_TWICE: _Code.UNAUTHENTICATED,
    Reason.CERTIFICATE_NOT_TRUSTED: _Code.UNAUTHENTICATED,
    Reason.CERTIFICATE_EXPIRED: _Code.UNAUTHENTICATED,
    Reason.CERTIFICATE_NOT_YET_VALID: _Code.UNAUTHENTICATED,
    Reason.CERTIFICATE_IDENTITY_UNCLEAR: _Code.UNAUTHENTICATED,
    Reason.TOKEN_OVER_PLAINTEXT: _Code.UNAUTHENTICATED,
    Reason.TOKEN_MALFORMED: _Code.UNAUTHENTICATED,
    Reason.TOKEN_ALGORITHM_REFUSED: _Code.UNAUTHENTICATED,
    Reason.TOKEN_KEY_UNKNOWN: _Code.UNAUTHENTICATED,
    Reason.TOKEN_SIGNATURE_INVALID: _Code.UNAUTHENTICATED,
    Reason.TOKEN_EXPIRED: _Code.UNAUTHENTICATED,
    Reason.TOKEN_NOT_YET_VALID: _Code.UNAUTHENTICATED,
    Reason.TOKEN_ISSUER_OTHER: _Code.UNAUTHENTICATED,
    Reason.TOKEN_AUDIENCE_OTHER: _Code.UNAUTHENTICATED,
    Reason.PERMISSION_MISSING: _Code.PERMISSION_DENIED,
    Reason.PERSON_OTHER: _Code.PERMISSION_DENIED,
    Reason.PERSON_MALFORMED: _Code.INVALID_ARGUMENT,
    Reason.PERSON_NOT_PERMITTED: _Code.PERMISSION_DENIED,
    Reason.QUOTA_RATE_EXCEEDED: _Code.RESOURCE_EXHAUSTED,
    Reason.QUOTA_CALLS_UNDER_WAY: _Code.RESOURCE_EXHAUSTED,
    Reason.QUOTA_BYTES_UNDER_WAY: _Code.RESOURCE_EXHAUSTED,
    Reason.QUOTA_READS_WAITING: _Code.RESOURCE_EXHAUSTED,
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
    Reason.SNAPSHOT_NOT_ORDERED: _Code.INVALID_ARGUMENT,
    Reason.SNAPSHOT_INCOMPLETE: _Code.INVALID_ARGUMENT,
    Reason.ACCOUNT_NAME_RESERVED: _Code.INVALID_ARGUMENT,
    Reason.AMOUNT_TOO_LARGE: _Code.INVALID_ARGUMENT,
    Reason.EXPIRE_TIME_GIVEN_TWICE: _Code.INVALID_ARGUMENT,
    Reason.TIME_TO_LIVE_NOT_POSITIVE: _Code.INVALID_ARGUMENT,
    Reason.TIME_TO_LIVE_TOO_LONG: _Code.INVALID_ARGUMENT,
    Reason.OPENING_BALANCE_NEGATIVE: _Code.INVALID_ARGUMENT,
    Reason.OPENING_BALANCE_REPEATED: _Code.INVALID_ARGUMENT,
    Reason.CURRENCY_CONTRADICTED: _Code.FAILED_PRECONDITION,
    Reason.PERSONAL_KEYS_MISSING: _Code.UNAVAILABLE,
    Reason.LANE_FULL: _Code.RESOURCE_EXHAUSTED,
    Reason.SERVER_FULL: _Code.RESOURCE_EXHAUSTED,
    Reason.READER_TOO_SLOW: _Code.ABORTED,
    Reason.DEADLINE_PASSED: _Code.DEADLINE_EXCEEDED,
    Reason.SHUTTING_DOWN: _Code.UNAVAILABLE,
    Reason.STORE_UNAVAILABLE: _Code.UNAVAILABLE,
    Reason.INTERNAL: _Code.INTERNAL,
    Reason.CLOCK_ASTRAY: _Code.UNAVAILABLE,
    Reason.IDEMPOTENCY_KEY_REUSED: _Code.ALREADY_EXISTS,
    Reason.TENANT_NOT_FOUND: _Code.NOT_FOUND,
    Reason.OUTCOME_NOT_FOUND: _Code.NOT_FOUND,
    Reason.NOT_YET_RECORDED: _Code.OUT_OF_RANGE,
    Reason.BATCH_ABORTED: _Code.ABORTED,
    Reason.WALLET_NOT_FOUND: _Code.NOT_FOUND,
    Reason.RECONCILIATION_UNDER_WAY: _Code.ABORTED,
    Reason.RUN_NOT_FOUND: _Code.NOT_FOUND,
    Reason.FINDING_NOT_REPAIRABLE: _Code.FAILED_PRECONDITION,
    Reason.SETTLEMENT_BATCH_NOT_FOUND: _Code.NOT_FOUND,
    Reason.SETTLEMENT_BATCH_NOT_BALANCED: _Code.FAILED_PRECONDITION,
    Reason.EPOCH_NOT_CURRENT: _Code.FAILED_PRECONDITION,
    Reason.OUTBOUND_NOT_RECONCILED: _Code.FAILED_PRECONDITION,
    Reason.OPENING_BALANCE_CHANGED: _Code.FAILED_PRECONDITION,
    Reason.OPENING_BALANCE_OF_OTHER_IMPORT: _Code.FAILED_PRECONDITION,
    Reason.IMPORT_LINES_REFUSED: _Code.FAILED_PRECONDITION,
    Reason.CONTROL_SUM_MISMATCH: _Code.FAILED_PRECONDITION,
    Reason.IMPORT_CHANGED: _Code.ABORTED,
    Reason.OUTBOUND_FINDINGS_OPEN: _Code.FAILED_PRECONDITION,
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
    Reason.WITHDRAWAL_STATE_MISMATCH: _Code.ABORTED,
    Reason.WITHDRAWAL_CLAIMED: _Code.FAILED_PRECONDITION,
    Reason.TOO_MANY_NOTES: _Code.FAILED_PRECONDITION,
    Reason.CALL_UNDER_WAY: _Code.FAILED_PRECONDITION,
    Reason.REFUND_EXCEEDS_CAPTURED: _Code.FAILED_PRECONDITION,
    Reason.HOLD_OWNED_BY_PAYMENT: _Code.FAILED_PRECONDITION,
    Reason.TRANSACTION_OWNED_BY_PAYMENT: _Code.FAILED_PRECONDITION,
    Reason.ADJUSTMENT_NOT_FOUND: _Code.NOT_FOUND,
    Reason.ADJUSTMENT_STATE_MISMATCH: _Code.ABORTED,
    Reason.SECOND_PERSON_REQUIRED: _Code.FAILED_PRECONDITION,
    Reason.REQUESTER_REQUIRED: _Code.FAILED_PRECONDITION,
    Reason.FINDING_NOT_FOUND: _Code.NOT_FOUND,
    Reason.EVENT_CANNOT_SUPERSEDE: _Code.FAILED_PRECONDITION,
    Reason.FINDING_VERSION_MISMATCH: _Code.ABORTED,
    Reason.LIMITS_CONTRADICT_DEFAULT: _Code.FAILED_PRECONDITION,
    Reason.ACCOUNT_KIND_MISMATCH: _Code.FAILED_PRECONDITION,
    Reason.BEGUN_DEPOSITS_TOO_LARGE: _Code.FAILED_PRECONDITION,
    Reason.HOLD_TOO_LARGE: _Code.OUT_OF_RANGE,
    Reason.ACCOUNTS_BELOW_LIMIT: _Code.FAILED_PRECONDITION,
    Reason.BLOCKING_FINDINGS_OPEN: _Code.FAILED_PRECONDITION,
    Reason.PLAYER_FORGOTTEN: _Code.FAILED_PRECONDITION,
    Reason.CONTINUATION_NOT_REVERSIBLE: _Code.FAILED_PRECONDITION,
}


class Replayed(Exception):
    """A refusal that an earlier request with the same key had decided."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


def code_of(refused: Refused) -> grpc.StatusCode:
    """Return the gRPC code of a refusal."""
    return CODES[refused.reason]


def status_of(refused: Refused, request_id: str = "") -> status_pb2.Status:
    """Return a refusal as a rich status: always ErrorInfo; BadRequest and RetryInfo where they apply.

    A call that has a request id finds it in RequestInfo.

    It has at most 4 KiB, however much of the caller's text the refusal repeats.
    """
    name, number = code_of(refused).name, code_of(refused).value[0]
    assert code_pb2.Code.Value(name) == number
    status = status_pb2.Status(code=number, message=_cut(refused.message, _MAX_MESSAGE_BYTES))
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(
            reason=refused.reason.name, domain=DOMAIN, metadata=_bounded(refused.metadata)
        )
    )
    if request_id:
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    broken = getattr(refused, "violations", ()) or (refused,)
    listed = _violations(broken, _MAX_STATUS_BYTES - _FRAME_BYTES - status.ByteSize())
    if listed.field_violations:
        status.details.add().Pack(listed)
    # A rule between fields, such as LIMITS_CONTRADICT, has no field to point at; the reason itself tells it.
    told = len(listed.field_violations) + sum("field" not in each.metadata for each in broken)
    untold = getattr(refused, "violation_count", len(broken)) - told
    if untold:
        status.message += f"; {untold} more not listed"
    if refused.retry_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromTimedelta(timedelta(seconds=refused.retry_seconds))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


async def abort(
    context: "grpc.aio.ServicerContext[object, object]", refused: Refused, *, replayed: bool
) -> None:
    """End a call with a refusal."""
    facts = CALL.get()
    request_id = "" if facts is None else facts.request_id
    status = status_of(refused, request_id)
    trailing: list[tuple[str, str | bytes]] = [(_DETAILS_KEY, status.SerializeToString())]
    if request_id:
        trailing.append((REQUEST_ID_KEY, request_id))
    if replayed:
        trailing.append(REPLAYED)
    # Clients compare the two messages, so both must be equal.
    await context.abort(code_of(refused), status.message, tuple(trailing))


def mark_replayed(context: "grpc.aio.ServicerContext[object, object]") -> None:
    """Say in the answer's metadata that an earlier request with the same key was decided so."""
    trailing = [REPLAYED]
    facts = CALL.get()
    if facts is not None:
        facts.replayed = True
        trailing.append((REQUEST_ID_KEY, facts.request_id))
    # This replaces what was set before, the request id among it.
    context.set_trailing_metadata(tuple(trailing))


def _violations(broken: Sequence[Refused], room: int) -> error_details_pb2.BadRequest:
    """Return those of the broken rules that have a field, as many as there is room for."""
    listed = error_details_pb2.BadRequest()
    for each in broken:
        if "field" not in each.metadata:
            continue
        listed.field_violations.add(
            field=each.metadata["field"],
            description=_cut(each.message, _MAX_DESCRIPTION_BYTES),
            reason=each.reason.name,
        )
        if listed.ByteSize() > room:
            del listed.field_violations[-1]
            break
    return listed


def _bounded(facts: Mapping[str, str]) -> Mapping[str, str]:
    """Return the facts of a refusal; if they are too long together, the longest are cut."""
    sizes = {name: len(fact.encode()) for name, fact in facts.items()}
    bounded = dict(facts)
    while (excess := sum(sizes.values()) - _MAX_FACTS_BYTES) > 0:
        longest = max(sizes, key=sizes.__getitem__)
        bounded[longest] = _cut(bounded[longest], max(sizes[longest] - excess, 0))
        sizes[longest] = len(bounded[longest].encode())
    return bounded


def _cut(text: str, limit: int) -> str:
    """Return text of at most so many bytes, with an ellipsis if it was cut."""
    data = text.encode()
    if len(data) <= limit:
        return text
    return data[: max(limit - len(_CUT), 0)].decode(errors="ignore") + _CUT.decode()
