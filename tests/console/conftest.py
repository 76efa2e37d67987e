"""Own the house that the console's tests are in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.console.house import House, open_house
from tests.support.postgres import Databases
from tests.support.tools import chromium, require


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """A guarded ledger with one tenant, and a console of it."""
    async with open_house(database_url, tmp_path) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser_house(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """One house for all of these tests."""
    with databases.fresh() as url:
        async with open_house(url, tmp_path_factory.mktemp("house")) as house:
            await house.funded()
            yield house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One browser, in which each test has windows of its own."""
    program = require(chromium)
    async with async_playwright() as playwright:
        # As root it can't have a sandbox, and it opens our own pages alone.
        found = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield found
        await found.close()
