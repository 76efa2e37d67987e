"""Owns the lane: the serial writer of one tenant, with group commit.

A lane decides ahead: while one batch is on its way to the disk, the next is decided against the
working set as that batch will leave it. What makes this safe is the optimistic check of the head: a batch
begins by moving it from where the lane believes it to be (`commits.py`). If another process has moved it, or
a request turns out to be a retry of a committed one, nothing is written; the lane forgets what it knew and
decides again under the head's lock, after looking up what was decided before (`recovery.py`). No answer
leaves before its commit.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from defter_tracing import traces
from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import ClockAstray, Refused, StoreUnavailable
from ledger_server.domain.ids import TenantKey
from ledger_server.engine import metrics
from ledger_server.engine.incidents import report
from ledger_server.engine.lane.batch import Batch, Found
from ledger_server.engine.lane.batch_spans import record_batch
from ledger_server.engine.lane.commits import Commits, OnLoss
from ledger_server.engine.lane.final_ahead import FinalAhead
from ledger_server.engine.lane.group_commit import GroupCommit
from ledger_server.engine.lane.lane_limits import LaneLimits
from ledger_server.engine.lane.recovery import Recovery
from ledger_server.engine.lane.slow_batch import tell_if_slow
from ledger_server.engine.lane.work import Work
from ledger_server.engine.lane.work_queue import WorkQueue
from ledger_server.engine.lane.working_sets import WorkingSets
from ledger_server.store.database import Pool
from ledger_server.store.final_time import FinalUntil
from ledger_server.store.ledger_rows import JournalRow

OnCommit = Callable[[str, Sequence[JournalRow]], None]
"""Is told which rows of which tenant have been committed; must neither fail nor wait."""


class Lane:
    """The serial writer of one tenant."""

    def __init__(
        self,
        tenant_id: str,
        key: TenantKey,
        pool: Pool,
        clock: Clock,
        limits: LaneLimits,
        *,
        on_commit: OnCommit,
        on_loss: OnLoss,
        working_sets: WorkingSets,
    ) -> None:
        self._tenant_id = tenant_id
        self._limits = limits
        self._on_commit = on_commit
        self._working_sets = working_sets
        self.loop = asyncio.get_running_loop()
        self._queue = WorkQueue(limits.capacity, limits.patience_seconds, byte_capacity=limits.capacity_bytes)
        self._commits = Commits(tenant_id, key, pool, clock, limits, on_loss=on_loss)
        self._recovery = Recovery(tenant_id, clock, self._commits.store)
        self._wake = asyncio.Event()
        self._group = GroupCommit(limits.group_size, self._wake.set)
        self._final_ahead = FinalAhead(self.loop.time)
        # How far the journal was final after this lane's newest commit.
        self.final_until: FinalUntil | None = None
        self._runner: asyncio.Task[None] | None = None
        # Work on its way: taken and being loaded for, decided, being written.
        self._taken: list[Work] = []
        self._open: Batch | None = None
        self._writing: tuple[Batch, asyncio.Task[None]] | None = None
        self._send_time = 0.0
        # The batch that expires a part of what is due: before its commit nothing more is decided.
        self._expiring: Batch | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self._runner is None

    @property
    def rests_at(self) -> int | None:
        """The newest record that the lane knows of; None while it decides or writes a further one."""
        if self._taken or self._open is not None or self._writing is not None or self._commits.tip is None:
            return None
        return self._commits.tip.working_set.sequence

    def read_by_time(self) -> None:
        """Take note that a read by time has to wait for this lane's commits."""
        self._final_ahead.asked()

    def forget(self) -> None:
        """Forget what an idle lane knows; it looks again when there is work."""
        assert self.idle
        self._commits.tip = None

    def submit(self, work: Work) -> None:
        """Queue work; its future is answered after its commit.

        Raises:
            LaneFull: the lane holds as much as it may; nothing was queued.
        """
        self._queue.put(work, self._tenant_id)
        if self._runner is None:
            self._runner = self.loop.create_task(self._run())
            return
        self._group.saw(self._queue.callers)
        if self._queue.waiting >= self._limits.ahead_size or (self._writing is None and self._complete):
            self._wake.set()

    @property
    def waiting(self) -> int:
        """How many requests are not answered yet."""
        return self._queue.unanswered

    @property
    def waiting_bytes(self) -> int:
        """How many bytes they have."""
        return self._queue.unanswered_bytes

    async def until_idle(self) -> None:
        """Return when everything that was submitted has been answered."""
        while self._runner is not None:
            await asyncio.wait({self._runner})

    def abort(self) -> None:
        """Stop at once, as a crash would."""
        tasks = [self._runner, self._writing[1] if self._writing else None]
        for task in tasks:
            if task is not None:
                task.cancel()

    async def _run(self) -> None:
        try:
            while await self._step():
                pass
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            # A fault of the lane itself must not leave callers waiting for ever.
            refused = report(error, "a lane failed", tenant_id=self._tenant_id)
            await self._end_writing()
            self._requeue()
            self._queue.refuse_all(refused)
        finally:
            self._runner = None

    async def _end_writing(self) -> None:
        """Answer those whose commit is under way; they must not wait for the next who comes."""
        if self._writing is not None:
            await asyncio.wait({self._writing[1]})
            with suppress(Exception):
                self._settle()

    async def _step(self) -> bool:
        """Do the next thing; return False when there is none."""
        self._wake.clear()
        self._settle()
        if self._recovery.waits:
            await self._recovery.wait()
            self._queue.refuse_overdue(self.loop.time())
        if self._recovery.careful and self._writing is None:
            if not self._queue:
                return False
            await self._decide_under_lock()
        elif not self._gathered:
            if self._writing is None:
                return False
            await self._wake.wait()
        elif self._writing is None and self._complete:
            self._group.set_off(self._gathered)
            # Nobody decides meanwhile, so what waits may as well come along.
            if self._queue and self._room:
                await self._decide_ahead()
                self._settle()
            self._start_writing()
        elif self._queue.waiting >= self._limits.ahead_size and self._room:
            await self._decide_ahead()
        else:
            if self._writing is None:
                self._group.wait()
            await self._wake.wait()
        return True

    @property
    def _gathered(self) -> int:
        """How many requests wait for the next commit, decided or not; what expires ahead of them is one."""
        decided = self._open.request_count if self._open is not None else 0
        return self._queue.waiting + decided + (self._expiring is not None)

    @property
    def _room(self) -> bool:
        """Whether more can be decided for the next commit."""
        if self._recovery.careful or self._expiring is not None:
            return False
        return self._open is None or (
            self._open.request_count < self._limits.batch_size and self._fits(self._open)
        )

    def _fits(self, batch: Batch) -> bool:
        """Whether a batch takes more, as far as bytes are concerned."""
        return batch.size < self._limits.batch_bytes

    @property
    def _complete(self) -> bool:
        """Whether the next commit has nobody to wait for."""
        return self._gathered >= self._group.enough

    async def _decide_ahead(self) -> None:
        """Decide waiting work against the tip, without a lock."""
        self._take(self._limits.batch_size)
        if not self._taken:
            return
        try:
            prepared = await self._commits.prepare(self._taken)
            # If the commit under way has failed meanwhile, what was loaded means nothing.
            self._settle()
            if not self._taken:
                return
            if self._open is None:
                self._open = self._commits.open()
            if self._commits.expire_due(self._open, prepared):
                self._expiring = self._open
                self._queue.put_back(self._taken)
            else:
                await self._decide_taken(self._open, prepared.now, None)
            self._taken = []
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            self._recover(error)

    def _take(self, size: int) -> None:
        self._taken = self._queue.take(size, self.loop.time(), size_bytes=self._limits.batch_bytes)

    async def _decide_taken(self, batch: Batch, now: datetime, found: Found) -> None:
        """Decide the taken work until the batch is full, and put the rest back."""
        for index, work in enumerate(self._taken):
            if index and not self._fits(batch):
                self._taken, rest = self._taken[:index], self._taken[index:]
                self._queue.put_back(rest)
                return
            await batch.decide(work, now, found)

    def _start_writing(self) -> None:
        batch = self._open
        if batch is None or self._writing is not None or self._recovery.careful:
            return
        self._open = None
        batch.close()
        span = self._final_ahead.begun()
        if span is not None:
            self._commits.make_final(batch, span)
        task = self.loop.create_task(self._commits.write(batch))
        task.add_done_callback(lambda _: self._wake.set())
        self._writing = (batch, task)
        self._send_time = time.monotonic()

    def _settle(self) -> None:
        """Answer the batch that was being written, or take everything back that builds on it."""
        if self._writing is None or not self._writing[1].done():
            return
        batch, task = self._writing
        self._writing = None
        try:
            task.result()
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            self._recover(error, batch.works)
        else:
            self._committed(batch)

    def _committed(self, batch: Batch) -> None:
        """Answer the callers of a batch that is durable."""
        self._recovery.committed()
        if batch is self._expiring:
            self._expiring = None
        self._commits.committed(batch)
        self._queue.answered(batch.works)
        for work in batch.works:
            work.finish()
        tip = self._commits.tip
        if tip is not None:
            tip.working_set.forget(batch.stamp, self._limits.cache_size, self._working_sets.keep_bytes)
            self._working_sets.note(self, tip.working_set.size)
        if batch.rows:
            self._final_ahead.ended()
            last = batch.rows[-1]
            self.final_until = FinalUntil(last.sequence, last.record_time, batch.final_time)
            self._on_commit(self._tenant_id, batch.rows)
        metrics.count_batch(batch.request_count, [row.fact for row in batch.rows])
        made = traces()
        if made is not None:
            record_batch(made, self._tenant_id, batch, self._send_time)
        tell_if_slow(
            self._tenant_id,
            batch,
            commit_seconds=time.monotonic() - self._send_time,
            slow_seconds=self._limits.slow_seconds,
        )

    async def _decide_under_lock(self) -> None:
        """Decide and commit work in one database transaction that holds the head's lock."""
        self._take(1 if self._recovery.singly else self._limits.batch_size)
        if not self._taken:
            return
        self._send_time = time.monotonic()
        try:
            batch, calm = await self._commits.write_under_lock(self._taken, self._decide_taken)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            self._recover(error, looked_up=True)
        else:
            self._recovery.committed_under_lock(worked=bool(batch.works), calm=calm)
            if not batch.works:  # there was too much to expire first
                self._queue.put_back(self._taken)
            self._taken = []
            self._committed(batch)

    def _recover(self, error: Exception, failed: Sequence[Work] = (), *, looked_up: bool = False) -> None:
        """Take back what can't be committed, and go on in the way that the error asks for.

        Args:
            failed: the work that was being written.
            looked_up: whether the keys of the taken work had been looked up.
        """
        verdict = self._recovery.judge(error, alone=len(self._taken) == 1, looked_up=looked_up)
        if verdict.refused is not None:
            self._refuse_taken(verdict.refused)
        if verdict.again:
            count = self._requeue(failed)
            if verdict.singly:
                self._recovery.requeued_singly(count)

    def _requeue(self, failed: Sequence[Work] = ()) -> int:
        """Put all work that is not committed back in front of the queue, in order, and forget the tip.

        Returns how many works that were.

        Args:
            failed: the work that was being written.
        """
        decided = self._open.works if self._open is not None else ()
        # Where deciding stopped halfway, the first of the taken work stand in the open batch as well.
        again = list(dict.fromkeys([*failed, *decided, *self._taken]))
        self._open = None
        self._taken = []
        self._expiring = None
        self._commits.tip = None
        self._recovery.requeued()
        self._queue.put_back(again)
        return len(again)

    def _refuse_taken(self, refused: Refused) -> None:
        self._queue.answered(self._taken)
        for work in self._taken:
            # Where a commit was sent before, nobody knows that nothing came of it.
            unsure = work.begun and isinstance(refused, ClockAstray)
            work.fail(StoreUnavailable() if unsure else refused)
        self._taken = []
