"""Own the taking of several items at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")


def together(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Yield the items, up to so many at once; where taking one fails, those before it come first."""
    left = iter(items)
    while True:
        found: list[_Item] = []
        try:
            found.extend(islice(left, size))  # what was taken stays in the list if the next one fails
        except Exception:
            if found:
                yield found
            raise
        if not found:
            return
        yield found
