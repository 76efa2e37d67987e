"""Owns the id of the call under way, which its log lines have: the caller's own, or one that is made."""

import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Final

REQUEST_ID: Final = "x-request-id"
"""The metadata in which callers send an id."""
LONGEST: Final = 64

_ID: ContextVar[str] = ContextVar("REQUEST_ID", default="")


def request_id(metadata: Iterable[tuple[str, Any]]) -> str:
    """Return the id of the call under way.

    Args:
        metadata: the call's, which is looked at once.
    """
    known = _ID.get()
    if not known:
        known = next((text for name, text in metadata if name == REQUEST_ID and _is_id(text)), "")
        known = known or secrets.token_hex(16)
        _ID.set(known)
    return known


def _is_id(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= LONGEST and text.isascii() and text.isprintable()
