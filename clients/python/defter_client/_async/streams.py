"""Own the streams of a call: failures are typed, and nothing is tried again by itself."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Generic, Self, TypeVar

from google.protobuf.message import Message

from defter_client import aio as io
from defter_client.failures import broken, is_replayed, ledger_error

Response = TypeVar("Response", bound=Message)
_DAY_SECONDS = 86_400.0


class Requests:
    """What is sent in a stream, with what went wrong in its source: gRPC ends the call and tells nobody why.

    Attributes:
        error: what the source has raised.
    """

    def __init__(self, source: AsyncIterable[Message]) -> None:
        self._source = source
        self.error: Exception | None = None

    async def sent(self) -> AsyncIterator[Message]:
        """Yield them, once."""
        try:
            async for message in self._source:
                yield message
        except Exception as error:
            self.error = error
            raise


class Stream(Generic[Response]):
    """The messages that a call answers.

    Attributes:
        key: the idempotency key of the call; empty where it has none.
        replayed: whether an earlier call with the key had decided the outcome; known at the end.
    """

    def __init__(self, call: Any, key: str = "", requests: Requests | None = None) -> None:
        self._call = call
        self._requests = requests
        self.key = key
        self.replayed = False

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Response:
        """Return the next message.

        Raises:
            LedgerError: the call has failed.
        """
        try:
            message: Response | None = await io.read(self._call, _DAY_SECONDS)
        except io.RpcError as error:
            if self._requests is not None and self._requests.error is not None:
                raise self._requests.error from None  # the caller's own
            raise ledger_error(error, key=self.key) from None
        except io.Silent:
            raise broken("nothing came for a day") from None
        if message is None:
            self.replayed = is_replayed(await io.trailing(self._call))
            raise StopAsyncIteration
        return message

    def cancel(self) -> None:
        """End the call; whoever iterates over it and breaks off does so."""
        self._call.cancel()
