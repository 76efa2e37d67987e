"""Owns a lane's commits: batches that are decided ahead of the head's lock, or under the lock.

The tip is the lane's belief about the head and the state behind it; commits build on the tip. After any
failure the tip is forgotten, and the next batch begins from the stored state.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import structlog

from ledger_server.domain.clock import Clock
from ledger_server.domain.ids import TenantIds, TenantKey
from ledger_server.domain.state.working_set import WorkingSet
from ledger_server.engine import metrics
from ledger_server.engine.lane.batch import Batch, Found, Tip
from ledger_server.engine.lane.final_ahead import MOST_SECONDS
from ledger_server.engine.lane.lane_limits import LaneLimits
from ledger_server.engine.lane.loading import Wanted, load, wanted
from ledger_server.engine.lane.loading_findings import load_findings
from ledger_server.engine.lane.naming import named_here
from ledger_server.engine.lane.work import Work
from ledger_server.engine.records.journal import RecordEncoder
from ledger_server.store.database import AnyConnection, Pool
from ledger_server.store.database_clock import window
from ledger_server.store.history_watch import AnotherHistory
from ledger_server.store.lane_store import INSTANT, Head
from ledger_server.store.lane_transactions import LaneTransactions, LockedHead
from ledger_server.store.lane_writes import HeadMoved, Start

log = structlog.get_logger()

# How far a head's time may be ahead: two good measurements of the database's clock may differ by this.
_AHEAD_SECONDS: Final = 2.0
_SAY_AGAIN_SECONDS: Final = 60.0

OnLoss = Callable[[str], None]
"""Is told, in words, which commit of this process the database does not have any more."""
Decide = Callable[[Batch, datetime, Found], Awaitable[None]]
"""Decides the taken work within a batch, at a time, by what earlier commits have decided."""


class TenantMissing(Exception):
    """There is no such tenant."""


class Prepared(NamedTuple):
    """The time at which taken work is decided, and the holds that have to expire first.

    Attributes:
        due: accounts with holds whose time has come.
        more_due: whether more holds are due than expire in one go.
    """

    now: datetime
    due: set[str]
    more_due: bool


class Commits:
    """The commits of one tenant's lane, and the tip that they build on."""

    def __init__(
        self,
        tenant_id: str,
        key: TenantKey,
        pool: Pool,
        clock: Clock,
        limits: LaneLimits,
        *,
        on_loss: OnLoss,
    ) -> None:
        self.store: Final = LaneTransactions(pool, key, clock)
        # The lane's tip; None before the first look, and after the tip was wrong.
        self.tip: Tip | None = None
        self._tenant_id = tenant_id
        self._key = key
        self._clock = clock
        self._limits = limits
        self._on_loss = on_loss
        # The newest record that callers were told of: the database must never be without it.
        self._told: tuple[int, bytes] | None = None
        # Made anew with every tip, since ids follow from the epochs of the tip's history.
        self._encoder = RecordEncoder(tenant_id, TenantIds(key))
        self._clock_ahead = _Ahead(tenant_id)

    async def prepare(self, taken: Sequence[Work]) -> Prepared:
        """Load what taken work names, so that it can be decided against the tip.

        Raises:
            TenantMissing: there is no such tenant.
            StoreAway: the database does not answer.
        """
        if self.tip is None:
            self.tip = self._tip_at(await self.store.head())
        working_set = self.tip.working_set
        now, missing = self._missing(working_set, taken, await self.store.now())
        if missing:
            async with self.store.reading() as connection:
                await self._load(connection, working_set, missing, now)
        return Prepared(now, missing.due, missing.more_due)

    def open(self, locked: LockedHead | None = None) -> Batch:
        """Begin a batch on the tip.

        Args:
            locked: the head, if its lock is held while the batch is decided.
        """
        tip = self.tip
        assert tip is not None

        async def load_finding(fingerprint: bytes) -> None:
            if locked is not None:
                await load_findings(locked.connection, self._key, tip.working_set, (fingerprint,))
                return
            async with self.store.reading() as connection:
                await load_findings(connection, self._key, tip.working_set, (fingerprint,))

        return Batch(tip, self._encoder, load_finding)

    def make_final(self, batch: Batch, span: timedelta) -> None:
        """Have a closed batch make final what follows its last record by no more than a span.

        Where the tenant's time is ahead of the clock already, nothing is promised, so that the clock catches
        up. A test's own clock may stand still, so nothing is promised by that either.
        """
        if not batch.rows or self.tip is None or window(self._clock) is None:
            return
        newest = batch.rows[-1].record_time
        final_time = min(newest, self._clock()) + span
        if final_time > newest:
            batch.final_time = final_time
            self.tip.working_set.record_time = final_time + INSTANT

    async def write(self, batch: Batch) -> None:
        """Make a batch durable, if the head is where the tip believes it to be.

        Raises:
            HeadMoved: the head is elsewhere; nothing was written.
            KeyTaken: a request was decided before; nothing was written.
            StoreAway: nobody knows whether it was written.
        """
        if not batch.rows:
            # Without rows there are only replays of requests that are committed or being committed.
            if batch.unproven:
                head = await self.store.head()
                if head is None or _stands(head) != batch.start:
                    raise HeadMoved
                await self.store.prove(head.sequence)
            return
        with metrics.COMMIT_SECONDS.time():
            await self.store.commit_from(
                batch.start, batch.rows, batch.account_numbers, final_time=batch.final_time
            )
        await self._until_its_time(batch)

    async def _until_its_time(self, batch: Batch) -> None:
        """Wait until the time of a batch's records has come, where an earlier commit's promise is the cause.

        Whoever is told of a record finds it when asking for the present instant.
        """
        ahead = (batch.rows[-1].record_time - self._clock()).total_seconds()
        if 0 < ahead <= MOST_SECONDS and window(self._clock) is not None:
            await asyncio.sleep(ahead)

    async def write_under_lock(self, taken: Sequence[Work], decide: Decide) -> tuple[Batch, bool]:
        """Decide taken work and commit it in one database transaction that holds the head's lock.

        Returns the committed batch, and whether deciding ahead would have worked as well. A batch without
        works expires a part of what is due; the work is decided after it.

        Raises:
            TenantMissing: there is no such tenant.
            TimeRefused: the database's clock denies the time; nothing was written.
            KeyTaken: by a fault of some work; a retry is excluded, since the keys were looked up.
            StoreAway: nobody knows whether it was written.
        """
        # Before the lock, so that nobody waits for the lock while this process asks for the time.
        await self.store.now()
        async with self.store.locked() as locked:
            tip, moved = await self._tip_under(locked)
            requests = [request for work in taken for request in work.requests]
            keys = {(request.key, request.digest) for request in requests if request.key is not None}
            found = await locked.find_outcomes(list(keys))
            now, missing = self._missing(tip.working_set, taken, self._clock())
            if missing:
                await self._load(locked.connection, tip.working_set, missing, now)
            batch = self.open(locked)
            if not self.expire_due(batch, Prepared(now, missing.due, missing.more_due)):
                await decide(batch, now, found)
            batch.close()
            if batch.rows:
                await locked.write(batch.rows, batch.account_numbers)
        if not batch.rows:  # with rows, the batch's own commit proves what it is based on
            await self.store.prove(batch.start.sequence)
        return batch, not moved and not found

    def expire_due(self, batch: Batch, prepared: Prepared) -> bool:
        """Begin a batch with the due holds; return whether more holds are due than it takes."""
        batch.begin_epoch(prepared.now)
        return batch.expire_due(
            prepared.due,
            prepared.now,
            at_most=self._limits.expiry_size,
            size_bytes=self._limits.batch_bytes,
            more=prepared.more_due,
        )

    def committed(self, batch: Batch) -> None:
        """Note that a batch is durable; its callers may be told now."""
        if batch.rows:
            last = batch.rows[-1]
            self.store.committed(last.sequence)
            self._told = last.sequence, last.chain_hash
        if self.tip is not None:
            for key in batch.keys:
                self.tip.undone.pop(key, None)

    async def _tip_under(self, locked: LockedHead) -> tuple[Tip, bool]:
        """Return the tip as of the locked head, and whether the head is elsewhere than the lane believed."""
        tip, head = self.tip, locked.head
        moved = tip is None or head is None or _stands(head) != tip.stands
        if moved and self._told is not None:
            await self._check_told(locked, *self._told)
        if tip is None or moved:
            tip = self.tip = self._tip_at(head)
        elif head is not None:
            # The final time may have been raised without a record.
            tip.working_set.record_time = head.earliest_time
        return tip, moved

    async def _check_told(self, locked: LockedHead, sequence: int, chain_hash: bytes) -> None:
        """Report a loss if the journal lacks a record that callers were told of."""
        why = f"record {sequence} of tenant {self._tenant_id} was committed here and is gone"
        try:
            await locked.check_told(sequence, chain_hash, why)
        except AnotherHistory:
            self._on_loss(why)
            raise

    def _tip_at(self, head: Head | None) -> Tip:
        if head is None or head.tenant_id != self._tenant_id:
            raise TenantMissing
        ids = TenantIds(self._key, head.epochs)
        self._encoder = RecordEncoder(self._tenant_id, ids)
        working_set = WorkingSet(
            ids,
            sequence=head.sequence,
            record_time=head.earliest_time,
            enforcement=head.enforcement,
            create_time=head.create_time,
            policy=head.policy,
            adjustment_policy=head.adjustment_policy,
        )
        return Tip(working_set, head.chain_hash, head.epoch)

    def _missing(
        self, working_set: WorkingSet, taken: Sequence[Work], clock_time: datetime
    ) -> tuple[datetime, Wanted]:
        """Return when taken work is decided, and what has to be loaded for it."""
        # A journal's time never goes back, so a replay finds the same holds expired as the decision did.
        now = max(clock_time, working_set.record_time)
        self._clock_ahead.look((now - clock_time).total_seconds())
        for work in taken:
            work.requests = named_here(working_set.ids, work.requests)
        commands = (request.command for work in taken for request in work.requests)
        return now, wanted(working_set, commands, now)

    async def _load(
        self, connection: AnyConnection, working_set: WorkingSet, missing: Wanted, now: datetime
    ) -> None:
        await load(connection, self._key, working_set, missing, now, expiry_size=self._limits.expiry_size)


class _Ahead:
    """Logs that a tenant's time stands still, while its newest record is ahead of the clock."""

    def __init__(self, tenant_id: str) -> None:
        self._tenant_id = tenant_id
        self._said = float("-inf")

    def look(self, seconds: float) -> None:
        """Check how far the newest record is ahead."""
        if seconds <= _AHEAD_SECONDS:
            return
        metrics.AHEAD.inc()
        now = asyncio.get_running_loop().time()
        if now - self._said >= _SAY_AGAIN_SECONDS:
            self._said = now
            log.error(
                "the newest record is ahead of the clock; until it catches up the tenant's time stands still",
                tenant_id=self._tenant_id,
                ahead_seconds=round(seconds, 1),
            )


def _stands(head: Head) -> Start:
    return Start(head.sequence, head.chain_hash, head.epoch)
