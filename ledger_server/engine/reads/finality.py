"""Owns the finality of instants for reads by time: a read waits until its instant is final, or makes it so.

Where a tenant is written to, the read waits for the commit under way: it may bring records of that instant.
Between two commits of this process, and where nobody writes, the instant is made final in the head's row
(`final_time.py`). Where other processes write, the next commit or the one after it makes the instant final by
itself. All reads of one tenant that wait in this process share one task.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import NotYetRecorded
from ledger_server.domain.ids import TenantKey
from ledger_server.engine import metrics
from ledger_server.store.database import AnyConnection
from ledger_server.store.database_clock import known, window
from ledger_server.store.final_time import FinalUntil, raise_final, read_final
from ledger_server.store.ledger_rows import JournalRow

_PATIENCE_SECONDS: Final = 1.0
# Callers' clocks may be a little ahead of the database's; a read of such an instant waits.
_NEAR_SECONDS: Final = 0.1
# A longer delay than this is not worth a hint to retry.
_LONGEST_HINT_SECONDS: Final = 60.0
# A head that has not moved for so long belongs to a tenant to which nobody writes at this moment.
_STILL_SECONDS: Final = 0.02
# After this time an instant is made final even while commits go on. A batch that was decided before that
# instant and is not under way yet is then decided again.
_INSIST_SECONDS: Final = 0.25
# Everything older than this becomes final together with an instant, so that reading many instants costs one
# write. Hardly any batch is that old when it is written, so hardly any is decided again because of it.
_STEP: Final = timedelta(seconds=1)
_FIRST_PAUSE_SECONDS: Final = 0.002
_LONGEST_PAUSE_SECONDS: Final = 0.05
_OWN_PAUSE_SECONDS: Final = 0.01

_Read = Callable[[AnyConnection], Awaitable[FinalUntil | None]]
Run = Callable[[_Read], Awaitable[FinalUntil | None]]
"""Runs a statement over a connection of a pool."""


class Writer(Protocol):
    """What this process writes with, as far as reads of a tenant by time have to know."""

    def busy(self, tenant_id: str, /) -> bool:
        """Whether work is under way."""

    def rests_at(self, tenant_id: str, /) -> int | None:
        """Return the newest record that it knows of; None while it decides or writes a further one."""

    def final_until(self, tenant_id: str, /) -> FinalUntil | None:
        """Return how far the journal was final after its newest commit."""

    def read_by_time(self, tenant_id: str, /) -> None:
        """Take note that a read by time has to wait."""


class _NoWriter:
    """A process that writes nothing."""

    def busy(self, _: str, /) -> bool:
        return False

    def rests_at(self, _: str, /) -> None:
        return None

    def final_until(self, _: str, /) -> None:
        return None

    def read_by_time(self, _: str, /) -> None:
        return None


NO_WRITER: Final[Writer] = _NoWriter()


class Finality:
    """The instants that reads of this process wait for, by tenant."""

    def __init__(self, run: Run, clock: Clock, writer: Writer) -> None:
        self._run = run
        self._clock = clock
        self._writer = writer
        self._waits: dict[str, _Wait] = {}

    def committed(self, tenant_id: str, _: Sequence[JournalRow]) -> None:
        """Take note of a commit of this process."""
        wait = self._waits.get(tenant_id)
        final = self._writer.final_until(tenant_id)
        if wait is not None and final is not None:
            wait.passed(final)

    def still_open(self, tenant_id: str, moment: datetime) -> FinalUntil | None:
        """Return how far the journal is final if an instant is most likely not, as far as this process knows.

        While this process writes, the newest commit is nearly always its own.
        """
        final = self._writer.final_until(tenant_id)
        if final is None or final.includes(moment) or not self._writer.busy(tenant_id):
            return None
        return final

    async def until_final(self, tenant_id: str, key: TenantKey, moment: datetime, seen: FinalUntil) -> None:
        """Return once no record with a time up to an instant can ever be written any more.

        Args:
            seen: how far the journal was final when the caller looked.
        Raises:
            NotYetRecorded: the instant lies in the future, or a commit under way does not come to an end.
        """
        if seen.includes(moment):
            return
        ahead = (moment - max(await known(self._clock), seen.head_time)).total_seconds()
        if ahead > _NEAR_SECONDS:
            hint = ahead if ahead <= _LONGEST_HINT_SECONDS else None
            raise NotYetRecorded(head_sequence=seen.head_sequence, retry_seconds=hint)
        self._writer.read_by_time(tenant_id)
        wait = self._waits.get(tenant_id)
        if wait is None:
            wait = self._waits[tenant_id] = _Wait(
                self._run, self._clock, self._writer, tenant_id, key=key, seen=seen
            )
            wait.start(lambda: self._waits.pop(tenant_id))
        patience = asyncio.timeout(_PATIENCE_SECONDS)
        try:
            async with patience:
                await wait.until(moment)
        except TimeoutError:
            if not patience.expired():  # it is the database that has not answered
                raise
            metrics.NOT_FINAL.inc()
            raise NotYetRecorded(
                head_sequence=wait.seen.head_sequence, retry_seconds=_PATIENCE_SECONDS
            ) from None


class _Waiter(NamedTuple):
    """A read that waits for an instant, and since when by the event loop's time."""

    moment: datetime
    since: float
    future: "asyncio.Future[None]"


