"""Own how a coroutine is made to stand still at any one of its awaits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any


class StandingStill:
    """Runs a coroutine and holds it once: when what it awaits is there, before it goes on.

    Attributes:
        held: whether it came to that await.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], at: int, meanwhile: Callable[[], Awaitable[None]]
    ) -> None:
        self._coroutine = coroutine
        self._left = at
        self._meanwhile = meanwhile
        self.held = False

    def __await__(self) -> Generator[Any, Any, None]:
        """Go on as the coroutine does, and stand still at the chosen await."""
        error: BaseException | None = None
        while True:
            try:
                awaited = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration:
                return
            try:
                error = None
                yield awaited
            except BaseException as thrown:  # noqa: BLE001  # it belongs to the coroutine, whatever it is
                error = thrown
            if not self._left:
                self.held = True
                yield from self._meanwhile().__await__()
            self._left -= 1
