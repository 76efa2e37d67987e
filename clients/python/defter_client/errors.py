"""Own how a refusal of the ledger looks to Python: one exception with reason, facts and retry advice."""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

_REPLAYED_KEY = "idempotent-replayed"


class LedgerError(Exception):
    """The ledger refused a call, or could not be reached.

    Attributes:
        code: the gRPC code.
        reason: the name of the `ErrorReason` without its prefix, such as `INSUFFICIENT_FUNDS`; empty
            when the answer did not come from the ledger.
        metadata: the facts that `error.proto` names at the reason.
        replayed: whether an earlier call with the same key was refused, and this is that answer.
    """

    def __init__(
        self,
        *,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: dict[str, str],
        replayed: bool,
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.replayed = replayed

    @property
    def retryable(self) -> bool:
        """Whether the same call, with the same key, may be answered soon: the server is away or overloaded.

        It does not say whether the call was decided. Where that is unknown (after INTERNAL,
        DEADLINE_EXCEEDED or CANCELLED, too) only the same key is safe: make the same call again later, or
        ask `GetOutcome`. With a new key it is another request, and may pay twice.
        """
        return self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


def _details(error: grpc.aio.AioRpcError) -> Sequence[Any]:
    """Return the details of a status; none where it has none, or where a proxy made it contradict itself."""
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has all that is read of a call
    except (ValueError, DecodeError):
        return ()
    return () if status is None else status.details


def ledger_error(error: grpc.aio.AioRpcError) -> LedgerError:
    """Return what a gRPC error says in the ledger's own words."""
    reason, metadata = "", dict[str, str]()
    trailing = {str(key): value for key, value in error.trailing_metadata() or ()}
    for detail in _details(error):
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
    return LedgerError(
        code=error.code(),
        reason=reason,
        message=error.details() or "",
        metadata=metadata,
        replayed=trailing.get(_REPLAYED_KEY) == "true",
    )
