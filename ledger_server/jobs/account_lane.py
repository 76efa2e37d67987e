"""Owns the lane of one provider account: it finds the owed calls of all tenants and makes them in turn.

Each account has its own lane, so a provider that hangs delays no other account. Tenants take turns. A call is
claimed only when its turn has come, so no call waits while its lease runs.
"""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog

from ledger_server.domain.clock import Clock
from ledger_server.domain.ids import TenantKey
from ledger_server.jobs import metrics
from ledger_server.jobs.breaker import Breaker
from ledger_server.jobs.limits import DispatchLimits
from ledger_server.jobs.proof import Gate
from ledger_server.store import outbox_store
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.outbox_store import ClaimedCall, DueCall

log = structlog.get_logger()

_PAGE: Final = 512
_PER_TENANT: Final = 32
_MOST_PAGES: Final = 16
_SHORTEST_WAIT: Final = 0.01


class AccountLane:
    """Makes the calls that are owed to one provider account."""

    def __init__(
        self,
        provider: str,
        pool: Pool,
        clock: Clock | None,
        limits: DispatchLimits,
        *,
        step: Callable[[DueCall, ClaimedCall], Awaitable[bool | None]],
        gate: Gate,
        tenants: Sequence[TenantKey] | None,
    ) -> None:
        """Make a lane; `step` takes a claimed call further and returns whether the provider was heard."""
        self._provider: Final = provider
        self._pool = pool
        self._clock = clock
        self._limits = limits
        self._step = step
        self._gate = gate
        self._tenants = tenants
        self._breaker = Breaker(
            threshold=limits.silences,
            first_pause_seconds=limits.first_break_seconds,
            max_pause_seconds=limits.max_break_seconds,
        )
        self._waiting: OrderedDict[TenantKey, deque[DueCall]] = OrderedDict()
        self._known: set[tuple[TenantKey, int]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._look = True
        self._next_look = 0.0
        self._stopped = ""
        self._made_count = 0
        self._loop_task: asyncio.Task[None] | None = None
        metrics.CIRCUIT_OPEN.labels(provider=provider).set(0)
        metrics.waits(provider, calls=0, stopped=0, oldest_seconds=0.0)

    def start(self) -> None:
        """Begin in the background."""
        self._loop_task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; a call under way is abandoned as by a crash, and its outcome is found out later."""
        tasks = [*self._tasks, *([self._loop_task] if self._loop_task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def look(self) -> None:
        """Look at once: something is owed."""
        self._look = True
        self._wake.set()

    def look_after(self, seconds: float) -> None:
        """Look again when a call's rest is over, if that is before the next regular look."""
        self._next_look = min(self._next_look, asyncio.get_running_loop().time() + seconds)
        self._wake.set()

    async def make_due(self) -> int:
        """Make all due calls; return how many were claimed."""
        before = self._made_count
        while await self._fill():
            while self._waiting and self._begin():
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._waiting:
                break
            while self._tasks:
                await asyncio.wait(self._tasks)
        while self._tasks:
            await asyncio.wait(self._tasks)
        return self._made_count - before

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if self._look or loop.time() >= self._next_look:
                self._look = False
                # Random, so that processes that were started together don't look at the same time.
                spread = random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret
                self._next_look = loop.time() + self._limits.pause_seconds * spread
                try:
                    await self._fill()
                except CONNECTION_ERRORS as error:
                    log.warning(
                        "owed calls could not be looked for", provider=self._provider, error=repr(error)
                    )
                except Exception:
                    log.exception("owed calls could not be looked for", provider=self._provider)
            self._begin()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_seconds(loop.time())):
                    await self._wake.wait()

    def _wait_seconds(self, now: float) -> float:
        wait = max(_SHORTEST_WAIT, self._next_look - now)
        left = self._breaker.pause_left(now)
        return min(wait, max(_SHORTEST_WAIT, left)) if self._waiting and left else wait

    async def _fill(self) -> bool:
        """Find what is due; return whether anything waits."""
        stopped = await self._gate()
        if stopped != self._stopped:
            log.warning("outbound calls", provider=self._provider, stopped=stopped or "no more")
            self._stopped = stopped
        if stopped:
            self._drop_waiting()
            return False
        now = None if self._clock is None else self._clock()
        full: list[TenantKey] | None = None
        for _ in range(_MOST_PAGES):
            before, full = full, self._full()
            if full == before:
                break  # a further query would only find the same calls again
            found = await outbox_store.due(
                self._pool, self._provider, now, full=full, tenants=self._tenants, limit=_PAGE
            )
            for call in found:
                self._add(call)
            if len(found) < _PAGE:
                break
        return bool(self._waiting)

    def _full(self) -> list[TenantKey]:
        return sorted(key for key, calls in self._waiting.items() if len(calls) >= _PER_TENANT)

    def _add(self, call: DueCall) -> None:
        if (call.key, call.number) in self._known:
            return
        calls = self._waiting.setdefault(call.key, deque())
        if len(calls) < _PER_TENANT:
            calls.append(call)
            self._known.add((call.key, call.number))

    def _drop_waiting(self) -> None:
        for calls in self._waiting.values():
            self._known.difference_update((call.key, call.number) for call in calls)
        self._waiting.clear()

    def _begin(self) -> bool:
        """Begin calls while there is room; return whether any is under way."""
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._tasks) < self._limits.calls_at_once:
            if not self._breaker.allowed(loop.time(), len(self._tasks)):
                break
            key, calls = self._waiting.popitem(last=False)
            call = calls.popleft()
            if calls:
                self._waiting[key] = calls  # behind all others
            task = asyncio.create_task(self._make(call))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return bool(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._waiting:
            self._look = True
        self._wake.set()

    async def _make(self, due: DueCall) -> None:
        try:
            now = None if self._clock is None else self._clock()
            lease = timedelta(seconds=self._limits.lease_seconds)
            call = await outbox_store.claim(self._pool, due.key, due.number, now, lease=lease)
            if call is None:
                return
            self._made_count += 1
            heard = await self._step(due, call)
            if heard is not None:
                self._note(heard=heard)
        except CONNECTION_ERRORS as error:
            log.warning("a call was left for later", error=repr(error), tenant_id=due.tenant_id)
        finally:
            self._known.discard((due.key, due.number))

    def _note(self, *, heard: bool) -> None:
        now = asyncio.get_running_loop().time()
        if heard:
            if self._breaker.answered():
                log.warning("a provider answers again", provider=self._provider)
                metrics.CIRCUIT_OPEN.labels(provider=self._provider).set(0)
        elif self._breaker.silent(now):
            pause = round(self._breaker.pause_left(now), 1)
            log.error("a provider does not answer", provider=self._provider, asked_again_in_seconds=pause)
            metrics.CIRCUIT_OPEN.labels(provider=self._provider).set(1)
