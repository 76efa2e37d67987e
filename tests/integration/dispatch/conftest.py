"""Own what the tests of the dispatcher share: a ledger on a real database, and a provider that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mock_psp.server import MockPsp, serve
from tests.integration.dispatch.engine_cashier import EngineCashier, cashier_on


@pytest.fixture
async def psp() -> AsyncIterator[MockPsp]:
    """A provider whose payouts and refunds finish by themselves; its events go nowhere."""
    async with serve(token="secret", seed=1) as running:
        running.knobs.settle_seconds = 0.0
        yield running


@pytest.fixture
async def cashier(database_url: str) -> AsyncIterator[EngineCashier]:
    """A tenant with a player who has 1,000.00 EUR, driven without RPCs."""
    async with cashier_on(database_url) as opened:
        yield opened
