"""Own the house that the console's tests are in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.console.house import House, open_house


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """A guarded ledger with one tenant, and a console of it."""
    async with open_house(database_url, tmp_path) as found:
        yield found
