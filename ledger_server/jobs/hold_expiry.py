"""Owns the sweeper: records the end of holds whose time has come on accounts that nobody touches.

Correctness does not depend on it: a lane expires what is due before it touches an account, and reads
show a due hold as released. Several processes may sweep at once; the lanes decide.
"""

import asyncio
import random
from typing import Final

import structlog

from ledger_server.domain.clock import Clock
from ledger_server.domain.commands import ExpireHolds
from ledger_server.domain.errors import Refused
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.work import Request
from ledger_server.store import sweep_store
from ledger_server.store.database import CONNECTION_ERRORS, Pool

log = structlog.get_logger()

_CHUNK: Final = 500


class HoldExpiry:
    """Looks through all tenants for due holds, again and again."""

    def __init__(self, ledger: Ledger, pool: Pool, clock: Clock, pause_seconds: float) -> None:
        self._ledger = ledger
        self._pool = pool
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin sweeping in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop sweeping."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def sweep(self) -> int:
        """Look through all tenants once; return how many holds were handed to their lanes."""
        count = 0
        tenant_id = ""
        while True:
            tenants = await sweep_store.tenants_after(self._pool, tenant_id)
            if not tenants:
                return count
            for tenant_id, key in tenants:  # the last id is where the next page begins
                numbers = await sweep_store.due_hold_numbers(self._pool, key, self._clock(), limit=_CHUNK)
                if numbers:
                    command = ExpireHolds(numbers=tuple(numbers))
                    await self._ledger.submit(tenant_id, [Request(command)])
                    count += len(numbers)

    async def _run(self) -> None:
        while True:
            # Spread out, so that processes started together don't sweep together.
            pause = self._pause_seconds * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret
            await asyncio.sleep(pause)
            try:
                await self.sweep()
            except (*CONNECTION_ERRORS, Refused) as error:
                log.warning("a sweep for due holds was cut short", error=repr(error))
            except Exception:
                log.exception("a sweep for due holds failed")
