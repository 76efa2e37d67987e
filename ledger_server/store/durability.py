"""Owns durability proofs: what was read is told only once it is as durable as the database makes it.

With a synchronous standby a commit waits until the standby has it, and is visible to nobody until then. But
if the wait is cut short (a cancel, an ended session, a restart of PostgreSQL), the commit becomes visible on
the primary all the same, and a failover may take it back. Nothing in the database tells such a commit from
others.

A later commit gives the proof: the log is sent in order, so once a commit has been confirmed, all earlier
ones have been. So a reader proves what it has read before telling it: by what this process knows to be
confirmed, or by a commit of its own that begins after the read. All readers that wait share one proof.
Without a synchronous standby there is nothing to wait for, and the proof is only the question whether there
is one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import asyncpg
from prometheus_client import Counter

from ledger_server.domain.ids import TenantKey

if TYPE_CHECKING:
    _Pool = asyncpg.Pool[asyncpg.Record]
else:
    _Pool = Any

PROOFS: Final = Counter(
    "defter_durability_proofs_total",
    "Commits that proved to readers of this process that what they had read is on the synchronous standby",
)

_PATIENCE_SECONDS: Final = 10.0
_KNOWN_TENANTS: Final = 100_000

_ASK: Final = """
SELECT current_setting('synchronous_standby_names') AS standbys, head.tenant_key, head.sequence
FROM (SELECT 1) AS once
LEFT JOIN (
    SELECT t.tenant_key, t.sequence FROM unnest($1::bigint[]) AS wanted(tenant_key)
    CROSS JOIN LATERAL (
        SELECT tenant_key, sequence FROM tenants WHERE tenant_key = wanted.tenant_key LIMIT 1
    ) AS t
) AS head ON true
"""
# The smallest possible commit: an entry in the write-ahead log that nobody reads, and no row.
_COMMIT: Final = "SELECT pg_logical_emit_message(true, 'defter', '')"

_Result = TypeVar("_Result")


class NotProven(OSError):
    """The synchronous standby did not confirm in time that it has what was read. Retrying helps later."""


class _Heads(NamedTuple):
    """Whether commits wait for a standby, and the newest sequence of each tenant that was asked for."""

    awaited: bool
    sequences: Mapping[TenantKey, int]


class SharedTurn(Generic[_Result]):
    """Coalesces calls: all callers that come before a turn begins share it; later callers get the next."""

    def __init__(self, once: Callable[[], Awaitable[_Result]]) -> None:
        self._once = once
        self._current: asyncio.Task[_Result] | None = None
        self._next: asyncio.Task[_Result] | None = None

    async def __call__(self) -> _Result:
        """Return the result of a turn that begins after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._turn(self._current))
            self._next.add_done_callback(_look_at)
        # A caller that gives up must not cancel the turn for the others.
        return await asyncio.shield(self._next)

    async def _turn(self, before: "asyncio.Task[_Result] | None") -> _Result:
        if before is not None:
            await asyncio.wait({before})
        self._current, self._next = self._next, None
        return await self._once()

    def stop(self) -> None:
        """Give up whatever is under way."""
        for task in (self._current, self._next):
            if task is not None:
                task.cancel()


def _look_at(task: asyncio.Task[Any]) -> None:
    """Retrieve an error, so that asyncio does not complain if all callers have gone."""
    if not task.cancelled():
        task.exception()


class Durability:
    """What one process knows of the durability of its database's commits."""

    def __init__(self, pool: _Pool) -> None:
        """Take a pool of two connections at least that nobody else uses: a proof may wait for long."""
        self._pool = pool
        self._known: OrderedDict[TenantKey, int] = OrderedDict()
        self._wanted: set[TenantKey] = set()
        self._ask = SharedTurn(self._heads)
        self._prove = SharedTurn(self._commit)

    def committed(self, key: TenantKey, sequence: int) -> None:
        """Note that a tenant's records up to a sequence are as durable as the database makes them."""
        self._known[key] = max(sequence, self._known.get(key, 0))
        self._known.move_to_end(key)
        if len(self._known) > _KNOWN_TENANTS:
            self._known.popitem(last=False)

    def forget(self) -> None:
        """Forget everything that is known: the database may be another one by now."""
        self._known.clear()

    def stop(self) -> None:
        """Give up proofs that are under way."""
        self._ask.stop()
        self._prove.stop()

    async def prove(self, key: TenantKey | None = None, sequence: int | None = None) -> None:
        """Return once everything that the caller has read is as durable as the database makes it.

        Args:
            key: the tenant whose journal everything that was read follows from; None for several tenants.
            sequence: the newest sequence of that tenant that the caller can have seen, if it is known.
        Raises:
            NotProven: the standby does not confirm it.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does not answer.
        """
        if key is not None and sequence is not None and sequence <= self._known.get(key, -1):
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._proven(key)
        except TimeoutError:
            raise NotProven("what was read was not proven durable in time; is a standby away?") from None

    async def _proven(self, key: TenantKey | None) -> None:
        if key is not None:
            self._wanted.add(key)
        heads = await self._ask()
        newest = None if key is None else heads.sequences.get(key, 0)
        if heads.awaited and (key is None or newest is None or newest > self._known.get(key, 0)):
            await self._prove()
        if key is not None and newest:
            self.committed(key, newest)

    async def _heads(self) -> _Heads:
        wanted, self._wanted = self._wanted, set()
        rows = await self._pool.fetch(_ASK, list(wanted))
        sequences = {row["tenant_key"]: row["sequence"] for row in rows if row["tenant_key"] is not None}
        return _Heads(bool(rows[0]["standbys"].strip()), sequences)

    async def _commit(self) -> None:
        await self._pool.execute(_COMMIT)
        PROOFS.inc()
