"""Owns the rhythm of a job that looks after tenants: at once where something happened, all now and then."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from ledger_server.domain.errors import Refused
from ledger_server.store import sweep_store
from ledger_server.store.database import CONNECTION_ERRORS, Pool

log = structlog.get_logger()

_SHORTEST_WAIT = 0.01


class Rounds:
    """Looks at tenants in the background until it is stopped."""

    def __init__(
        self, job: str, look: Callable[[str], Awaitable[object]], pool: Pool, pause_seconds: float
    ) -> None:
        self._job = job
        self._look = look
        self._pool = pool
        self._pause_seconds = pause_seconds
        self._waiting: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop, in the middle of a look if need be."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look_at(self, tenant_id: str) -> None:
        """Look at a tenant at once."""
        self._waiting.add(tenant_id)
        self._wake.set()

    async def sweep(self) -> None:
        """Look at all tenants once."""
        tenant_id = ""
        while True:
            tenants = await sweep_store.tenants_after(self._pool, tenant_id)
            if not tenants:
                return
            for tenant_id, _ in tenants:  # the last id is where the next page begins
                await self._look(tenant_id)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_sweep = loop.time()
        while True:
            try:
                if loop.time() >= next_sweep:
                    # Spread out, so that processes started together don't sweep together.
                    spread = random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret
                    next_sweep = loop.time() + self._pause_seconds * spread
                    await self.sweep()
                while self._waiting:
                    await self._look(self._waiting.pop())
            except (*CONNECTION_ERRORS, Refused) as error:
                log.warning("a look at tenants was cut short", job=self._job, error=repr(error))
            except Exception:
                log.exception("a look at tenants failed", job=self._job)
            self._wake.clear()
            if not self._waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(_SHORTEST_WAIT, next_sweep - loop.time())):
                        await self._wake.wait()
