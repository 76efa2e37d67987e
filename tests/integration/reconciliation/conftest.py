"""Own the world that the tests of runs share, and the summary of what was found among many payments."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from _pytest.terminal import TerminalReporter

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


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print precision and recall of each class."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in getattr(report, "user_properties", []):
            if name == "faults found":
                payments, records, each, scores = value
                terminalreporter.section("seeded faults")
                terminalreporter.write_line(
                    f"{payments:,} payments, {records:,} records, {each} faults of each class"
                )
                for kind, (precision, recall) in scores.items():
                    terminalreporter.write_line(f"{kind:22} precision {precision:.3f}  recall {recall:.3f}")
