"""Owns the leases of reconciliation runs: a worker claims a run, keeps it by its lease, and may lose it.

A run's number follows from its idempotency key. One run at a time is under way for a provider account.
The lease of a worker that died ends by time. Then a call with the same key takes the run up again from its
start, and a call with another key declares it interrupted and begins its own run.
"""

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, NamedTuple

from defter.reconciliation.v1 import reconciliation_pb2 as pb

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import IdempotencyKeyReused, ReconciliationUnderWay, RunNotFound
from ledger_server.domain.ids import TenantId, TenantIds, TenantKey, run_number, tenant_key
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.engine.records.journal import caller_message, named_caller
from ledger_server.engine.records.times import timestamp
from ledger_server.store import run_store
from ledger_server.store.database import AnyConnection, Pool
from ledger_server.store.database_clock import known, trusted
from ledger_server.store.run_store import StoredRun

LEASE: Final = timedelta(seconds=30)
METHOD: Final = "RunReconciliation"
_DIGEST_BYTES: Final = 16

RUNNING: Final = int(pb.RUN_STATE_RUNNING)
_ENDED: Final = frozenset({int(pb.RUN_STATE_COMPLETE), int(pb.RUN_STATE_PARTIAL)})


class LostLease(Exception):
    """Another process has taken the run over."""


class Lease:
    """A worker's exclusive right to a run: a worker that has lost it can't write any more."""

    def __init__(self, pool: Pool, key: TenantKey, number: int, owner: str) -> None:
        self._pool = pool
        self._key = key
        self._number = number
        self._owner = owner

    @asynccontextmanager
    async def held(self) -> AsyncIterator[AnyConnection]:
        """Open a database transaction until whose end the run is this worker's.

        Raises:
            LostLease: the run is another worker's by now; a worker that was held up finds out here.
        """
        async with self._pool.transaction() as connection:
            if not await run_store.hold_run(connection, self._key, self._number, self._owner):
                raise LostLease
            yield connection

    async def check(self) -> None:
        """Raise LostLease if the run was not this worker's during everything that was read so far."""
        async with self.held():
            pass


class Followed(NamedTuple):
    """A run as it stands; `lost` if its worker has died."""

    run: pb.Run
    lost: bool


class Claimed(NamedTuple):
    """The answer to a claim: `owner` if this process has to do the run, else it goes on or has ended."""

    number: int
    run: pb.Run
    owner: str | None
    ended: bool


class Runs:
    """The runs of all tenants, as the database has them."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def claim(self, request: pb.RunReconciliationRequest, caller: NamedCaller | None) -> Claimed:
        """Begin a run, take it up again, or find out that another worker has it or that it has ended.

        A run that is taken up again keeps the caller who asked for it first.

        Raises:
            ReconciliationUnderWay: another run of the provider account is under way.
            IdempotencyKeyReused: the key asked for something else before.
        """
        for last in (False, True):
            try:
                async with self._pool.transaction() as connection:
                    return await self._claim(connection, request, caller)
            except run_store.RunBegun:
                # Another process has just begun this run, or another one of the account; the second look
                # finds it.
                if last:
                    raise
        raise AssertionError("one of the two looks returns or raises")

    async def _claim(
        self,
        connection: AnyConnection,
        request: pb.RunReconciliationRequest,
        caller: NamedCaller | None,
    ) -> Claimed:
        key = tenant_key(TenantId(request.tenant_id))
        number = run_number(request.idempotency_key)
        digest = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()[:_DIGEST_BYTES]
        now = await trusted(self._clock)
        mine = await run_store.read_run(connection, key, number, lock=True)
        if mine is not None:
            if mine.digest != digest:
                raise IdempotencyKeyReused(idempotency_key=request.idempotency_key, method=METHOD)
            known = pb.Run.FromString(mine.body)
            caller = named_caller(known.caller) if known.HasField("caller") else None
            if mine.state in _ENDED:
                return Claimed(number, known, None, ended=True)
            if mine.state == RUNNING and mine.lease_until > now:
                return Claimed(number, known, None, ended=False)
        other = await run_store.lock_running(connection, key, request.provider)
        if other is not None and other.number != number:
            if other.lease_until > now:
                raise ReconciliationUnderWay(
                    provider=request.provider, run_id=TenantIds(key).run_id(other.number)
                )
            await self._interrupt(connection, key, other)
        run = pb.Run(
            run_id=TenantIds(key).run_id(number),
            provider=request.provider,
            from_time=request.from_time,
            to_time=request.to_time,
            state=pb.RUN_STATE_RUNNING,
            stage=pb.RUN_STAGE_FETCHING,
            begin_time=timestamp(now),
            idempotency_key=request.idempotency_key,
            caller=None if caller is None else caller_message(caller),
        )
        owner = secrets.token_hex(8)
        stored = StoredRun(number, RUNNING, digest, now + LEASE, run.SerializeToString())
        if mine is None:
            await run_store.begin_run(connection, key, request.provider, stored, owner=owner, begin_time=now)
        else:
            await run_store.take_up_run(connection, key, stored, owner=owner, begin_time=now)
        return Claimed(number, run, owner, ended=False)

    async def _interrupt(self, connection: AnyConnection, key: TenantKey, stored: StoredRun) -> None:
        run = pb.Run.FromString(stored.body)
        run.state = pb.RUN_STATE_INTERRUPTED
        run.stage = pb.RUN_STAGE_UNSPECIFIED
        run.problem = "the process that worked on it has ended"
        run.end_time.CopyFrom(timestamp(self._clock()))
        await run_store.set_state(connection, key, stored.number, int(run.state), run.SerializeToString())

    def lease(self, key: TenantKey, number: int, owner: str) -> Lease:
        """Return the lease of a claimed run."""
        return Lease(self._pool, key, number, owner)

    async def save(self, key: TenantKey, number: int, owner: str, run: pb.Run) -> bool:
        """Write how far a run has come and renew its lease; return False if the run was taken over."""
        lease_until = await known(self._clock) + LEASE
        async with self._pool.acquire() as connection:
            return await run_store.save_run(
                connection,
                key,
                number,
                owner=owner,
                state=int(run.state),
                lease_until=lease_until,
                body=run.SerializeToString(),
            )

    async def follow(self, tenant_id: str, number: int) -> Followed:
        """Return a run as it stands. Raises RunNotFound."""
        key = tenant_key(TenantId(tenant_id))
        async with self._pool.acquire() as connection:
            stored = await run_store.read_run(connection, key, number)
        if stored is None:
            raise RunNotFound(run_id=TenantIds(key).run_id(number))
        lost = stored.state == RUNNING and stored.lease_until <= await known(self._clock)
        return Followed(pb.Run.FromString(stored.body), lost)
