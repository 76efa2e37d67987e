"""Owns the lanes of the fake: each tenant's work is decided in order, by the server's batches, in memory."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NoReturn, cast

from defter_testing.loading import prepare
from defter_testing.tenants import MemoryTenant
from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import DeadlinePassed, Refused, ShuttingDown, TenantNotFound
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.state.commands import CreateTenant, ExpireHolds, NamedCaller
from ledger_server.domain.state.facts import EnforcementChanged, FactKind
from ledger_server.engine.incidents import report
from ledger_server.engine.lane.batch import Batch
from ledger_server.engine.lane.lane_limits import LaneLimits
from ledger_server.engine.lane.naming import named_here
from ledger_server.engine.lane.work import Outcome, Request, Work
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.records.journal import NO_CHAIN_HASH, RecordEncoder, chain
from ledger_server.store.database import Pool
from ledger_server.store.ledger_rows import JournalRow

# So many due holds of one tenant are handed to its lane at once, as the server's sweeper does.
_SWEPT: Final = 500


class _NoDatabase:
    """Stands where the server has its connections; whoever asks it for one is told that there is none."""

    def get_max_size(self) -> int:
        return 1

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"the fake has no database ({name})")


NO_DATABASE: Final = cast("Pool", _NoDatabase())


class MemoryLedger(Ledger):
    """All tenants of a fake. What is decided is written at once, and gone with the process."""

    def __init__(self, clock: Clock, *, epoch: str = "") -> None:
        """Begin without a tenant.

        Args:
            epoch: what ids carry; empty: nothing.
        """
        self._memory_limits = LaneLimits()
        super().__init__(NO_DATABASE, clock, self._memory_limits)
        self.tenants: Final[dict[str, MemoryTenant]] = {}
        self._epoch = epoch
        self._running: set[asyncio.Task[None]] = set()
        self._is_draining = False

    def tenant(self, tenant_id: str) -> MemoryTenant:
        """Return a tenant. Raises TenantNotFound."""
        try:
            return self.tenants[tenant_id]
        except KeyError:
            raise TenantNotFound(tenant_id=tenant_id) from None

    def enqueue(
        self,
        tenant_id: str,
        requests: Sequence[Request],
        *,
        atomic: bool = False,
        deadline: float | None = None,
        caller: NamedCaller | None = None,
    ) -> "asyncio.Future[list[Outcome]]":
        """Put work behind what waits for its tenant; the outcomes are written when the future is done."""
        if self._is_draining:
            raise ShuttingDown
        loop = asyncio.get_running_loop()
        work = Work(
            requests,
            atomic=atomic,
            deadline=deadline,
            future=loop.create_future(),
            submit_time=loop.time(),
            caller=caller,
        )
        tenant = self.tenants.get(tenant_id)
        if tenant is None:
            work.fail(TenantNotFound(tenant_id=tenant_id))
            return work.future
        tenant.waiting.append(work)
        if not tenant.is_running:
            tenant.is_running = True
            task = loop.create_task(self._run(tenant))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return work.future

    def check_room(self, tenant_id: str, size_bytes: int) -> None:
        """Refuse nothing: the fake takes what it is given."""

    async def create_tenant(
        self,
        tenant_id: str,
        request: Request,
        *,
        deadline: float | None = None,
        caller: NamedCaller | None = None,
    ) -> Outcome:
        """Begin a tenant's journal with record 1; a tenant that exists decides by its own lane."""
        if self._is_draining:
            raise ShuttingDown
        if tenant_id in self.tenants:
            [outcome] = await self.submit(tenant_id, [request], deadline=deadline, caller=caller)
            return outcome
        command, now = request.command, self._clock()
        assert isinstance(command, CreateTenant)
        fact = EnforcementChanged(FactKind.TENANT_CREATED, command.enforcement, now, switch=None)
        encoder = RecordEncoder(tenant_id, TenantIds(tenant_key(TenantId(tenant_id))))
        content, record = encoder.encode(
            fact, sequence=1, record_time=now, request=request.key, digest=request.digest, caller=caller
        )
        row = JournalRow(
            1, fact, request.key, request.digest, now, record, chain(NO_CHAIN_HASH, record), content
        )
        self.tenants[tenant_id] = MemoryTenant(tenant_id, row, self._epoch)
        self._committed(tenant_id, [row])
        return Outcome(fact.kind, content, 1)

    async def expire_due(self) -> None:
        """End the holds of all tenants whose time has come, as the server's sweeper does."""
        for tenant in list(self.tenants.values()):
            now = max(self._clock(), tenant.record_time)
            due = sorted(
                (hold for hold in tenant.holds.values() if hold.due(now)),
                key=lambda hold: (hold.expire_time, hold.number),
            )
            for start in range(0, len(due), _SWEPT):
                numbers = tuple(hold.number for hold in due[start : start + _SWEPT])
                await self.submit(tenant.tenant_id, [Request(ExpireHolds(numbers=numbers))])

    async def drain(self) -> None:
        """Take no more work and return when all that was taken has been answered."""
        self._is_draining = True
        while self._running:
            await asyncio.wait(set(self._running))

    async def _run(self, tenant: MemoryTenant) -> None:
        loop = asyncio.get_running_loop()
        try:
            while tenant.waiting:
                work = tenant.waiting.popleft()
                if work.future.done():  # the caller has given up
                    continue
                if work.deadline is not None and loop.time() >= work.deadline:
                    work.fail(DeadlinePassed())
                    continue
                try:
                    await self._decide(tenant, work)
                except Refused as refused:
                    work.fail(refused)
                except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
                    work.fail(report(error, "a decision failed", tenant_id=tenant.tenant_id))
        finally:
            tenant.is_running = False

    async def _decide(self, tenant: MemoryTenant, work: Work) -> None:
        limits, tip = self._memory_limits, tenant.tip
        more = True
        while more:  # a part of what is due may have to end first
            now = max(self._clock(), tenant.earliest_time)
            work.requests = named_here(tip.working_set.ids, work.requests)
            commands: list[Any] = [request.command for request in work.requests]
            prepared = prepare(tenant, commands, now, limit=limits.expiry_size)
            batch = Batch(tip, tenant.encoder, tenant.load_finding)
            batch.begin_epoch(now)
            more = batch.expire_due(
                prepared.due,
                now,
                at_most=limits.expiry_size,
                size_bytes=limits.batch_bytes,
                more=prepared.more_due,
            )
            if not more:
                await batch.decide(work, now, tenant.found(work.requests))
            batch.close()
            self._write(tenant, batch)
        work.finish()

    def _write(self, tenant: MemoryTenant, batch: Batch) -> None:
        tip = tenant.tip
        for key in batch.keys:
            tip.undone.pop(key, None)
        if batch.rows:
            tenant.write(batch.rows)
            self._committed(tenant.tenant_id, batch.rows)
