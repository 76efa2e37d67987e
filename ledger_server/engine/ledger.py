"""Owns the engine's front door: finds a tenant's lane, hands it work, and drains all lanes at the end."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from defter_tracing import traces
from ledger_server.domain.adjustments.adjustment import NO_ADJUSTMENT_POLICY
from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import LaneFull, ShuttingDown, StoreUnavailable
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.payments.withdrawal import NO_POLICY
from ledger_server.domain.state.commands import CreateTenant, NamedCaller
from ledger_server.domain.state.facts import EnforcementChanged, FactKind
from ledger_server.engine import metrics
from ledger_server.engine.lane.commits import OnLoss
from ledger_server.engine.lane.lane import Lane, OnCommit
from ledger_server.engine.lane.lane_limits import LaneLimits
from ledger_server.engine.lane.work import Outcome, Request, Work
from ledger_server.engine.lane.working_sets import WorkingSets
from ledger_server.engine.records.journal import NO_CHAIN_HASH, RecordEncoder, chain
from ledger_server.store import lane_writes
from ledger_server.store.database import Pool
from ledger_server.store.database_clock import doubt, trusted, window
from ledger_server.store.final_time import FinalUntil
from ledger_server.store.lane_store import Head
from ledger_server.store.ledger_rows import JournalRow

_MAX_IDLE_LANES: Final = 1_000

Admit = Callable[[Sequence[Request]], Awaitable[None] | None]
"""Raises `Undecided`, at once or when awaited, for requests that this process must not decide."""


class Ledger:
    """All lanes of one process. Several processes may share a database."""

    def __init__(self, pool: Pool, clock: Clock, limits: LaneLimits) -> None:
        self._pool = pool
        self._clock = clock
        self._limits = limits
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
        self._draining = False
        self._traces = traces()
        self._working_sets = WorkingSets(limits.working_set_bytes)
        metrics.WORKING_SETS.set_function(lambda: self._working_sets.size)
        metrics.WAITING_BYTES.set_function(lambda: sum(lane.waiting_bytes for lane in self._lanes.values()))
        metrics.WAITING.set_function(lambda: sum(lane.waiting for lane in self._lanes.values()))
        self._on_commit: list[OnCommit] = []
        self._on_loss: list[OnLoss] = []
        self._admit: Admit | None = None

    def on_commit(self, tell: OnCommit) -> None:
        """Call a function for every commit of this process from now on."""
        self._on_commit.append(tell)

    def on_loss(self, tell: OnLoss) -> None:
        """Call a function, with a description, if the database turns out to lack a commit of this process."""
        self._on_loss.append(tell)

    def admit_by(self, admit: Admit) -> None:
        """Call a function for all requests from now on, before they reach a lane; it may refuse them."""
        self._admit = admit

    def busy(self, tenant_id: str) -> bool:
        """Whether work of a tenant is under way in this process."""
        lane = self._lanes.get(tenant_id)
        return lane is not None and not lane.idle

    def read_by_time(self, tenant_id: str) -> None:
        """Take note that a read by time has to wait for this process's commits for a tenant."""
        lane = self._lanes.get(tenant_id)
        if lane is not None:
            lane.read_by_time()

    def final_until(self, tenant_id: str) -> FinalUntil | None:
        """Return how far a tenant's journal was final after the newest commit of this process."""
        lane = self._lanes.get(tenant_id)
        return None if lane is None else lane.final_until

    def rests_at(self, tenant_id: str) -> int | None:
        """Return the newest record of a tenant known here; None while a further one is decided or written."""
        lane = self._lanes.get(tenant_id)
        return None if lane is None else lane.rests_at

    async def submit(
        self,
        tenant_id: str,
        requests: Sequence[Request],
        *,
        atomic: bool = False,
        deadline: float | None = None,
        caller: NamedCaller | None = None,
    ) -> list[Outcome]:
        """Decide requests in one batch and return their outcomes once they are durable.

        Args:
            atomic: all requests take effect or none; if one is refused, the others get BATCH_ABORTED.
            deadline: in the event loop's time; work that has not begun by then is not begun.
            caller: who is recorded; None for what the ledger asks of itself. RPCs ask by `CallersLedger`.
        Raises:
            Undecided: CurrencyContradicted, TenantNotFound, LaneFull,
                DeadlinePassed, ShuttingDown or StoreUnavailable.
        """
        if self._admit is not None:
            admitted = self._admit(requests)
            if admitted is not None:
                await admitted
        return await self.enqueue(tenant_id, requests, atomic=atomic, deadline=deadline, caller=caller)

    def enqueue(
        self,
        tenant_id: str,
        requests: Sequence[Request],
        *,
        atomic: bool = False,
        deadline: float | None = None,
        caller: NamedCaller | None = None,
    ) -> "asyncio.Future[list[Outcome]]":
        """Put transactions into the tenant's lane at once; like `submit`, but return the future."""
        if self._draining:
            raise ShuttingDown
        lane = self._lane(tenant_id)
        loop = lane.loop
        made = self._traces
        work = Work(
            requests,
            atomic=atomic,
            deadline=deadline,
            future=loop.create_future(),
            submit_time=loop.time(),
            place=None if made is None else made.here(),
            caller=caller,
        )
        lane.submit(work)
        return work.future

    def check_room(self, tenant_id: str, size_bytes: int) -> None:
        """Refuse work that the tenant's lane has no room for, before a large message is made into commands.

        Raises:
            LaneFull: there is no room now.
        """
        lane = self._lanes.get(tenant_id)
        if (
            lane is not None
            and lane.waiting
            and lane.waiting_bytes + size_bytes > self._limits.capacity_bytes
        ):
            raise LaneFull(tenant_id=tenant_id)

    async def create_tenant(
        self,
        tenant_id: str,
        request: Request,
        *,
        deadline: float | None = None,
        caller: NamedCaller | None = None,
    ) -> Outcome:
        """Begin a tenant's journal with record 1; a tenant that exists decides by its own lane."""
        if self._draining:
            raise ShuttingDown
        command, key, digest = request.command, request.key, request.digest
        assert isinstance(command, CreateTenant)
        assert key is not None
        assert digest is not None
        number = tenant_key(TenantId(tenant_id))
        now = await trusted(self._clock)
        encoder = RecordEncoder(tenant_id, TenantIds(number))
        fact = EnforcementChanged(FactKind.TENANT_CREATED, command.enforcement, now, switch=None)
        content, record = encoder.encode(
            fact, sequence=1, record_time=now, request=key, digest=digest, caller=caller
        )
        row = JournalRow(1, fact, key, digest, now, record, chain(NO_CHAIN_HASH, record), content)
        head = Head(
            tenant_id=tenant_id,
            sequence=1,
            chain_hash=row.chain_hash,
            record_time=now,
            enforcement=command.enforcement,
            create_time=now,
            policy=NO_POLICY,
            adjustment_policy=NO_ADJUSTMENT_POLICY,
            epochs=(),
            epoch="",
            final_time=None,
        )
        span = window(self._clock)
        try:
            async with self._pool.transaction() as connection:
                created = await lane_writes.insert_tenant(connection, number, head, window=span)
                if created:
                    await lane_writes.write_locked(connection, number, [row], {}, window=span)
        except lane_writes.TimeRefused:
            doubt(self._clock)
            raise StoreUnavailable from None
        if created:
            return Outcome(fact.kind, content, 1)
        [outcome] = await self.submit(tenant_id, [request], deadline=deadline, caller=caller)
        return outcome

    async def drain(self) -> None:
        """Take no more work and return when everything that was taken has been answered."""
        self._draining = True
        await asyncio.gather(*(lane.until_idle() for lane in self._lanes.values()))

    def abort(self) -> None:
        """Stop at once, as a crash would."""
        self._draining = True
        for lane in self._lanes.values():
            lane.abort()

    def _lane(self, tenant_id: str) -> Lane:
        lane = self._lanes.get(tenant_id)
        if lane is None:
            self._forget_idle_lanes()
            key = tenant_key(TenantId(tenant_id))
            lane = Lane(
                tenant_id,
                key,
                self._pool,
                self._clock,
                self._limits,
                on_commit=self._committed,
                on_loss=self._lost,
                working_sets=self._working_sets,
            )
            self._lanes[tenant_id] = lane
        else:
            self._lanes.move_to_end(tenant_id)
        return lane

    def _committed(self, tenant_id: str, rows: Sequence[JournalRow]) -> None:
        for tell in self._on_commit:
            tell(tenant_id, rows)

    def _lost(self, why: str) -> None:
        for tell in self._on_loss:
            tell(why)

    def _forget_idle_lanes(self) -> None:
        if len(self._lanes) < _MAX_IDLE_LANES:
            return
        for tenant_id, lane in list(self._lanes.items()):
            if lane.idle:
                del self._lanes[tenant_id]
                self._working_sets.drop(lane)
                return
