"""Owns the memory estimate of a working set's entries: bytes, estimated from what makes entries large."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

# Measured with CPython 3.11: an entry with its content, its key and its place in a table of the working set.
_ACCOUNT: Final = 900
_HOLD: Final = 1_000
_TRANSACTION: Final = 300
_LEG: Final = 350
_REF: Final = 400
# Overhead of a text beside its characters, and of a pair of texts in a dictionary.
_TEXT: Final = 56
_PAIR: Final = 2 * _TEXT + 40
_NUMBER: Final = 32
_STRUCT: Final = 64


def metadata_bytes(metadata: Mapping[str, str]) -> int:
    """Return what a caller's texts take; a character that is not ASCII takes up to four bytes."""
    size = 0
    for key, text in metadata.items():
        size += _PAIR + _text_bytes(key) + _text_bytes(text)
    return size


def account_bytes(metadata: Mapping[str, str] | None) -> int:
    """Return what an account takes; None: it is known not to exist."""
    return _ACCOUNT + (metadata_bytes(metadata) if metadata else 0)


def hold_bytes(metadata: Mapping[str, str] | None) -> int:
    """Return what a hold takes; None: it is known not to exist."""
    return _HOLD + (metadata_bytes(metadata) if metadata else 0)


def transaction_bytes(leg_count: int) -> int:
    """Return what a transaction that may be reversed takes."""
    return _TRANSACTION + _LEG * leg_count


def ref_bytes() -> int:
    """Return what a provider's ref takes."""
    return _REF


def deep_bytes(value: object) -> int:
    """Return what a payment, an event or a finding takes, with all that it consists of."""
    match value:
        case str():
            return _TEXT + _text_bytes(value)
        case bytes():
            return _TEXT + len(value)
        case Struct():
            fields = value.__struct_fields__
            return _STRUCT + sum([deep_bytes(getattr(value, name)) for name in fields])
        case tuple() | list() | frozenset() | set():
            return _STRUCT + sum([deep_bytes(item) for item in value])
        case Mapping():
            return _STRUCT + sum([_NUMBER + deep_bytes(k) + deep_bytes(v) for k, v in value.items()])
        case _:
            return _NUMBER


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)
