"""Own the fixtures of the edge with a real ledger behind it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.service import Service
from webhook_edge.gateway import LedgerGateway


@pytest.fixture
async def gateway(server: Service) -> AsyncIterator[LedgerGateway]:
    """The way to the ledger."""
    opened = LedgerGateway(f"127.0.0.1:{server.server.port}")
    yield opened
    await opened.close()
