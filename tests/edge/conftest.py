"""Own the fixtures of the edge's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.edge.harness import Edge, FakeLedger, running_edge


@pytest.fixture
def fake_ledger() -> FakeLedger:
    """A ledger that takes everything."""
    return FakeLedger()


@pytest.fixture
async def edge(fake_ledger: FakeLedger) -> AsyncIterator[Edge]:
    """An edge with one endpoint."""
    async with running_edge(ledger=fake_ledger) as running:
        yield running
