"""Owns the paging of lists: the size of a page, and the opaque token with the next page's position.

A token carries a position and a keyed hash over the position and its request, so a token that was altered,
cut or used for another list is refused. The key is a constant, since the token is no security feature: it
holds no secret, and by forging one a caller would merely choose where their own list begins. So any process
can read any other's tokens, and no process trusts their content.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar, cast

from google.protobuf.message import Message

from ledger_server.domain.errors import FieldOutOfRange, PageTokenInvalid
from ledger_server.engine.records.wire_format import length_delimited, number
from ledger_server.rpc.violations import Violations
from ledger_server.store.queries.rendering import Page

DEFAULT_SIZE: Final = 100
MAX_SIZE: Final = 1_000
# A page of large items is cut here, well below the 4 MiB that gRPC clients accept by default.
MAX_BYTES: Final = 2 * 1024 * 1024

_KEY: Final = b"defter page token 1"
_HASH_BYTES: Final = 12
_MAX_TOKEN: Final = 1_024
# JSON can contain lone surrogates, which are no valid text, and PostgreSQL stores no NUL.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_MAX_NUMBER: Final = 2**63 - 1
_MAX_SMALL_NUMBER: Final = 2**15 - 1

Position = tuple[int | str, ...]
_Item = TypeVar("_Item", bound=Message)
_Place = TypeVar("_Place")


class ListRequest(Protocol):
    """What all list requests share."""

    page_size: int
    page_token: str


def page_size(request: ListRequest, violations: Violations) -> int:
    """Return how many items a page may have; 0 means the default."""
    size = request.page_size
    if not 0 <= size <= MAX_SIZE:
        violations.add(FieldOutOfRange(field="page_size"))
    return size or DEFAULT_SIZE


def page_position(request: ListRequest, violations: Violations, *, like: Position) -> Position | None:
    """Return the position behind which the page begins; None for the first page.

    Args:
        like: a position of the same shape.
    """
    token = request.page_token
    if not token:
        return None
    position = _read(request, token)
    if position is None or [type(value) for value in position] != [type(value) for value in like]:
        violations.add(PageTokenInvalid(field="page_token"))
        return None
    return position


def page_place(
    request: ListRequest, violations: Violations, *, like: Position, read: Callable[[Position], _Place]
) -> _Place | None:
    """Return a list's own form of the position after which the page begins; None for the first page.

    Args:
        like: a position of the same shape.
        read: converts the position; raises ValueError or OverflowError if no list has such a position.
    """
    position = page_position(request, violations, like=like)
    if position is None:
        return None
    try:
        return read(position)
    except (ValueError, OverflowError):
        violations.add(PageTokenInvalid(field="page_token"))
        return None


def time_in(text: int | str) -> datetime:
    """Return a time in a position, for `page_place`. Raises ValueError or OverflowError."""
    return datetime.fromisoformat(str(text)).astimezone(UTC)


def small_number_in(number: int | str) -> int:
    """Return a number of two bytes in a position, for `page_place`. Raises ValueError."""
    if int(number) > _MAX_SMALL_NUMBER:
        raise ValueError(number)
    return int(number)


def page_token(request: ListRequest, position: Position) -> str:
    """Return the token of the page behind a position."""
    data = json.dumps(position, separators=(",", ":")).encode()
    return _text(_hash(request, data) + data)


def number_position(request: ListRequest, violations: Violations) -> int:
    """Return the number behind which a page begins; 0 for the first page."""
    position = page_position(request, violations, like=(0,))
    return int(position[0]) if position else 0


def page_bytes(request: ListRequest, page: Page[bytes, int] | Page[bytes, Position]) -> bytes:
    """Return a response: the page's messages in field 1, the next token in 2, its sequence in 3."""
    parts = [length_delimited(1, item) for item in page.items]
    if page.next is not None:
        position = page.next if isinstance(page.next, tuple) else (page.next,)
        parts.append(length_delimited(2, page_token(request, position).encode()))
    parts.append(number(3, page.sequence or 0))
    return b"".join(parts)


def fitting(items: Sequence[_Item]) -> int:
    """Return how many of the items go into one response, at least one."""
    room = MAX_BYTES
    for count, item in enumerate(items):
        room -= item.ByteSize()
        if room < 0:
            return max(count, 1)
    return len(items)


def _read(request: ListRequest, token: str) -> Position | None:
    if len(token) > _MAX_TOKEN or not token.isascii():
        return None
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    # Several base64 texts can have the same meaning; only the canonical one is accepted.
    if _text(data) != token:
        return None
    found, data = data[:_HASH_BYTES], data[_HASH_BYTES:]
    if not hmac.compare_digest(found, _hash(request, data)):
        return None
    try:
        position = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return tuple(position) if isinstance(position, list) and all(map(_storable, position)) else None


def _storable(value: object) -> bool:
    """Return whether a value can come from the database: a 64-bit number from 0 on, or text."""
    if isinstance(value, int):
        return 0 <= value <= _MAX_NUMBER
    return isinstance(value, str) and not _UNSTORABLE.search(value)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _hash(request: ListRequest, data: bytes) -> bytes:
    """Return the hash over a position and all of the request that decides what is listed."""
    filter_ = type(request)()
    cast("Any", filter_).CopyFrom(request)
    filter_.page_size = 0
    filter_.page_token = ""
    message = cast("Message", filter_)
    digest = hashlib.blake2b(key=_KEY, digest_size=_HASH_BYTES)
    name = message.DESCRIPTOR.full_name.encode()
    for part in (name, message.SerializeToString(deterministic=True), data):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()
