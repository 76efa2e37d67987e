"""Own which failed calls over gRPC are made again, and what a server asks of who comes again."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from defter_retrying.backoff import Tries

# A call whose time is up is still made, and told so by gRPC.
_LEAST_TIMEOUT_SECONDS: Final = 0.001
_Response = TypeVar("_Response")
_Detail = TypeVar("_Detail", bound=Message)


class Failure(Protocol):
    """What gRPC raises on either of its stacks."""

    def code(self) -> grpc.StatusCode:
        """Return the code."""

    def details(self) -> str | None:
        """Return the sentence."""

    def trailing_metadata(self) -> Any:
        """Return what came behind it."""


def detail(error: Failure, kind: type[_Detail]) -> _Detail | None:
    """Return the detail of a kind that the server has put into its error, if one can be read."""
    found = kind()
    # Whoever wrote what can't be read, or made it contradict the status, a proxy perhaps, says nothing by it.
    with contextlib.suppress(ValueError, DecodeError):
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has all that is read of a call
        if status is not None and any(each.Unpack(found) for each in status.details):
            return found
    return None


def retry_delay(error: Failure) -> float | None:
    """Return after how many seconds the server asks to come again (`google.rpc.RetryInfo`), if it does."""
    info = detail(error, error_details_pb2.RetryInfo)
    if info is None:
        return None
    return max(info.retry_delay.seconds + info.retry_delay.nanos / 1e9, 0.0)


def may_come_again(error: Failure) -> bool:
    """Whether the same call may be answered soon: the server is away, or asks to come again.

    Other codes are answers. RESOURCE_EXHAUSTED alone is one too: gRPC says it of a message that is too large,
    which the next one would be as well.
    """
    return error.code() is grpc.StatusCode.UNAVAILABLE or retry_delay(error) is not None


async def call_until_answered(
    attempt: Callable[[float], Awaitable[_Response]],
    tries: Tries,
    *,
    again: Callable[[grpc.aio.AioRpcError], bool] = may_come_again,
) -> _Response:
    """Make a call until it is answered, or the time is up.

    A call that failed may have taken effect all the same. So it must be one that has no other effect when
    it is made twice: a read, or a change under an idempotency key that is the same at each try.

    Args:
        attempt: makes the call; it is given how many seconds are left.
        tries: bound time and number, and say how long to wait.
        again: whether to try again after an error.
    Raises:
        AioRpcError: the last one.
    """
    while True:
        try:
            return await attempt(max(tries.left(), _LEAST_TIMEOUT_SECONDS))
        except grpc.aio.AioRpcError as error:
            if not again(error) or not await tries.wait(retry_delay(error)):
                raise
