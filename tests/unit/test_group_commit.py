"""Own the proof of whom a commit waits for."""

from __future__ import annotations

import asyncio

import pytest

from ledger_server.engine.lane.group_commit import GroupCommit
from tests.support.patience import HANG_SECONDS

GROUP = 100


@pytest.mark.parametrize(
    ("callers", "gathered", "complete"),
    [
        pytest.param(0, 1, True, id="nobody was here"),
        pytest.param(3, 1, True, id="too few to be a crowd"),
        pytest.param(4, 3, False, id="one of a crowd is missing"),
        pytest.param(4, 4, True, id="the crowd is back"),
        pytest.param(1_000, GROUP - 1, False, id="a large crowd, almost a group"),
        pytest.param(1_000, GROUP, True, id="a large crowd, a group"),
    ],
)
async def test_commit_waits_for_a_crowd_up_to_a_group(callers: int, gathered: int, *, complete: bool) -> None:
    """A commit waits for as many as were here at once, if those are many, and never beyond a group."""
    company = GroupCommit(GROUP, asyncio.Event().set)
    company.saw(callers)
    company.saw(0)
    assert (gathered >= company.enough) is complete


async def test_waiting_ends_and_whoever_stayed_away_is_not_waited_for_again() -> None:
    """When the time is over those who are here are all, for this commit and the next."""
    over = asyncio.Event()
    company = GroupCommit(GROUP, over.set)
    company.saw(50)
    company.wait()
    company.wait()
    async with asyncio.timeout(HANG_SECONDS):
        await over.wait()
    assert company.enough <= 10
    company.set_off(10)
    assert company.enough > 9
    assert company.enough <= 10


async def test_crowd_that_came_is_waited_for_again() -> None:
    """A commit that sets off in time leaves nothing of its waiting behind, but the crowd."""
    over, later = asyncio.Event(), asyncio.Event()
    company, larger = GroupCommit(GROUP, over.set), GroupCommit(GROUP, later.set)
    company.saw(5)
    larger.saw(50)
    company.wait()
    larger.wait()
    company.set_off(5)
    async with asyncio.timeout(HANG_SECONDS):
        await later.wait()  # which is waited for longer, so the other's time would be over
    assert not over.is_set()
    assert company.enough > 4
