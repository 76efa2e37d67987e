"""A stream that ends while the client writes to it is a broken stream, whatever gRPC calls it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from defter_client import aio
from defter_retrying.calls import may_come_again


class Ended:
    """A stream that has ended by an error."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._error = AioRpcError(code, Metadata(), Metadata(), details, "why")

    async def read(self) -> Any:
        """Fail."""
        raise self._error


@pytest.mark.parametrize(
    ("code", "details", "again"),
    [
        (grpc.StatusCode.INTERNAL, "Internal error from Core", True),
        (grpc.StatusCode.INTERNAL, "internal error; the server's log has more", False),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", True),
        (grpc.StatusCode.INVALID_ARGUMENT, "no", False),
    ],
)
async def test_what_is_taken_up_again(code: grpc.StatusCode, details: str, again: bool) -> None:
    """What gRPC makes up of a failed write is tried again, what a server says is an answer."""
    with pytest.raises(AioRpcError) as caught:
        await aio.read(Ended(code, details), 60)

    assert may_come_again(caught.value) == again
    assert caught.value.details() == details
