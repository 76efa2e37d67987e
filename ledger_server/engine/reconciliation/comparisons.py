"""Owns the runs of comparisons of balances: begun, kept by a lease, and put in the order of their moments.

A comparison is a row among the runs, under a name that no provider account can have, so that one at a time is
under way for a legacy system and lists show it. Its caller sends the snapshot, so nobody takes it up again: a
row whose worker has died is declared interrupted by the next comparison.
"""

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from defter.reconciliation.v1 import reconciliation_pb2 as pb

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import ReconciliationUnderWay
from ledger_server.domain.ids import TenantIds, TenantKey, run_number
from ledger_server.domain.reconciliation.balance_comparison import Bucket, Moment
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.engine.reconciliation.runs import Lease
from ledger_server.engine.records.journal import caller_message
from ledger_server.engine.records.times import moment_in, timestamp
from ledger_server.store import drift_store, run_store
from ledger_server.store.database import AnyConnection, Pool
from ledger_server.store.database_clock import known, trusted
from ledger_server.store.queries.runs import list_runs
from ledger_server.store.run_store import StoredRun

LEASE: Final = timedelta(seconds=120)
"""Longer than a sender may be silent, since the lease is renewed between two messages."""

_RUNNING: Final = int(pb.RUN_STATE_RUNNING)
_COMPLETE: Final = int(pb.RUN_STATE_COMPLETE)
# So many complete comparisons are looked at for one of a later moment.
_LOOKED_AT: Final = 1_000


class WantedComparison(NamedTuple):
    """What is compared: whose balances, as of when, and what the snapshot covers."""

    tenant_id: str
    source: str
    moment: Moment
    subject_time: datetime
    partial: bool
    buckets: tuple[Bucket, ...]


class Begun(NamedTuple):
    """A comparison that has begun: its number, its row, and the name under which this process has it."""

    number: int
    run: pb.Run
    owner: str


class Comparisons:
    """The comparisons of all tenants, as the database has them."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def begin(
        self, key: TenantKey, ids: TenantIds, wanted: WantedComparison, caller: NamedCaller | None
    ) -> Begun:
        """Begin a comparison.

        Raises:
            ReconciliationUnderWay: another one with that legacy system is under way.
        """
        number = run_number(secrets.token_hex(16))
        run = pb.Run(
            run_id=ids.run_id(number),
            provider=wanted.source,
            state=pb.RUN_STATE_RUNNING,
            stage=pb.RUN_STAGE_COMPARING,
            caller=None if caller is None else caller_message(caller),
            comparison=pb.Comparison(
                sequence=wanted.moment.sequence,
                snapshot_time=None if wanted.moment.time is None else timestamp(wanted.moment.time),
                partial=wanted.partial,
                without_bonus=Bucket.BONUS not in wanted.buckets,
                without_real=Bucket.REAL not in wanted.buckets,
            ),
        )
        try:
            async with self._pool.transaction() as connection:
                return await self._begin(
                    connection, key, ids, wanted, Begun(number, run, secrets.token_hex(8))
                )
        except run_store.RunBegun:
            raise ReconciliationUnderWay.of_comparison(wanted.source, "") from None

    async def _begin(
        self,
        connection: AnyConnection,
        key: TenantKey,
        ids: TenantIds,
        wanted: WantedComparison,
        begun: Begun,
    ) -> Begun:
        name = row_name(wanted.source)
        now = await trusted(self._clock)
        other = await run_store.lock_running(connection, key, name)
        if other is not None:
            if other.lease_until > now:
                raise ReconciliationUnderWay.of_comparison(wanted.source, ids.run_id(other.number))
            await _interrupt(connection, key, other, now)
        newest = (datetime.max.replace(tzinfo=UTC), 0)
        complete = await list_runs(
            connection, key, provider=name, state=_COMPLETE, before=newest, size=_LOOKED_AT
        )
        begun.run.begin_time.CopyFrom(timestamp(now))
        begun.run.comparison.overtaken_by_run_id = overtaken_by(
            wanted, (pb.Run.FromString(each.body) for each in complete)
        )
        stored = StoredRun(begun.number, _RUNNING, b"", now + LEASE, begun.run.SerializeToString())
        await run_store.begin_run(connection, key, name, stored, owner=begun.owner, begin_time=now)
        return begun

    async def save(self, key: TenantKey, begun: Begun) -> bool:
        """Write how far a comparison has come and renew its lease; return False if it was declared dead."""
        lease_until = await known(self._clock) + LEASE
        async with self._pool.acquire() as connection:
            return await run_store.save_run(
                connection,
                key,
                begun.number,
                owner=begun.owner,
                state=int(begun.run.state),
                lease_until=lease_until,
                body=begun.run.SerializeToString(),
            )

    def lease(self, key: TenantKey, begun: Begun) -> Lease:
        """Return what proves that a comparison is still this process's."""
        return Lease(self._pool, key, begun.number, begun.owner)

    async def moments(self, key: TenantKey, numbers: Iterable[int]) -> dict[int, Moment]:
        """Return the moments of those of the runs that were comparisons of balances."""
        async with self._pool.acquire() as connection:
            bodies = await drift_store.run_bodies(connection, key, sorted(numbers))
        runs = {number: pb.Run.FromString(body) for number, body in bodies.items()}
        return {number: moment_of(run) for number, run in runs.items() if run.HasField("comparison")}


def row_name(source: str) -> str:
    """Return the name that runs of comparisons have in place of a provider account's, which has no colon."""
    return f"balances:{source}"


def moment_of(run: pb.Run) -> Moment:
    """Return the moment of a comparison."""
    return Moment(run.comparison.sequence, moment_in(run.comparison, "snapshot_time"))


def overtaken_by(wanted: WantedComparison, complete: Iterable[pb.Run]) -> str:
    """Return the id of a complete comparison of a later moment with all that is wanted; empty for none."""
    for run in complete:
        seen = run.comparison
        missed = (seen.without_bonus and Bucket.BONUS in wanted.buckets) or (
            seen.without_real and Bucket.REAL in wanted.buckets
        )
        counts = not (seen.partial or missed or seen.overtaken_by_run_id)
        if counts and wanted.moment.is_before(moment_of(run)):
            return run.run_id
    return ""


async def _interrupt(connection: AnyConnection, key: TenantKey, stored: StoredRun, now: datetime) -> None:
    run = pb.Run.FromString(stored.body)
    run.state = pb.RUN_STATE_INTERRUPTED
    run.stage = pb.RUN_STAGE_UNSPECIFIED
    run.problem = "the process that worked on it has ended"
    run.end_time.CopyFrom(timestamp(now))
    await run_store.set_state(connection, key, stored.number, int(run.state), run.SerializeToString())
