"""Own the making of idempotency keys for callers who give none."""

from __future__ import annotations

import secrets
import time
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BYTES: Final = 10
_DIGITS: Final = 26
_DIGIT_BITS: Final = 5


class _Made(str):
    __slots__ = ()


MADE: Final[str] = _Made()
"""As the key of a call: the client makes one. An empty text is none such: it may be an id that is missing."""


def new_key() -> str:
    """Return a key that nobody else has: a ULID, 48 bits of milliseconds and 80 random bits.

    It is lost with the process. Whoever moves money for an event of their own, such as a bet, gives a key
    that follows from the event, so that whoever does it again uses the same one.
    """
    number = (time.time_ns() // 1_000_000 << 8 * _RANDOM_BYTES) | int.from_bytes(
        secrets.token_bytes(_RANDOM_BYTES)
    )
    return "".join(
        _ALPHABET[number >> shift & 31] for shift in range((_DIGITS - 1) * _DIGIT_BITS, -1, -_DIGIT_BITS)
    )
