"""Own what a keyed call answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

Response_co = TypeVar("Response_co", bound=Message, covariant=True)


@dataclass(frozen=True, slots=True)
class Answer(Generic[Response_co]):
    """The answer to a keyed call.

    Attributes:
        response: the message.
        key: the idempotency key that was used; made by the client where the caller gave none.
        replayed: whether an earlier call with the key had decided the outcome: nothing was moved by this one.
    """

    response: Response_co
    key: str
    replayed: bool
