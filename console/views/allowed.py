"""Owns what a page leaves out: what the ledger does not let its person read."""

from collections.abc import Awaitable
from typing import TypeVar

from defter_client import AccessDenied, LedgerError

_Answer = TypeVar("_Answer")


async def if_allowed(asking: Awaitable[_Answer]) -> _Answer | None:
    """Return an answer, or None where the ledger does not let the person have it or has nothing.

    Raises:
        LedgerError: the ledger could not be asked.
    """
    try:
        return await asking
    except AccessDenied:
        return None
    except LedgerError as error:
        if error.reason.endswith("_NOT_FOUND") or error.kind == "request":
            return None
        raise
