"""Own the client's exception: a refusal of the ledger with reason, facts and retry advice."""

import grpc
from google.rpc import error_details_pb2

from defter_retrying.calls import detail, retry_delay

_REPLAYED_KEY = "idempotent-replayed"


class LedgerError(Exception):
    """The ledger refused a call, or could not be reached.

    Attributes:
        code: the gRPC code.
        reason: the name of the `ErrorReason` without its prefix, such as `INSUFFICIENT_FUNDS`; empty
            when the answer did not come from the ledger.
        metadata: the facts that `error.proto` names at the reason.
        replayed: whether an earlier call with the same key was refused, and this is that answer.
        retry_delay_seconds: after how long the ledger asks to come again with the same call, if it does.
        request_id: names the call in the ledger's log lines; empty when it did not answer itself.
    """

    def __init__(
        self,
        *,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: dict[str, str],
        replayed: bool,
        retry_delay_seconds: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.replayed = replayed
        self.retry_delay_seconds = retry_delay_seconds
        self.request_id = request_id

    @property
    def retryable(self) -> bool:
        """Whether the same call, with the same key, may be answered soon: the server is away, or asks for it.

        This does not say whether the call was decided. If that is unknown (also after INTERNAL,
        DEADLINE_EXCEEDED or CANCELLED), only the same key is safe: make the same call again later, or ask
        `GetOutcome`. A call with a new key is another request, and may pay twice.
        """
        return self.code is grpc.StatusCode.UNAVAILABLE or self.retry_delay_seconds is not None


def ledger_error(error: grpc.aio.AioRpcError) -> LedgerError:
    """Return the LedgerError for a gRPC error."""
    info = detail(error, error_details_pb2.ErrorInfo) or error_details_pb2.ErrorInfo()
    trailing = {str(key): value for key, value in error.trailing_metadata() or ()}
    return LedgerError(
        code=error.code(),
        reason=info.reason,
        message=error.details() or "",
        metadata=dict(info.metadata),
        replayed=trailing.get(_REPLAYED_KEY) == "true",
        retry_delay_seconds=retry_delay(error),
        request_id=(
            detail(error, error_details_pb2.RequestInfo) or error_details_pb2.RequestInfo()
        ).request_id,
    )
