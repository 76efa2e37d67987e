"""Own the fixtures of provider tests: a running provider and adapters that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ledger_server.providers.adapter import Adapter
from tests.support.clock import FakeClock
from tests.support.providers import NAMES, PATIENT_SECONDS, ProviderUnderTest, running


class Adapters:
    """Makes adapters and closes them."""

    def __init__(self, provider: ProviderUnderTest) -> None:
        self._provider = provider
        self._made: list[Adapter] = []

    def make(
        self,
        *,
        timeout_seconds: float = PATIENT_SECONDS,
        right_key: bool = True,
        address: str | None = None,
    ) -> Adapter:
        """Make an adapter of the provider."""
        adapter = self._provider.make_adapter(
            timeout_seconds=timeout_seconds, right_key=right_key, address=address
        )
        self._made.append(adapter)
        return adapter

    async def close(self) -> None:
        """Close them all."""
        for adapter in self._made:
            await adapter.close()


@pytest.fixture(params=NAMES)
async def provider(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[ProviderUnderTest]:
    """Each of the three providers in turn, running."""
    async with running(request.param, clock) as provider:
        yield provider


@pytest.fixture
async def adapters(provider: ProviderUnderTest) -> AsyncIterator[Adapters]:
    """What makes adapters of the provider."""
    made = Adapters(provider)
    yield made
    await made.close()


@pytest.fixture
def adapter(adapters: Adapters) -> Adapter:
    """A patient adapter of the provider."""
    return adapters.make()
