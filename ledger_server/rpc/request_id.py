"""Owns the request id: the caller's own or a made one, by which answers, errors and logs name one call."""

import itertools
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Final

REQUEST_ID_KEY: Final = "x-request-id"
"""The metadata that an id comes in with, and goes back with."""

REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID", default="")
"""The id of the call under way; empty outside of calls."""

LONGEST: Final = 64

_PROCESS: Final = secrets.token_hex(6)
_COUNTER: Final = itertools.count(1)


def request_id_of(metadata: Iterable[tuple[str, Any]] | None) -> str:
    """Return the id that a call's metadata gives, or a made one.

    An id counts if it is printable ASCII of at most 64 characters; the first one of several that count.
    """
    for key, value in metadata or ():
        if (
            key == REQUEST_ID_KEY
            and type(value) is str
            and 0 < len(value) <= LONGEST
            and value.isascii()
            and value.isprintable()
        ):
            return value
    return f"{_PROCESS}-{next(_COUNTER):x}"


def request_id(metadata: Iterable[tuple[str, Any]]) -> str:
    """Return the id of the call under way.

    Args:
        metadata: the call's, which is looked at where the call has no id yet.
    """
    known = REQUEST_ID.get()
    if not known:
        known = request_id_of(metadata)
        REQUEST_ID.set(known)
    return known
