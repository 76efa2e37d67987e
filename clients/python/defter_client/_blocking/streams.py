# Generated from _async/streams.py by `make gen`: do not edit.
"""Own streams of answers: their failures are typed, and nothing is tried again by itself."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar

from google.protobuf.message import Message

from defter_client import threads as io
from defter_client.failures import ledger_error

Response = TypeVar("Response", bound=Message)
_DAY_SECONDS = 86_400.0


class Stream(Generic[Response]):
    """The messages that a call answers.

    Attributes:
        key: the idempotency key of the call; empty where it has none.
    """

    def __init__(self, call: Any, key: str = "") -> None:
        self._call = call
        self.key = key

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> Response:
        """Return the next message.

        Raises:
            LedgerError: the call has failed.
        """
        try:
            message: Response | None = io.read(self._call, _DAY_SECONDS)
        except io.RpcError as error:
            raise ledger_error(error, key=self.key) from None
        if message is None:
            raise StopIteration
        return message

    def cancel(self) -> None:
        """End the call; whoever iterates over it and breaks off does so."""
        self._call.cancel()
