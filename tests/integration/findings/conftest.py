"""Own the two processes on one database through which findings are reported and looked after."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.clock import FakeClock
from tests.support.engine import Engine, engine


@pytest.fixture
async def first(database_url: str, clock: FakeClock) -> AsyncIterator[Engine]:
    """An engine whose tenant is there."""
    async with engine(database_url, clock) as running:
        await running.create_tenant()
        yield running


@pytest.fixture
async def second(first: Engine, database_url: str, clock: FakeClock) -> AsyncIterator[Engine]:
    """Another one on the same database, which knows nothing of the first."""
    async with engine(database_url, clock) as running:
        yield running
