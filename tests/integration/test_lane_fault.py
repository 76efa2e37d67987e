"""Own the promise that a fault of a lane itself keeps nobody waiting, and costs nobody his answer."""

from __future__ import annotations

import asyncio

import pytest

from ledger_server.domain.errors import Internal
from ledger_server.engine.lane.work_queue import WorkQueue
from tests.integration.test_due_holds import ask_all, opening
from tests.support.clock import FakeClock
from tests.support.engine import TENANT, assert_coherent, engine
from tests.support.patience import HANG_SECONDS
from tests.support.tenant_lock import head_locked, wait_until_lane_waits

# More than a lane needs to decide while a commit is under way.
BEHIND = 40


async def test_fault_of_a_lane_answers_those_whose_commit_is_under_way(
    database_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hear how it ended; those who wait behind are told of the fault; the next is served."""
    failed = asyncio.Event()

    def fail(*_: object, **__: object) -> None:
        failed.set()
        raise RuntimeError("a fault of the lane")

    async with engine(database_url, clock) as running, asyncio.timeout(HANG_SECONDS):
        await running.create_tenant()
        async with head_locked(database_url, TENANT):
            begun = asyncio.create_task(ask_all(running, [opening("ann")]))
            await wait_until_lane_waits(database_url)
            with monkeypatch.context() as broken:
                broken.setattr(WorkQueue, "take", fail)
                work = [opening(f"other-{number}") for number in range(BEHIND)]
                behind = asyncio.create_task(running.ledger.submit(TENANT, work))
                await failed.wait()

        await begun
        with pytest.raises(Internal):
            await behind
        await ask_all(running, [opening("other-0")])
    await assert_coherent(database_url, clock)
