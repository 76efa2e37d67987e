"""Own the count of a lane's work: requests and bytes bound it, callers are who it waits for."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_server.domain.errors import LaneFull
from ledger_server.domain.state.commands import ExpireHolds
from ledger_server.engine.lane.work import Request, Work
from ledger_server.engine.lane.work_queue import WorkQueue

LARGE = 1 << 40


def work_of(size: int, *, size_bytes: int = 1, deadline: float | None = None) -> Work:
    """Return work of one caller; each of its requests has so many bytes."""
    requests = [Request(ExpireHolds(numbers=()), size=size_bytes)] * size
    future = asyncio.get_running_loop().create_future()
    return Work(requests, atomic=False, deadline=deadline, future=future, submit_time=0.0)


async def test_caller_counts_once_however_much_it_asks_for() -> None:
    """From the queue through the lane and back, until it is answered."""
    queue = WorkQueue(capacity=10_000, patience_seconds=1.0, byte_capacity=LARGE)
    batch, single = work_of(1_000), work_of(1)
    for work in (batch, single):
        queue.put(work, "casino")
    assert (queue.callers, queue.waiting, queue.unanswered) == (2, 1_001, 1_001)
    assert queue.take(1_000, 0.0, size_bytes=LARGE) == [batch]
    assert (queue.callers, queue.waiting, queue.unanswered) == (2, 1, 1_001)
    queue.put_back([batch])
    assert (queue.callers, queue.waiting, queue.unanswered) == (2, 1_001, 1_001)
    taken = queue.take(2_000, 0.0, size_bytes=LARGE)
    assert taken == [batch, single]
    queue.answered(taken)
    assert (queue.callers, queue.waiting, queue.unanswered) == (0, 0, 0)


async def test_caller_who_went_away_counts_no_more() -> None:
    """Work whose future is done is dropped when it is taken."""
    queue = WorkQueue(capacity=10, patience_seconds=1.0, byte_capacity=LARGE)
    gone, here = work_of(2), work_of(3)
    for work in (gone, here):
        queue.put(work, "casino")
    gone.future.cancel()
    assert queue.take(10, 0.0, size_bytes=LARGE) == [here]
    assert (queue.callers, queue.unanswered) == (1, 3)


async def test_bound_is_in_requests() -> None:
    """Few callers with large batches fill a lane too."""
    queue = WorkQueue(capacity=10, patience_seconds=1.0, byte_capacity=LARGE)
    queue.put(work_of(9), "casino")
    with pytest.raises(LaneFull):
        queue.put(work_of(2), "casino")
    assert (queue.callers, queue.unanswered) == (1, 9)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "take", "put back", "answer", "cancel", "expire", "outage"]),
        st.integers(1, 4),
        st.integers(1, 5_000),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.integers(2_000, 20_000))
def test_bytes_are_those_of_what_is_not_answered(steps: list[tuple[str, int, int]], most: int) -> None:
    """Whatever happens to work, the queue counts what it holds, and holds its bound or one work at most."""
    asyncio.run(count_along(steps, most))


async def count_along(steps: list[tuple[str, int, int]], most: int) -> None:
    """Do the steps and compare the queue's count with a list of what it holds."""
    queue = WorkQueue(capacity=1_000, patience_seconds=1.0, byte_capacity=most)
    waiting: list[Work] = []
    taken: list[Work] = []
    for step, size, size_bytes in steps:
        work = work_of(size, size_bytes=size_bytes, deadline=0.5)
        if step == "put":
            held = sum(each.size for each in [*waiting, *taken])
            fits = (not waiting and not taken) or held + work.size <= most
            if fits:
                queue.put(work, "casino")
                waiting.append(work)
            else:
                with pytest.raises(LaneFull):
                    queue.put(work, "casino")
        elif step in {"take", "expire"}:
            got = queue.take(size, 1.0 if step == "expire" else 0.0, size_bytes=size_bytes)
            assert len(got) <= 1 or sum(each.size for each in got) <= size_bytes
            taken += got
            waiting = [each for each in waiting if each not in got and each in queue._works]
        elif step == "put back" and taken:
            queue.put_back(taken)
            waiting, taken = [*taken, *waiting], []
        elif step == "answer" and taken:
            queue.answered(taken)
            taken = []
        elif step == "cancel" and waiting:
            waiting[0].future.cancel()
        elif step == "outage":
            queue.refuse_overdue(2.0)
            waiting = []
        assert queue.unanswered_bytes == sum(each.size for each in [*waiting, *taken])
        assert queue.unanswered_bytes <= most or len([*waiting, *taken]) == 1
    for each in [*waiting, *taken]:
        each.future.cancel()
