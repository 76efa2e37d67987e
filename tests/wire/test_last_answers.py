"""Own the proof of how long a server waits for the last answers to go out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.serving import Handlers
from tests.support.shares import ample_shares

SECONDS = 0.2
PAUSE_SECONDS = SECONDS / 2


class _Context:
    """A call whose status goes out when the test says so."""

    def __init__(self) -> None:
        self.sent: Callable[[], None] = lambda: None

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back when the status is out."""
        self.sent = lambda: callback(self)


def begun(count: int) -> tuple[Handlers, list[_Context]]:
    """Return handlers with calls whose work is done and whose status is not out."""
    handlers = Handlers([], RequestBudget(1), ample_shares(), write_seconds=1)
    contexts = [_Context() for _ in range(count)]
    for context in contexts:
        handlers._under_way.begin(context)  # type: ignore[arg-type]
    return handlers, contexts


@pytest.mark.parametrize("count", [0, 1, 8])
async def test_wait_for_answers_goes_on_while_they_go_out(count: int) -> None:
    """However long all of them take: a slow machine needs longer, and gets it."""
    handlers, contexts = begun(count)
    loop = asyncio.get_running_loop()
    for index, context in enumerate(contexts, 1):
        loop.call_later(index * PAUSE_SECONDS, context.sent)

    await handlers.until_sent(SECONDS)

    assert handlers.unsent == 0


@pytest.mark.parametrize("reading", [0, 3])
async def test_wait_for_answers_ends_for_who_does_not_read(reading: int) -> None:
    """Their status can't go out; the others have theirs by then."""
    handlers, contexts = begun(5)
    loop = asyncio.get_running_loop()
    for index, context in enumerate(contexts[:reading], 1):
        loop.call_later(index * PAUSE_SECONDS, context.sent)

    await handlers.until_sent(SECONDS)

    assert handlers.unsent == 5 - reading
