"""Test a failover under load, in its short form; `make failover` fails over as often as one likes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.failover.pair import Pair
from tests.failover.rounds import Failover, running_pair
from tests.support.randomness import SEED


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary and its synchronous standby."""
    with running_pair() as found:
        yield found


async def test_promote_standby_while_the_primary_stands_still_loses_and_doubles_nothing(
    pair: Pair, tmp_path: Path
) -> None:
    """Service comes back by itself; the old primary wakes up, is left alone, and no server starts on it."""
    log_file = tmp_path / "server.log"
    async with Failover.under_load(pair, log_file=log_file, randomness=random.Random(SEED)) as failover:
        await failover.round("paused")
        before = await asyncio.to_thread(pair.standby.ask, "SELECT sum(sequence) FROM tenants")
        # Worse than the first time: the new primary is gone too, and only the one that was replaced answers.
        await asyncio.to_thread(pair.primary.kill)
        await failover.until_logged("a primary that was replaced")
        await asyncio.to_thread(pair.primary.start)
        await failover.callers.wait_for(1)
        after = await asyncio.to_thread(pair.standby.ask, "SELECT sum(sequence) FROM tenants")
        assert after == before
