"""Own the world that the tests of runs share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.reconciliation.world import World, world_on
from tests.support.clock import FakeClock


@pytest.fixture
async def world(database_url: str, clock: FakeClock) -> AsyncIterator[World]:
    """A tenant whose provider tells it everything by webhooks."""
    async with world_on(database_url, clock) as opened:
        yield opened


@pytest.fixture
async def two_accounts(database_url: str, clock: FakeClock) -> AsyncIterator[World]:
    """A world with two more provider accounts: one where nothing happens, and one of another tenant."""
    async with world_on(database_url, clock, quiet=False) as opened:
        yield opened
