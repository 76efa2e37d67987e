"""Own the proof of how long a server waits for the last answers to go out."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.serving import Handlers
from tests.support.shares import ample_shares

SECONDS = 0.2
PAUSE_SECONDS = SECONDS / 2


class Call:
    """A call whose work is done, and whose task ends when the test says so: its status is out then."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._out = asyncio.Event()
        self.send = self._out.set
        self.task = asyncio.ensure_future(self._serve())

    async def _serve(self) -> None:
        self._handlers._under_way.count += 1
        self._handlers._under_way.end()
        await self._out.wait()


async def begun(count: int) -> tuple[Handlers, list[Call]]:
    """Return handlers with calls whose work is done and whose status is not out."""
    handlers = Handlers([], RequestBudget(1), ample_shares(), write_seconds=1)
    calls = [Call(handlers) for _ in range(count)]
    await asyncio.sleep(0)
    return handlers, calls


@pytest.mark.parametrize("count", [0, 1, 8])
async def test_wait_for_answers_goes_on_while_they_go_out(count: int) -> None:
    """However long all of them take: a slow machine needs longer, and gets it."""
    handlers, calls = await begun(count)
    loop = asyncio.get_running_loop()
    for index, call in enumerate(calls, 1):
        loop.call_later(index * PAUSE_SECONDS, call.send)

    await handlers.until_sent(SECONDS)

    assert handlers.unsent == 0


@pytest.mark.parametrize("reading", [0, 3])
async def test_wait_for_answers_ends_for_who_does_not_read(reading: int) -> None:
    """Their status can't go out; the others have theirs by then."""
    handlers, calls = await begun(5)
    loop = asyncio.get_running_loop()
    for index, call in enumerate(calls[:reading], 1):
        loop.call_later(index * PAUSE_SECONDS, call.send)

    await handlers.until_sent(SECONDS)

    assert handlers.unsent == 5 - reading
    for call in calls:
        call.task.cancel()


@settings(deadline=None)
@given(st.lists(st.sampled_from(["ends", "sent", "cut"]), max_size=60))
def test_calls_whose_status_is_out_are_forgotten(steps: list[str]) -> None:
    """Whoever waits is counted, in whatever order calls end, are sent or cut off; few others stay."""

    async def run() -> None:
        handlers, waiting = await begun(0)
        for index, step in enumerate(steps):
            if step == "ends":
                waiting.append(Call(handlers))
            elif waiting:
                over = waiting.pop(index % len(waiting))
                _ = over.send() if step == "sent" else over.task.cancel()
                await asyncio.wait([over.task])
            await asyncio.sleep(0)
            assert handlers.unsent == len(waiting)
        # Each further call brings one and looks at two, so about as many stay as there are that wait.
        for _ in range(4 * len(steps)):
            last = Call(handlers)
            last.send()
            await asyncio.wait([last.task])
        assert len(handlers._under_way._ended) <= 2 * len(waiting) + 2
        for call in waiting:
            call.task.cancel()

    asyncio.run(run())
