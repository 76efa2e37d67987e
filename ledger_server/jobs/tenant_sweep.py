"""Owns the rhythm of a job over tenants: at once after a commit, else when a tenant has something due.

A sweep asks once for all tenants that have something due. Each of them is then looked at by itself: a tenant
that is locked, busy or broken is tried again later, after twice the wait each time but at least once a pause,
and delays no other tenant. A tenant is forgotten only after a look that has done its work.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from msgspec import Struct

from ledger_server.domain.errors import Refused
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.store import sweep_store
from ledger_server.store.database import CONNECTION_ERRORS, Pool

log = structlog.get_logger()

_MAX_DOUBLINGS: Final = 16

Look = Callable[[str], Awaitable[bool | None]]
"""Looks after a tenant; returns True if there is more to do at once."""
FindDue = Callable[[], Awaitable[Sequence[str]]]
"""Returns the tenants that have something due."""


class RoundLimits(Struct, frozen=True, kw_only=True):
    """How tenants are looked at.

    Attributes:
        looks_at_once: how many tenants are looked at concurrently.
        long_looks: how many more looks may take longer than `turn_seconds` without delaying others.
        look_seconds: after this time a look is given up, to be tried again.
        turn_seconds: after this time a look goes on beside the others, as a long look.
        first_back_off_seconds: how long a tenant is left alone after a look that failed.
        tries_per_attempt: after a failure, only each n-th look goes to the lane in any case; the other looks
            first check whether the head is locked, since a lane that waits for a lock keeps a connection from
            the other lanes.
    """

    looks_at_once: int = 4
    long_looks: int = 64
    look_seconds: float = 60.0
    turn_seconds: float = 1.0
    first_back_off_seconds: float = 0.25
    tries_per_attempt: int = 4


class _HeadLocked(Exception):
    """Another session keeps the tenant's head locked."""


class Rounds:
    """Looks at tenants in the background until it is stopped."""

    def __init__(
        self,
        job: str,
        look: Look,
        find_due: FindDue,
        pool: Pool,
        pause_seconds: float,
        *,
        limits: RoundLimits | None = None,
    ) -> None:
        self._job = job
        self._look = look
        self._find_due = find_due
        self._pool = pool
        self._pause_seconds = pause_seconds
        self._limits = limits or RoundLimits()
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        # A tenant is in one of these sets: to be looked at, being looked at, or left alone after a failure.
        self._queued: set[str] = set()
        self._running: set[str] = set()
        self._resting: dict[str, asyncio.TimerHandle] = {}
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._long: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin in the background."""
        workers = [self._work() for _ in range(self._limits.looks_at_once)]
        self._tasks.update(asyncio.create_task(each) for each in (self._run(), *workers))

    async def stop(self) -> None:
        """Stop, in the middle of a look if need be."""
        for timer in self._resting.values():
            timer.cancel()
        self._resting.clear()
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.difference_update(tasks)

    def look_at(self, tenant_id: str) -> None:
        """Look at a tenant at once, or once its rest after a failure is over."""
        if tenant_id in self._running:
            self._again.add(tenant_id)
        elif tenant_id not in self._queued and tenant_id not in self._resting:
            self._queued.add(tenant_id)
            self._queue.put_nowait(tenant_id)

    async def sweep(self) -> None:
        """Find all tenants that have something due, and have them looked at."""
        for tenant_id in await self._find_due():
            self.look_at(tenant_id)

    async def _run(self) -> None:
        while True:
            try:
                await self.sweep()
            except (*CONNECTION_ERRORS, Refused) as error:
                log.warning("a sweep was cut short", job=self._job, error=repr(error))
            except Exception:
                log.exception("a sweep failed", job=self._job)
            # Random, so that processes that were started together don't sweep at the same time.
            await asyncio.sleep(self._pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret

    async def _work(self) -> None:
        """Look at one tenant after the other; a look that takes long goes on by itself."""
        while True:
            tenant_id = await self._queue.get()
            self._queued.discard(tenant_id)
            self._running.add(tenant_id)
            task = asyncio.create_task(self._visit(tenant_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            done, _ = await asyncio.wait({task}, timeout=self._limits.turn_seconds)
            if done:
                continue
            self._long.add(task)
            task.add_done_callback(self._long.discard)
            while len(self._long) > self._limits.long_looks:
                await asyncio.wait(set(self._long), return_when=asyncio.FIRST_COMPLETED)

    async def _visit(self, tenant_id: str) -> None:
        """Look at a tenant once; if that fails, the tenant is kept for another look."""
        more: bool | None = False
        try:
            await self._check_head(tenant_id)
            async with asyncio.timeout(self._limits.look_seconds):
                more = await self._look(tenant_id)
        except _HeadLocked:
            self._rest(tenant_id)
            log.info("a tenant's head is locked", job=self._job, tenant_id=tenant_id)
        except (*CONNECTION_ERRORS, Refused) as error:  # a TimeoutError is an OSError too
            self._rest(tenant_id)
            log.warning("a look at a tenant failed", job=self._job, tenant_id=tenant_id, error=repr(error))
        except Exception:
            self._rest(tenant_id)
            log.exception("a look at a tenant failed", job=self._job, tenant_id=tenant_id)
        else:
            self._failures.pop(tenant_id, None)
        finally:
            self._running.discard(tenant_id)
        if more or tenant_id in self._again:
            self._again.discard(tenant_id)
            self.look_at(tenant_id)

    async def _check_head(self, tenant_id: str) -> None:
        """Leave a tenant alone whose head is locked, once there is reason to think so."""
        failures = self._failures.get(tenant_id, 0)
        suspicious = failures % self._limits.tries_per_attempt if failures else bool(self._long)
        if suspicious and await sweep_store.head_is_locked(self._pool, tenant_key(TenantId(tenant_id))):
            raise _HeadLocked

    def _rest(self, tenant_id: str) -> None:
        """Leave a tenant alone for a while, and look at it then."""
        failures = self._failures[tenant_id] = self._failures.get(tenant_id, 0) + 1
        doublings = min(failures - 1, _MAX_DOUBLINGS)
        pause = min(self._limits.first_back_off_seconds * 2**doublings, self._pause_seconds)
        pause *= random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret
        self._resting[tenant_id] = asyncio.get_running_loop().call_later(pause, self._rested, tenant_id)

    def _rested(self, tenant_id: str) -> None:
        del self._resting[tenant_id]
        self.look_at(tenant_id)
