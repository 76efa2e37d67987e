"""Owns the cutting of lists into pages, by the server's bounds."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from ledger_server.store.queries.rendering import PAGE_BYTES, Page

_Item = TypeVar("_Item")
_Position = TypeVar("_Position")


def page_of(
    found: Iterable[_Item],
    size: int,
    position: Callable[[_Item], _Position],
    *,
    newest: int,
    bytes_of: Callable[[_Item], int] = lambda _: 0,
) -> Page[_Item, _Position]:
    """Return the first page of what was found, in reading order.

    Args:
        newest: the tenant's newest record.
        bytes_of: the length of an item where a page is bounded in bytes.
    """
    items: list[_Item] = []
    taken = 0
    for item in found:
        if taken >= PAGE_BYTES or len(items) == size:
            return Page(items, position(items[-1]), newest)
        items.append(item)
        taken += bytes_of(item)
    # A page that is full in bytes is followed by another one, even if that is empty.
    return Page(items, position(items[-1]) if taken >= PAGE_BYTES else None, newest)