class _Wait:
    """The reads that wait for instants of one tenant, and the task that serves them until none waits."""

    def __init__(
        self,
        run: Run,
        clock: Clock,
        writer: Writer,
        tenant_id: str,
        *,
        key: TenantKey,
        seen: FinalUntil,
    ) -> None:
        self.seen = seen
        self._run = run
        self._clock = clock
        self._window = window(clock)
        self._writer = writer
        self._tenant_id = tenant_id
        self._key = key
        self._loop = asyncio.get_running_loop()
        self._waiters: list[_Waiter] = []
        self._wake = asyncio.Event()
        # Since when the head has not moved, as far as was seen.
        self._still_since = self._loop.time()
        self._task: asyncio.Task[None] | None = None

    def start(self, ended: Callable[[], object]) -> None:
        """Start the task, and call back when it is over; by then all waiting reads have been answered."""
        self._task = self._loop.create_task(self._look(ended))

    async def until(self, moment: datetime) -> None:
        """Return once an instant is final."""
        future = self._loop.create_future()
        self._waiters.append(_Waiter(moment, self._loop.time(), future))
        await future

    def passed(self, final: FinalUntil) -> None:
        """Take note of how far the journal is final after a commit of this process."""
        if final.head_sequence > self.seen.head_sequence:
            times = [each.final_time for each in (self.seen, final) if each.final_time is not None]
            self.seen = final._replace(final_time=max(times, default=None))
        self._answer()
        self._wake.set()

    async def _look(self, ended: Callable[[], object]) -> None:
        """Look, and make instants final, until nobody waits any more."""
        pause = _FIRST_PAUSE_SECONDS
        try:
            # A caller appends itself as soon as it runs, which is before this task does.
            while self._answer():
                ripe = await self._ripe()
                if ripe is not None and await self._raise(ripe):
                    continue
                # This process hears of its own commits at once.
                seconds = max(pause, _OWN_PAUSE_SECONDS) if self._busy else pause
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), seconds)
                heard = self._wake.is_set()
                self._wake.clear()
                if heard:
                    pause = _FIRST_PAUSE_SECONDS
                elif self._answer():
                    moved = await self._read()
                    pause = _FIRST_PAUSE_SECONDS if moved else min(2 * pause, _LONGEST_PAUSE_SECONDS)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            for waiter in self._waiters:
                if not waiter.future.done():
                    waiter.future.set_exception(error)
        finally:
            ended()

    def _answer(self) -> bool:
        """Answer those whose instant is final; return whether anybody still waits."""
        waiting: list[_Waiter] = []
        for waiter in self._waiters:
            if waiter.future.done():  # the caller has given up or gone away
                continue
            if self.seen.includes(waiter.moment):
                waiter.future.set_result(None)
            else:
                waiting.append(waiter)
        self._waiters = waiting
        return bool(waiting)

    async def _ripe(self) -> datetime | None:
        """Return the latest instant that should be made final now, if any should."""
        now = max(await known(self._clock), self.seen.head_time)
        time = self._loop.time()
        still = self.seen.head_time <= now - timedelta(seconds=_STILL_SECONDS) or (
            time - self._still_since >= _STILL_SECONDS
        )
        # Between two of its commits this process has decided nothing yet that the raised time would refuse.
        # What another process has decided would be refused, so the head must be where this process left it.
        resting = self._writer.rests_at(self._tenant_id) == self.seen.head_sequence
        quiet = resting or (still and not self._busy)
        ripe = [
            waiter.moment
            for waiter in self._waiters
            if waiter.moment <= now and (quiet or time - waiter.since >= _INSIST_SECONDS)
        ]
        return max(*ripe, now - _STEP) if ripe else None

    @property
    def _busy(self) -> bool:
        return self._writer.busy(self._tenant_id)

    async def _raise(self, moment: datetime) -> bool:
        """Make an instant final; return False if a commit is under way."""
        raised = await self._run(
            lambda connection: raise_final(connection, self._key, moment, window=self._window)
        )
        if raised is None:
            return False
        metrics.FINAL_RAISES.inc()
        self.seen = raised
        return True

    async def _read(self) -> bool:
        """Look how far the journal is final; return whether its head has moved."""
        read = await self._run(lambda connection: read_final(connection, self._key))
        assert read is not None
        moved = read.head_sequence != self.seen.head_sequence
        if moved:
            self._still_since = self._loop.time()
        self.seen = read
        return moved
