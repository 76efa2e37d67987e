"""The Python clients, async and blocking, do what docs/clients.md says, against a real server."""

from __future__ import annotations

import asyncio

import pytest

from tests.clients.drivers import DRIVERS
from tests.clients.killing import CALLS, KILLS, Killer, by_async, by_blocking
from tests.clients.scenario import STEPS, Scenario, over_http
from tests.clients.stack import TENANT, Stack


@pytest.fixture(params=sorted(DRIVERS))
def way(request: pytest.FixtureRequest) -> str:
    """Which of the clients."""
    assert isinstance(request.param, str)
    return request.param


async def test_scenario(own_stack: Stack, way: str) -> None:
    """Every step of the story, as each client has it."""
    driver = DRIVERS[way](own_stack.target, TENANT)
    try:
        assert await Scenario(driver, TENANT, over_http(own_stack.control)).run() == len(STEPS)
    finally:
        await driver.close()


async def test_server_is_killed_ten_times(client_stack: Stack, way: str) -> None:
    """Each call has its effect once, none fails, and a watch beside them sees each record once."""
    killer = Killer(client_stack.control)
    if way == "async":
        seen, balance = await by_async(client_stack.fragile_target, way, killer.answered)
    else:
        seen, balance = await asyncio.to_thread(
            by_blocking, client_stack.fragile_target, way, killer.answered
        )

    assert killer.kill_count == KILLS
    assert balance == CALLS
    assert sorted(seen, key=int) == [str(number) for number in range(CALLS)]
