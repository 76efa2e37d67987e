"""Owns the lane: the serial writer of one tenant, with group commit.

A lane decides ahead: while one batch is on its way to the disk, the next is decided against the
working set as that batch will leave it. What makes this safe is the head: a batch begins by moving
it from where the lane believes it to be. If another process has moved it, or a request turns out to
be a retry of a committed one, nothing is written; the lane forgets what it knew and decides again
under the head's lock, after looking up what was decided before. No answer leaves before its commit.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import structlog
from asyncpg import InterfaceError, LockNotAvailableError, UniqueViolationError
from msgspec import Struct

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import ClockAstray, Refused, StoreUnavailable, TenantNotFound
from ledger_server.domain.ids import TenantIds, TenantKey
from ledger_server.domain.state.commands import RequestKey
from ledger_server.domain.state.working_set import WorkingSet
from ledger_server.engine import metrics
from ledger_server.engine.incidents import report
from ledger_server.engine.lane.batch import Batch, Found, LookUpFirst, Tip
from ledger_server.engine.lane.group_commit import Company
from ledger_server.engine.lane.loading import Wanted, load, wanted
from ledger_server.engine.lane.naming import named_here
from ledger_server.engine.lane.work import Work
from ledger_server.engine.lane.work_queue import WorkQueue
from ledger_server.engine.lane.working_sets import WorkingSets
from ledger_server.engine.records.journal import RecordEncoder
from ledger_server.store import lane_store, lane_writes
from ledger_server.store.database import AnyConnection, Pool, is_outage
from ledger_server.store.database_clock import doubt, trusted, window
from ledger_server.store.history_watch import AnotherHistory
from ledger_server.store.lane_store import Head, StoredOutcome
from ledger_server.store.lane_writes import HeadMoved, Start, TimeRefused
from ledger_server.store.ledger_rows import JournalRow
from ledger_server.store.stalled_writer import end_stalled_writer

log = structlog.get_logger()

_FIRST_BACK_OFF: Final = 0.02
_MAX_BACK_OFF: Final = 1.0
# A head's time may be ahead by what two honest measurements of the database's clock differ by.
_AHEAD_SECONDS: Final = 2.0
_SAY_AGAIN_SECONDS: Final = 60.0

OnCommit = Callable[[str, Sequence[JournalRow]], None]
"""Is told which rows of which tenant have been committed; must neither fail nor wait."""
OnLoss = Callable[[str], None]
"""Is told, in words, which commit of this process the database does not have any more."""


class LaneLimits(Struct, frozen=True, kw_only=True):
    """How much a lane takes on.

    Attributes:
        capacity: requests that may wait or be under way; more are refused with LANE_FULL.
        capacity_bytes: the same in bytes of requests, so that few large ones fill a lane too.
        batch_size: requests that are decided in one go; a commit takes up to twice as many.
        batch_bytes: the same in bytes, of requests and of the records that come of them.
        group_size: requests from which on a commit begins without waiting for more.
        ahead_size: waiting requests from which on the lane decides what can't be written yet.
        expiry_size: holds that are expired in one go. An outage may leave hundreds of thousands due on one
            account, and all others in the process wait while they are.
        cache_size: entries of each kind that the working set keeps; up to twice as many in between.
        working_set_bytes: what all lanes of the process remember together, about.
        patience_seconds: how long work without a deadline waits for an unavailable database.
    """

    capacity: int = 8_192
    capacity_bytes: int = 32 * 1024 * 1024
    batch_size: int = 1_000
    batch_bytes: int = 4 * 1024 * 1024
    group_size: int = 160
    ahead_size: int = 32
    expiry_size: int = 1_000
    cache_size: int = 10_000
    working_set_bytes: int = 256 * 1024 * 1024
    patience_seconds: float = 10.0


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
        self._key = key
        self._pool = pool
        self._clock = clock
        self._window = window(clock)
        self._limits = limits
        self._on_commit = on_commit
        self._on_loss = on_loss
        # The newest record that callers were told of: the database must never be without it.
        self._told: tuple[int, bytes] | None = None
        # Made anew with every tip: ids follow from the epochs of the history that the tip is in.
        self._encoder = RecordEncoder(tenant_id, TenantIds(key))
        self._working_sets = working_sets
        self._loop = asyncio.get_running_loop()
        self._queue = WorkQueue(limits.capacity, limits.patience_seconds, byte_capacity=limits.capacity_bytes)
        self._wake = asyncio.Event()
        self._company = Company(limits.group_size, self._wake.set)
        self._runner: asyncio.Task[None] | None = None
        # What the lane knows; None until it has looked, and after it was wrong.
        self._tip: Tip | None = None
        # Work on its way: taken and being loaded for, decided, being written.
        self._taken: list[Work] = []
        self._open: Batch | None = None
        self._writing: tuple[Batch, asyncio.Task[None]] | None = None
        # Whether to decide under the head's lock, and how many works to try one at a time there.
        self._careful = False
        self._singly = 0
        # The batch that expires a part of what is due: before its commit nothing more is decided.
        self._expiring: Batch | None = None
        # Whether somebody else has kept the head locked for as long as this lane would wait.
        self._locked_out = False
        self._back_off = 0.0
        self._said_ahead = float("-inf")

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self._runner is None

    def forget(self) -> None:
        """Forget what an idle lane knows; it looks again when there is work."""
        assert self.idle
        self._tip = None

    def submit(self, work: Work) -> None:
        """Queue work; its future is answered after its commit.

        Raises:
            LaneFull: the lane holds as much as it may; nothing was queued.
        """
        self._queue.put(work, self._tenant_id)
        if self._runner is None:
            self._runner = self._loop.create_task(self._run())
            return
        self._company.saw(self._queue.callers)
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
        if self._back_off:
            await self._wait_for_database()
        if self._careful and self._writing is None:
            if not self._queue:
                return False
            await self._decide_under_lock()
        elif not self._gathered:
            if self._writing is None:
                return False
            await self._wake.wait()
        elif self._writing is None and self._complete:
            self._company.set_off(self._gathered)
            # Nobody decides meanwhile, so what waits may as well come along.
            if self._queue and self._room:
                await self._decide_ahead()
                self._settle()
            self._start_writing()
        elif self._queue.waiting >= self._limits.ahead_size and self._room:
            await self._decide_ahead()
        else:
            if self._writing is None:
                self._company.wait()
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
        if self._careful or self._expiring is not None:
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
        return self._gathered >= self._company.enough

    async def _decide_ahead(self) -> None:
        """Decide waiting work against the tip, without a lock."""
        self._take(self._limits.batch_size)
        if not self._taken:
            return
        try:
            now, due, more = await self._prepare()
            # If the commit under way has failed meanwhile, what was loaded means nothing.
            self._settle()
            if not self._taken:
                return
            assert self._tip is not None
            if self._open is None:
                self._open = Batch(self._tip, self._encoder)
            self._open.begin_epoch(now)
            more = self._open.expire_due(
                due, now, at_most=self._limits.expiry_size, size_bytes=self._limits.batch_bytes, more=more
            )
            if more:
                self._expiring = self._open
                self._queue.put_back(self._taken)
            else:
                await self._decide_taken(self._open, now, None)
            self._taken = []
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            self._recover(error)

    def _take(self, size: int) -> None:
        self._taken = self._queue.take(size, self._loop.time(), size_bytes=self._limits.batch_bytes)

    async def _decide_taken(self, batch: Batch, now: datetime, found: Found) -> None:
        """Decide the taken work until the batch is full, and put the rest back."""
        for index, work in enumerate(self._taken):
            if index and not self._fits(batch):
                self._taken, rest = self._taken[:index], self._taken[index:]
                self._queue.put_back(rest)
                return
            await batch.decide(work, now, found)

    async def _prepare(self) -> tuple[datetime, set[str], bool]:
        """Load what the taken work names.

        Returns when it is decided, accounts with due holds, and whether more is due than expires in one go.
        """
        if self._tip is None:
            async with self._pool.acquire() as connection:
                head = await lane_store.read_head(connection, self._key, lock=False)
                self._tip = self._tip_at(head)
        working_set = self._tip.working_set
        now, missing = self._missing(working_set, await trusted(self._clock))
        if missing:
            async with self._pool.acquire() as connection:
                await self._load(connection, working_set, missing, now)
        return now, missing.due, missing.more_due

    def _missing(self, working_set: WorkingSet, clock_time: datetime) -> tuple[datetime, Wanted]:
        """Return when the taken work is decided, and what has to be loaded for it."""
        # A journal's time never goes back: what is replayed later must be dead or alive as it was decided.
        now = max(clock_time, working_set.record_time)
        ahead = (now - clock_time).total_seconds()
        if ahead > _AHEAD_SECONDS:
            self._say_ahead(ahead)
        for work in self._taken:
            work.requests = named_here(working_set.ids, work.requests)
        commands = (request.command for work in self._taken for request in work.requests)
        return now, wanted(working_set, commands, now)

    async def _load(
        self, connection: AnyConnection, working_set: WorkingSet, missing: Wanted, now: datetime
    ) -> None:
        await load(connection, self._key, working_set, missing, now, expiry_size=self._limits.expiry_size)

    def _start_writing(self) -> None:
        batch = self._open
        if batch is None or self._writing is not None or self._careful:
            return
        self._open = None
        batch.close()
        task = self._loop.create_task(self._write(batch))
        task.add_done_callback(lambda _: self._wake.set())
        self._writing = (batch, task)

    async def _write(self, batch: Batch) -> None:
        """Make a batch durable, if the head is where the lane believes it to be."""
        if not batch.rows:
            # Else there are only replays of requests that are being or have been committed.
            if batch.unproven:
                async with self._pool.acquire() as connection:
                    head = await lane_store.read_head(connection, self._key, lock=False)
                if head is None or _stands(head) != batch.start:
                    raise HeadMoved
                await self._pool.durability.prove(self._key, head.sequence)
            return
        with metrics.COMMIT_SECONDS.time():
            async with self._pool.acquire() as connection:
                try:
                    await lane_writes.commit_from(
                        connection,
                        self._key,
                        batch.start,
                        batch.rows,
                        batch.account_numbers,
                        window=self._window,
                    )
                except BaseException:
                    await _roll_back(connection)
                    raise

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
        self._back_off = 0.0
        if batch is self._expiring:
            self._expiring = None
        if batch.rows:
            self._pool.durability.committed(self._key, batch.rows[-1].sequence)
        self._queue.answered(batch.works)
        for work in batch.works:
            work.finish()
        if self._tip is not None:
            for key in batch.keys:
                self._tip.undone.pop(key, None)
            working_set = self._tip.working_set
            working_set.forget(batch.stamp, self._limits.cache_size, self._working_sets.keep_bytes)
            self._working_sets.note(self, working_set.size)
        if batch.rows:
            self._told = batch.rows[-1].sequence, batch.rows[-1].chain_hash
            self._on_commit(self._tenant_id, batch.rows)
        metrics.count_batch(batch.request_count, [row.fact for row in batch.rows])

    async def _decide_under_lock(self) -> None:
        """Decide and commit work in one database transaction that holds the head's lock."""
        self._take(1 if self._singly else self._limits.batch_size)
        if not self._taken:
            return
        try:
            # Before the lock: nobody else should wait for it while this process asks for the time.
            await trusted(self._clock)
            async with self._pool.acquire() as connection:
                try:
                    batch, calm = await self._commit_under_lock(connection)
                except BaseException:
                    await _roll_back(connection)
                    raise
            if not batch.rows:  # else its commit has proven what it is based on
                await self._pool.durability.prove(self._key, batch.start.sequence)
        except UniqueViolationError as error:
            # With the head locked and the keys looked up this is no retry, but a fault of some work.
            self._isolate(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            self._recover(error)
        else:
            if batch.works:
                self._singly = max(0, self._singly - 1)
                self._careful = bool(self._singly) or not calm
            else:  # there was too much to expire first
                self._queue.put_back(self._taken)
            self._taken = []
            self._committed(batch)

    async def _commit_under_lock(self, connection: AnyConnection) -> tuple[Batch, bool]:
        """Return the committed batch, and whether deciding ahead would have worked as well."""
        await connection.execute("BEGIN")
        head = await lane_store.read_head(connection, self._key, lock=True)
        tip = self._tip
        moved = tip is None or head is None or _stands(head) != tip.stands
        if moved and self._told is not None:
            await self._check_told(connection, *self._told)
        if tip is None or moved:
            tip = self._tip = self._tip_at(head)
        elif head is not None:
            # What is final may have moved on without a record.
            tip.working_set.record_time = head.earliest_time
        requests = [request for work in self._taken for request in work.requests]
        keys = {(request.key, request.digest) for request in requests if request.key is not None}
        found: dict[RequestKey, StoredOutcome] = {}
        if keys:
            found = await lane_store.find_outcomes(connection, self._key, list(keys))
        now, missing = self._missing(tip.working_set, self._clock())
        if missing:
            await self._load(connection, tip.working_set, missing, now)
        batch = Batch(tip, self._encoder)
        batch.begin_epoch(now)
        more = batch.expire_due(
            missing.due,
            now,
            at_most=self._limits.expiry_size,
            size_bytes=self._limits.batch_bytes,
            more=missing.more_due,
        )
        if not more:
            await self._decide_taken(batch, now, found)
        batch.close()
        if batch.rows:
            await lane_writes.write_locked(
                connection, self._key, batch.rows, batch.account_numbers, window=self._window
            )
        await connection.execute("COMMIT")
        return batch, not moved and not found

    async def _check_told(self, connection: AnyConnection, sequence: int, chain_hash: bytes) -> None:
        """Raise AnotherHistory where the journal does not have what callers were told of."""
        if await lane_store.read_chain_hash(connection, self._key, sequence) != chain_hash:
            why = f"record {sequence} of tenant {self._tenant_id} was committed here and is gone"
            self._on_loss(why)
            raise AnotherHistory(why)

    def _tip_at(self, head: Head | None) -> Tip:
        if head is None or head.tenant_id != self._tenant_id:
            raise _TenantMissing
        ids = TenantIds(self._key, head.epochs)
        self._encoder = RecordEncoder(self._tenant_id, ids)
        working_set = WorkingSet(
            ids,
            sequence=head.sequence,
            record_time=head.earliest_time,
            enforcement=head.enforcement,
            create_time=head.create_time,
            policy=head.policy,
        )
        return Tip(working_set, head.chain_hash, head.epoch)

    def _recover(self, error: Exception, failed: Sequence[Work] = ()) -> None:
        """Take back what can't be committed, and go on in the way that the error asks for.

        Args:
            failed: the work that was being written.
        """
        if isinstance(error, _TenantMissing):
            self._refuse_taken(TenantNotFound(tenant_id=self._tenant_id))
        elif isinstance(error, ClockAstray):
            self._refuse_taken(error)
        elif isinstance(error, TimeRefused):
            # This process was mistaken about the time. It asks anew, and waits a little should that not help.
            metrics.RETRIES.labels(cause=type(error).__name__).inc()
            log.warning("the database's clock denied a record time", tenant_id=self._tenant_id)
            doubt(self._clock)
            self._back_away()
            self._requeue(failed)
        elif isinstance(error, HeadMoved | UniqueViolationError | LookUpFirst):
            metrics.RETRIES.labels(cause=type(error).__name__).inc()
            self._requeue(failed)
        elif is_outage(error):
            self._database_failed(error)
            self._requeue(failed)
        else:
            self._isolate(error, failed)

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
        self._tip = None
        self._careful = True
        self._expiring = None
        self._queue.put_back(again)
        return len(again)

    def _isolate(self, error: Exception, failed: Sequence[Work] = ()) -> None:
        """Find the guilty work by trying each alone; one that fails alone is told so."""
        metrics.RETRIES.labels(cause="refused").inc()
        if self._singly and len(self._taken) == 1:
            self._singly -= 1
            self._refuse_taken(report(error, "a request could not be committed", tenant_id=self._tenant_id))
            self._requeue()
            return
        log.warning("a batch could not be committed", error=repr(error), tenant_id=self._tenant_id)
        self._singly = max(self._singly, self._requeue(failed))

    def _refuse_taken(self, refused: Refused) -> None:
        self._queue.answered(self._taken)
        for work in self._taken:
            # Where a commit was sent before, nobody knows that nothing came of it.
            unsure = work.begun and isinstance(refused, ClockAstray)
            work.fail(StoreUnavailable() if unsure else refused)
        self._taken = []

    def _database_failed(self, error: BaseException) -> None:
        metrics.RETRIES.labels(cause="connection").inc()
        self._locked_out = isinstance(error, LockNotAvailableError)
        self._back_away()
        log.warning(
            "the database did not answer",
            error=repr(error),
            tenant_id=self._tenant_id,
            retry_in_seconds=self._back_off,
        )

    def _back_away(self) -> None:
        self._back_off = min(max(2 * self._back_off, _FIRST_BACK_OFF), _MAX_BACK_OFF)

    def _say_ahead(self, seconds: float) -> None:
        """Say that the tenant's time stands still, for as long as it does."""
        metrics.AHEAD.inc()
        if self._loop.time() - self._said_ahead >= _SAY_AGAIN_SECONDS:
            self._said_ahead = self._loop.time()
            log.error(
                "the newest record is ahead of the clock; until then the tenant's time stands still",
                tenant_id=self._tenant_id,
                ahead_seconds=round(seconds, 1),
            )

    async def _wait_for_database(self) -> None:
        """Wait before the next try, and let go of work that has waited too long."""
        if self._locked_out:
            self._locked_out = False
            await self._end_stalled_writer()
        await asyncio.sleep(self._back_off * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret
        self._queue.refuse_overdue(self._loop.time())

    async def _end_stalled_writer(self) -> None:
        """Free the head from a process that stands still in the middle of its commit."""
        try:
            async with self._pool.acquire() as connection:
                ended = await end_stalled_writer(connection, self._key)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next try says more
            log.warning("could not look for who holds the head", error=repr(error), tenant_id=self._tenant_id)
        else:
            if ended:
                log.warning("ended a process's commit that stood still", tenant_id=self._tenant_id)


def _stands(head: Head) -> Start:
    return Start(head.sequence, head.chain_hash, head.epoch)


class _TenantMissing(Exception):
    """There is no such tenant."""


async def _roll_back(connection: AnyConnection) -> None:
    """End the database transaction; a connection that can't is thrown away."""
    try:
        await connection.execute("ROLLBACK", timeout=1)
    except Exception:  # noqa: BLE001  # whatever it is, somebody waits for an answer
        # The pool may have taken back a connection that broke; then nothing is left to end.
        with suppress(InterfaceError):
            connection.terminate()
