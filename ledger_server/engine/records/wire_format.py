"""Owns the part of protobuf's wire format that is needed to compose messages from serialized parts.

A message that was serialized once may stand as a field in several others: in its journal record and
in the response. Composing bytes costs a tenth of building, copying and serializing message objects.
"""

from typing import Final

_SMALL: Final = tuple(bytes((number,)) for number in range(0x80))


def varint(number: int) -> bytes:
    """Return a non-negative integer as a varint."""
    if number < 0x80:
        return _SMALL[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 0x200000:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


# The tags of fields that hold a message, a string or bytes, by field number.
_TAGS: Final = tuple(varint(field << 3 | 2) for field in range(64))


def length_delimited(field: int, payload: bytes) -> bytes:
    """Return a field that holds a message, a string or bytes; field numbers from 1 to 63."""
    size = len(payload)
    return _TAGS[field] + (_SMALL[size] if size < 0x80 else varint(size)) + payload


def number(field: int, value: int) -> bytes:
    """Return a field that holds a non-negative integer; nothing for 0, as proto3 has it."""
    return varint(field << 3) + varint(value) if value else b""


def boolean(field: int, *, value: bool) -> bytes:
    """Return a boolean field; no bytes for false, as in proto3."""
    return varint(field << 3) + b"\x01" if value else b""
