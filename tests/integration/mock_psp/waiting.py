"""Own the waiting for what happens soon."""

import asyncio
from collections.abc import Callable

PATIENCE_SECONDS = 180
LOOK_SECONDS = 0.01


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds; a test that waits in vain fails."""
    for _ in range(int(PATIENCE_SECONDS / LOOK_SECONDS)):
        if condition():
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise AssertionError("it has not come to be")
