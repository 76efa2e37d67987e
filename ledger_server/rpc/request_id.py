"""Owns the request id: the caller's own or a made one, by which answers, errors and logs name one call."""

import itertools
import secrets
from collections.abc import Iterable
from typing import Any, Final

REQUEST_ID_KEY: Final = "x-request-id"
"""The metadata that an id comes in with, and goes back with."""

Metadata = Iterable[tuple[str, Any]]
"""Keys with values, which are text or bytes."""

LONGEST: Final = 64

_PROCESS: Final = secrets.token_hex(6)
_COUNTER: Final = itertools.count(1)


def request_id_of(metadata: Metadata | None) -> str:
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
