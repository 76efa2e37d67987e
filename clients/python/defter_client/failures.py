"""Own how a failed call, or a refusal in a message, becomes the error that a caller catches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc
from defter.ledger.v1 import error_pb2
from google.rpc import error_details_pb2

from defter_client.errors import AccessDenied, Fault, InvalidRequest, LedgerError, Refused, RetryLater
from defter_client.reasons import BY_REASON
from defter_retrying.calls import Failure, detail, retry_delay

REPLAYED_KEY: Final = "idempotent-replayed"
"""The trailing metadata of an answer that an earlier call had decided."""
_PREFIX: Final = "ERROR_REASON_"
_FINAL: Final = range(200, 300)
"""Numbers of reasons that are decisions: final for their key, so nothing is unknown any more."""
_BY_CODE: Final[dict[grpc.StatusCode, type[LedgerError]]] = {
    grpc.StatusCode.UNAVAILABLE: RetryLater,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RetryLater,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.ALREADY_EXISTS: Refused,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.NOT_FOUND: Refused,
    grpc.StatusCode.OUT_OF_RANGE: Refused,
    grpc.StatusCode.ABORTED: Refused,
}
# Of an answer that is not the ledger's, a proxy's perhaps, these alone say what to do.
_BY_CODE_ALONE: Final = {
    code: _BY_CODE[code]
    for code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    )
}
# Without a reason of the ledger nobody knows how far the call had come.
_UNKNOWN_CODES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)
_DOMAIN: Final = "defter"
_UNKNOWN_REASONS: Final = frozenset({"STORE_UNAVAILABLE", "INTERNAL", "PERSONAL_KEYS_MISSING"})


def ledger_error(failure: Failure, *, key: str = "", was_unknown: bool = False) -> LedgerError:
    """Return the error for a failed call.

    Args:
        key: the call's idempotency key, if it has one.
        was_unknown: whether the outcome of an earlier try of it is unknown.
    """
    info = _told(failure)
    request = detail(failure, error_details_pb2.RequestInfo) or error_details_pb2.RequestInfo()
    return _error_class(info.reason, failure.code())(
        code=failure.code(),
        reason=info.reason,
        message=failure.details() or "",
        metadata=dict(info.metadata),
        replayed=is_replayed(failure.trailing_metadata()),
        retry_delay_seconds=retry_delay(failure),
        request_id=request.request_id,
        key=key,
        outcome_unknown=_is_unknown(info.reason, failure.code())
        or (was_unknown and not _is_final(info.reason)),
    )


def broken(message: str) -> LedgerError:
    """Return the error for a stream that nobody answers; what has no answer may have taken effect."""
    return RetryLater(
        code=grpc.StatusCode.UNAVAILABLE,
        reason="",
        message=message,
        metadata={},
        replayed=False,
        outcome_unknown=True,
    )


def error_of(rejection: error_pb2.Rejection, *, key: str = "", replayed: bool = False) -> LedgerError:
    """Return the error for a refusal in a message: of an item of a batch or a stream, or in the journal."""
    name = _name_of(rejection.reason)
    known = BY_REASON.get(name)
    code = grpc.StatusCode.FAILED_PRECONDITION if known is None else known.usual_code
    return _error_class(name, code)(
        code=code,
        reason=name,
        message=rejection.message,
        metadata=dict(rejection.metadata),
        replayed=replayed,
        key=key,
    )


def leaves_unknown(failure: Failure) -> bool:
    """Return whether nobody knows, after this failure, whether the call has taken effect."""
    return _is_unknown(_told(failure).reason, failure.code())


def is_replayed(trailing: Sequence[tuple[str, str | bytes]] | None) -> bool:
    """Return whether an earlier call had decided the outcome."""
    return any(name == REPLAYED_KEY and value == "true" for name, value in trailing or ())


def _told(failure: Failure) -> error_details_pb2.ErrorInfo:
    """Return what the ledger says of a failure; something between has reasons of its own, which are none."""
    info = detail(failure, error_details_pb2.ErrorInfo)
    return info if info is not None and info.domain == _DOMAIN else error_details_pb2.ErrorInfo()


def _error_class(reason: str, code: grpc.StatusCode) -> type[LedgerError]:
    """Return the class of a reason; of one that is newer than this client, and of none, by the code."""
    known = BY_REASON.get(reason)
    if known is not None:
        return known
    return (_BY_CODE if reason else _BY_CODE_ALONE).get(code, Fault)


def _name_of(reason: int) -> str:
    """Return the name of a number; a newer server may send one that this client has no name for."""
    try:
        return error_pb2.ErrorReason.Name(reason).removeprefix(_PREFIX)  # type: ignore[arg-type]
    except ValueError:
        return str(reason)


def _is_unknown(reason: str, code: grpc.StatusCode) -> bool:
    return reason in _UNKNOWN_REASONS if reason in BY_REASON else code in _UNKNOWN_CODES


def _is_final(reason: str) -> bool:
    if reason == "IDEMPOTENCY_KEY_REUSED":
        return True  # another request has the key, so this one was never decided
    try:
        return error_pb2.ErrorReason.Value(_PREFIX + reason) in _FINAL
    except ValueError:
        return False
