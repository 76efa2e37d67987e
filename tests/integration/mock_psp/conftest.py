"""Own what the tests of the running provider share: the provider, and a caller of it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from mock_psp.server import MockPsp, serve
from tests.support.clock import FakeClock

TOKEN = "the-token"


@pytest.fixture
async def psp(clock: FakeClock) -> AsyncIterator[MockPsp]:
    """A provider on a free port, at which nothing happens by itself."""
    async with serve(token=TOKEN, clock=clock, seed=1) as running:
        running.knobs.auto_complete = False
        yield running


@pytest.fixture
async def caller(psp: MockPsp) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who knows the token, and closes the connection after each call."""
    async with httpx.AsyncClient(
        base_url=psp.url,
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=20,
        trust_env=False,
        verify=False,  # Nothing here is encrypted, and reading the machine's certificates takes its time.
        limits=httpx.Limits(max_keepalive_connections=0),
    ) as client:
        yield client
