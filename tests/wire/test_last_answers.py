"""Own the proof of how long a server waits for the last answers to go out."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.serving import Handlers
from tests.support.shares import ample_shares

SECONDS = 0.2
PAUSE_SECONDS = SECONDS / 2


class _Context:
    """A call whose status goes out when the test says so."""

    def __init__(self) -> None:
        self.is_sent = False

    def done(self) -> bool:
        """Whether the status is out."""
        return self.is_sent

    def sent(self) -> None:
        """Let the status be out."""
        self.is_sent = True


def begun(count: int) -> tuple[Handlers, list[_Context]]:
    """Return handlers with calls whose work is done and whose status is not out."""
    handlers = Handlers([], RequestBudget(1), ample_shares(), write_seconds=1)
    contexts = [_Context() for _ in range(count)]
    for context in contexts:
        handlers._under_way.count += 1
        handlers._under_way.end(context)  # type: ignore[arg-type]
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


@given(st.lists(st.booleans(), max_size=60))
def test_calls_whose_status_is_out_are_forgotten(steps: list[bool]) -> None:
    """In whatever order calls end (True) and their statuses go out, nobody who waits is missed."""
    handlers = Handlers([], RequestBudget(1), ample_shares(), write_seconds=1)
    waiting: list[_Context] = []
    for index, ends in enumerate(steps):
        if ends:
            waiting.append(_Context())
            handlers._under_way.count += 1
            handlers._under_way.end(waiting[-1])  # type: ignore[arg-type]
        elif waiting:
            waiting.pop(index % len(waiting)).sent()
        assert handlers.unsent == len(waiting)
    # Each further call brings one and looks at two, so about as many stay as there are that wait.
    for _ in range(4 * len(steps)):
        last = _Context()
        last.sent()
        handlers._under_way.count += 1
        handlers._under_way.end(last)  # type: ignore[arg-type]
    assert len(handlers._under_way._ended) <= 2 * len(waiting) + 2
