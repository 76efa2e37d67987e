"""Own the count of a lane's work: requests bound it, callers are who it waits for."""

from __future__ import annotations

import asyncio

import pytest

from ledger_server.domain.commands import ExpireHolds
from ledger_server.domain.errors import LaneFull
from ledger_server.engine.work import Request, Work
from ledger_server.engine.work_queue import WorkQueue


def work_of(size: int) -> Work:
    """Return work of one caller."""
    requests = [Request(ExpireHolds(numbers=()))] * size
    future = asyncio.get_running_loop().create_future()
    return Work(requests, atomic=False, deadline=None, future=future, submit_time=0.0)


async def test_caller_counts_once_however_much_it_asks_for() -> None:
    """From the queue through the lane and back, until it is answered."""
    queue = WorkQueue(capacity=10_000, patience_seconds=1.0)
    batch, single = work_of(1_000), work_of(1)
    for work in (batch, single):
        queue.put(work, "casino")
    assert (queue.callers, queue.waiting, queue.unanswered) == (2, 1_001, 1_001)
    assert queue.take(1_000, 0.0) == [batch]
    assert (queue.callers, queue.waiting, queue.unanswered) == (2, 1, 1_001)
    queue.put_back([batch])
    assert (queue.callers, queue.waiting, queue.unanswered) == (2, 1_001, 1_001)
    taken = queue.take(2_000, 0.0)
    assert taken == [batch, single]
    queue.answered(taken)
    assert (queue.callers, queue.waiting, queue.unanswered) == (0, 0, 0)


async def test_caller_who_went_away_counts_no_more() -> None:
    """Work whose future is done is dropped when it is taken."""
    queue = WorkQueue(capacity=10, patience_seconds=1.0)
    gone, here = work_of(2), work_of(3)
    for work in (gone, here):
        queue.put(work, "casino")
    gone.future.cancel()
    assert queue.take(10, 0.0) == [here]
    assert (queue.callers, queue.unanswered) == (1, 3)


async def test_bound_is_in_requests() -> None:
    """Few callers with large batches fill a lane too."""
    queue = WorkQueue(capacity=10, patience_seconds=1.0)
    queue.put(work_of(9), "casino")
    with pytest.raises(LaneFull):
        queue.put(work_of(2), "casino")
    assert (queue.callers, queue.unanswered) == (1, 9)
