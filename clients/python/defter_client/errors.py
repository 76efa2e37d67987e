"""Own what every error of the ledger has, and the five kinds: what a caller does about one."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import grpc


class LedgerError(Exception):
    """The ledger refused a call, or could not be reached.

    Its class says what to do: `RetryLater`, `InvalidRequest`, `AccessDenied`, `Refused` or `Fault`. Below
    it is the class of the reason (`defter_client.reasons`), which has the facts as typed fields.

    Attributes:
        code: the gRPC code.
        reason: the name of the `ErrorReason` without its prefix, such as `INSUFFICIENT_FUNDS`; empty
            when the answer did not come from the ledger.
        message: a sentence for a person; its wording may change.
        metadata: the facts that `error.proto` names at the reason, as texts.
        key: the idempotency key of the call; empty where it has none.
        keys: of the items of a batch that failed as a whole, or of those of a stream without a result.
        replayed: whether an earlier call with the same key was refused, and this is that answer.
        retry_delay_seconds: after how long the ledger asks to come again with the same call, if it does.
        request_id: names the call in the ledger's log lines; empty when it did not answer itself.
        outcome_unknown: whether the call, at one of its tries, may have taken effect all the same. Make it
            again later with the same key, or ask `GetOutcome`; with another key it may pay twice.
    """

    kind: ClassVar[str] = ""
    """What to do, as docs/clients.md has it: `retry`, `request`, `access`, `refused` or `fault`."""
    usual_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    """With which gRPC code a call fails for this reason."""

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
        key: str = "",
        outcome_unknown: bool = False,
        keys: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.replayed = replayed
        self.retry_delay_seconds = retry_delay_seconds
        self.request_id = request_id
        self.key = key
        self.outcome_unknown = outcome_unknown
        self.keys = keys

    @property
    def retryable(self) -> bool:
        """Whether the same call, with the same key, may be answered soon: the server is away, or asks for it.

        This does not say whether the call was decided (`outcome_unknown`). A call with a new key is another
        request, and may pay twice.
        """
        return self.code is grpc.StatusCode.UNAVAILABLE or self.retry_delay_seconds is not None

    @property
    def index(self) -> int | None:
        """The item of the batch that is to blame, counted from 0; None where there is none."""
        return self._integer("index")

    def _text(self, name: str) -> str | None:
        return self.metadata.get(name)

    def _integer(self, name: str) -> int | None:
        try:
            return int(self.metadata[name])
        except (KeyError, ValueError):
            return None

    def _time(self, name: str) -> datetime | None:
        try:
            return datetime.fromisoformat(self.metadata[name])
        except (KeyError, ValueError):
            return None


class RetryLater(LedgerError):
    """The same call may be answered later, with the same key."""

    kind = "retry"


class InvalidRequest(LedgerError):
    """The request is wrong, whatever the state of the ledger: mend the caller."""

    kind = "request"


class AccessDenied(LedgerError):
    """The caller is not known, or may not do it."""

    kind = "access"


class Refused(LedgerError):
    """The state of the ledger does not allow it: decide anew, with a new key."""

    kind = "refused"


class Fault(LedgerError):
    """Something failed that should not, perhaps after it had taken effect: ask again with the same key."""

    kind = "fault"
