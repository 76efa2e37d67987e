"""Owns comparisons of balances: a sorted snapshot is merged with the ledger's wallets, stretch by stretch.

The snapshot comes in the order of the ledger's own index, so what it lacks is found between two of its lines,
and neither side is ever held whole. What is read is as of one record, which never changes, so no database
transaction is held either.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

import structlog
from defter.backfill.v1 import backfill_pb2 as pb
from defter.reconciliation.v1 import reconciliation_pb2

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import DeadlinePassed, ReconciliationUnderWay, Refused
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.domain.reconciliation.balance_comparison import Balance, ComparedBalances, compare, place
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.engine.fair_gate import FairGate, Flow
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.reconciliation.comparisons import Begun, Comparisons, WantedComparison
from ledger_server.engine.reconciliation.runs import LostLease
from ledger_server.engine.records.times import timestamp
from ledger_server.jobs.balances.counting import Counts
from ledger_server.jobs.balances.telling import DriftTeller
from ledger_server.jobs.balances.wallets import Stretch, Wallets
from ledger_server.jobs.reconciliation.pace import Pace
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.lane_store import read_ids
from ledger_server.store.ledger_rows import JournalRow

log = structlog.get_logger()

# So many are worked on at once; of one tenant, half as many.
_AT_ONCE: Final = 4
# A sender that falls silent must not keep others from comparing; much shorter than a lease.
_SILENCE_SECONDS: Final = 60.0
_SAVE_SECONDS: Final = 0.5

Pages = AsyncIterator[Sequence[Balance]]


class Comparer:
    """The comparisons of this process."""

    def __init__(self, ledger: Ledger, pool: Pool, clock: Clock, comparisons: Comparisons) -> None:
        self._ledger = ledger
        self._pool = pool
        self._clock = clock
        self._comparisons = comparisons
        self._committed = 0
        self._writing: set[asyncio.Task[None]] = set()
        self._gate = FairGate(_AT_ONCE // 2, total=_AT_ONCE)

    def committed(self, _: str, rows: Sequence[JournalRow]) -> None:
        """Count what the process commits, so that comparisons make room for it."""
        self._committed += len(rows)

    async def compare(
        self, wanted: WantedComparison, pages: Pages, *, caller: NamedCaller | None
    ) -> AsyncGenerator[pb.CompareBalancesResponse, None]:
        """Compare a snapshot, and yield the run as it goes on with what was found.

        Args:
            pages: the snapshot's lines in order; they end where the snapshot has proved to be whole.
        Raises:
            ReconciliationUnderWay: another comparison with that legacy system is under way; told before
                anything is yielded, unless the lease was lost.
            Refused: what `pages` raises; nothing is resolved then.
        """
        async with self._gate.entered(Flow(wanted.tenant_id, "")):
            key = tenant_key(TenantId(wanted.tenant_id))
            async with self._pool.acquire() as connection:
                ids = await read_ids(connection, key)
            begun = await self._comparisons.begin(key, ids, wanted, caller)
            teller = DriftTeller(
                self._ledger, self._pool, self._clock, self._comparisons, wanted=wanted, ids=ids, begun=begun
            )
            pace = Pace(lambda: self._committed - teller.committed)
            work = _Work(self._comparisons, Wallets(self._pool, key, wanted.moment.sequence), teller, pace)
            try:
                async for response in work.responses(wanted, begun, pages):
                    yield response
            except (asyncio.CancelledError, GeneratorExit):
                await self._interrupt(wanted, begun, work.counts, "the caller went away")
                raise
            except LostLease:
                raise ReconciliationUnderWay.of_comparison(wanted.source, begun.run.run_id) from None
            except Refused as refused:
                await self._interrupt(wanted, begun, work.counts, refused.reason.name)
                raise
            except Exception as error:
                await self._interrupt(wanted, begun, work.counts, type(error).__name__)
                raise
            yield await self._end(wanted, begun, work.counts, state=reconciliation_pb2.RUN_STATE_COMPLETE)

    async def _interrupt(self, wanted: WantedComparison, begun: Begun, counts: Counts, problem: str) -> None:
        """Write that a comparison came to nothing; if that fails, the end of its lease says the same.

        A caller who goes away is noticed twice, by the end of the messages and by the call's cancellation.
        The second must not stop the writing that the first has begun.
        """
        begun.run.problem = begun.run.problem or problem
        writing = asyncio.create_task(self._write_interrupted(wanted, begun, counts))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        await asyncio.shield(writing)

    async def _write_interrupted(self, wanted: WantedComparison, begun: Begun, counts: Counts) -> None:
        try:
            await self._end(wanted, begun, counts, state=reconciliation_pb2.RUN_STATE_INTERRUPTED)
        except (*CONNECTION_ERRORS, Refused) as error:
            log.warning("a comparison's end could not be saved", error=repr(error))

    async def _end(
        self,
        wanted: WantedComparison,
        begun: Begun,
        counts: Counts,
        *,
        state: "reconciliation_pb2.RunState.ValueType",
    ) -> pb.CompareBalancesResponse:
        counts.fill(begun.run)
        begun.run.state = state
        begun.run.stage = reconciliation_pb2.RUN_STAGE_UNSPECIFIED
        begun.run.end_time.CopyFrom(timestamp(self._clock()))
        if not await self._comparisons.save(tenant_key(TenantId(wanted.tenant_id)), begun):
            raise ReconciliationUnderWay.of_comparison(wanted.source, begun.run.run_id)
        log.info("a comparison has ended", run_id=begun.run.run_id, state=int(state))
        return pb.CompareBalancesResponse(run=begun.run)


class _Work:
    """One comparison: what comes is merged with what the ledger has."""

    def __init__(self, comparisons: Comparisons, wallets: Wallets, teller: DriftTeller, pace: Pace) -> None:
        self.counts = Counts()
        self._comparisons = comparisons
        self._wallets = wallets
        self._teller = teller
        self._pace = pace
        self._saved = asyncio.get_running_loop().time()

    async def responses(
        self, wanted: WantedComparison, begun: Begun, pages: Pages
    ) -> AsyncGenerator[pb.CompareBalancesResponse, None]:
        """Ask for each message, yield what each stretch has shown, and at the end resolve what is gone."""
        held: list[Balance] = []
        while True:
            # A caller's gRPC may lose a refusal that comes while it sends, so it sends when it is asked to.
            yield pb.CompareBalancesResponse(run=begun.run, wants_next=True)
            page = await _next(pages)
            if page is None:
                break
            # A player whose currencies may go on in the next message waits for it.
            balances = [*held, *page]
            cut = next(
                index for index, each in enumerate(balances) if each.player_id == balances[-1].player_id
            )
            ready, held = balances[:cut], balances[cut:]
            if ready:
                async for response in self._stretch(wanted, begun, ready, end=ready[-1].player_id):
                    yield response
        async for response in self._stretch(wanted, begun, held, end=None):
            yield response
        begun.run.stage = reconciliation_pb2.RUN_STAGE_RESOLVING
        await self._teller.resolve_unseen(self.counts, self._pace)

    async def _stretch(
        self, wanted: WantedComparison, begun: Begun, lines: Sequence[Balance], *, end: str | None
    ) -> AsyncGenerator[pb.CompareBalancesResponse, None]:
        """Compare all players up to one, or to the last; of a partial snapshot only its own."""
        read = self._wallets.of(lines) if wanted.partial else self._wallets.up_to(end)
        rest = list(lines)
        async for stretch in read:
            async with self._pace.step():
                count = len(rest) if stretch.end is None else _count_up_to(rest, stretch.end)
                part, rest = rest[:count], rest[count:]
                compared = compare(stretch.balances, part, wanted.buckets)
                self.counts.add(compared, len(part))
                differences = await self._tell(compared, stretch)
                await self._save(wanted, begun)
            yield pb.CompareBalancesResponse(run=begun.run, differences=differences)

    async def _tell(self, compared: ComparedBalances, stretch: Stretch) -> list[pb.BalanceDifference]:
        since = await self._wallets.since(compared.drifts, stretch)
        return await self._teller.tell(compared, since, self.counts)

    async def _save(self, wanted: WantedComparison, begun: Begun) -> None:
        """Write how far it has come, not too often. Raises LostLease where it was declared dead."""
        self.counts.fill(begun.run)
        now = asyncio.get_running_loop().time()
        if now - self._saved < _SAVE_SECONDS:
            return
        self._saved = now
        if not await self._comparisons.save(tenant_key(TenantId(wanted.tenant_id)), begun):
            raise LostLease


def _count_up_to(lines: Sequence[Balance], end: str) -> int:
    """Return how many of the lines, which are in order, are of players up to one."""
    return sum(1 for each in lines if place(each.player_id, "") <= place(end, ""))


async def _next(pages: Pages) -> Sequence[Balance] | None:
    """Return the next lines, or None behind the last. Raises DeadlinePassed if their sender says nothing."""
    try:
        async with asyncio.timeout(_SILENCE_SECONDS):
            return await anext(pages, None)
    except TimeoutError:
        raise DeadlinePassed from None
