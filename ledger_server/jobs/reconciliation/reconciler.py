"""Owns the runs that this process works on: begun, kept by their lease, recorded, and given up."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from defter.reconciliation.v1 import reconciliation_pb2 as pb

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import ShuttingDown
from ledger_server.domain.ids import TenantId, TenantIds, TenantKey, tenant_key
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.reconciliation.runs import Claimed, LostLease, Runs
from ledger_server.engine.records.times import moment, timestamp
from ledger_server.jobs import metrics
from ledger_server.jobs.reconciliation.pace import Pace
from ledger_server.jobs.reconciliation.reporting import Reporter
from ledger_server.jobs.reconciliation.run import Run, RunWindow
from ledger_server.providers.adapter import Adapter
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.ledger_rows import JournalRow

log = structlog.get_logger()

_SAVE_SECONDS: Final = 0.5
_TAKEN_OVER: Final = "a run was taken over by another process"


class Reconciler:
    """All runs of this process.

    Attributes:
        stopping: whether no more runs are taken on, since the process is about to end.
    """

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        clock: Clock,
        runs: Runs,
        adapters: Mapping[str, Adapter],
        *,
        pause_seconds: float = 1.0,
    ) -> None:
        self._ledger = ledger
        self._pool = pool
        self._clock = clock
        self._runs = runs
        self._adapters = adapters
        self._pause_seconds = pause_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._committed = 0
        self.stopping = False

    @property
    def stopped(self) -> bool:
        """Whether no more runs are taken on and the end of each run has been written."""
        return self.stopping and not self._tasks

    def start(self) -> None:
        """Begin nothing: runs are asked for."""

    async def stop(self) -> None:
        """Give up all runs and take on no more; a call that asks for one again begins at its start."""
        self.stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def committed(self, _: str, rows: Sequence[JournalRow]) -> None:
        """Count what the process commits, so that runs make room for it."""
        self._committed += len(rows)

    def begin(self, request: pb.RunReconciliationRequest, claimed: Claimed, ids: TenantIds) -> None:
        """Work on a run that was claimed, whether or not the caller stays.

        Raises:
            ShuttingDown: no more runs are taken on; the run's lease ends by itself.
        """
        if self.stopping:
            raise ShuttingDown
        task = asyncio.create_task(self._work(request, claimed, ids))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, request: pb.RunReconciliationRequest, claimed: Claimed, ids: TenantIds) -> None:
        # Nothing is awaited before the `try`, so the end of a run is always written.
        key = tenant_key(TenantId(request.tenant_id))
        assert claimed.owner is not None
        lease = self._runs.lease(key, claimed.number, claimed.owner)
        reporter = Reporter(
            self._ledger,
            self._pool,
            self._clock,
            lease,
            tenant_id=request.tenant_id,
            ids=ids,
            run=claimed.number,
        )
        run = Run(
            adapter=self._adapters[request.provider],
            pool=self._pool,
            clock=self._clock,
            lease=lease,
            reporter=reporter,
            pace=Pace(lambda: self._committed - reporter.committed),
            key=key,
            ids=ids,
            provider=request.provider,
            number=claimed.number,
            window=_window(request),
            pause_seconds=self._pause_seconds,
        )
        where = {"run_id": claimed.run.run_id, "tenant_id": request.tenant_id}
        log.info("a run has begun", provider=request.provider, **where)
        try:
            complete = await self._keep(key, claimed, run)
        except LostLease:
            log.warning(_TAKEN_OVER, **where)
        except asyncio.CancelledError:
            await self._end(
                key, claimed, run, state=pb.RUN_STATE_INTERRUPTED, problem="the server was stopped"
            )
            raise
        except Exception as error:
            log.exception("a run was interrupted", **where)
            why = f"{type(error).__name__}; the server's log says more"
            await self._end(key, claimed, run, state=pb.RUN_STATE_INTERRUPTED, problem=why)
        else:
            state = pb.RUN_STATE_COMPLETE if complete else pb.RUN_STATE_PARTIAL
            await self._end(key, claimed, run, state=state, problem=run.progress.problem)
            log.info("a run has ended", state=pb.RunState.Name(state), **where)

    async def _keep(self, key: TenantKey, claimed: Claimed, run: Run) -> bool:
        """Let a run work, and save its progress until it is done."""
        work = asyncio.create_task(run.work())
        try:
            while True:
                done, _ = await asyncio.wait({work}, timeout=_SAVE_SECONDS)
                if done:
                    return work.result()
                try:
                    await self._save(key, claimed, run)
                except CONNECTION_ERRORS as error:
                    # The lease still holds for a while; if the database stays away, the work itself will
                    # fail.
                    log.warning("a run's progress could not be saved", error=repr(error))
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _save(self, key: TenantKey, claimed: Claimed, run: Run) -> None:
        assert claimed.owner is not None
        run.progress.fill(claimed.run)
        if not await self._runs.save(key, claimed.number, claimed.owner, claimed.run):
            raise LostLease

    async def _end(
        self,
        key: TenantKey,
        claimed: Claimed,
        run: Run,
        *,
        state: "pb.RunState.ValueType",
        problem: str,
    ) -> None:
        """Write how a run has ended; if that fails, the end of its lease says the same."""
        run.progress.fill(claimed.run)
        claimed.run.state = state
        claimed.run.stage = pb.RUN_STAGE_UNSPECIFIED
        claimed.run.problem = problem
        claimed.run.end_time.CopyFrom(timestamp(self._clock()))
        metrics.RUNS.labels(state=pb.RunState.Name(state)).inc()
        metrics.RECORDS.inc(claimed.run.fetched_count)
        assert claimed.owner is not None
        try:
            if not await self._runs.save(key, claimed.number, claimed.owner, claimed.run):
                log.warning(_TAKEN_OVER, run_id=claimed.run.run_id)
        except CONNECTION_ERRORS as error:
            log.warning("a run's end could not be saved", error=repr(error))


def _window(request: pb.RunReconciliationRequest) -> RunWindow:
    return RunWindow(
        from_time=moment(request.from_time),
        to_time=moment(request.to_time),
        grace=request.grace.ToTimedelta() if request.HasField("grace") else None,
        stale_after=request.stale_after.ToTimedelta() if request.HasField("stale_after") else None,
    )
