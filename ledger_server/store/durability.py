"""Owns the knowledge of what is as durable as the database was told to make it, and the proof of the rest.

With a synchronous standby a commit waits until the standby has it, and is seen by nobody until then. But when
the wait is cut short (a cancel, a session that is ended, a restart of PostgreSQL), the commit is seen on
the primary all the same, and a failover may take it back. Nothing in the database tells it from others.

A later commit does: log is sent in order, so once a commit has been confirmed, everything before it has been.
Whoever has read something therefore proves it before telling it: by what this process knows to be confirmed,
or by a commit of its own that begins after the read. Proofs are shared by all who wait for one. Where no
synchronous standby is named there is nothing to wait for, and asking for that is all.
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
# The smallest thing that can be committed: a line of the log that nobody reads, and no row.
_COMMIT: Final = "SELECT pg_logical_emit_message(true, 'defter', '')"

_Result = TypeVar("_Result")


class NotProven(OSError):
    """The synchronous standby did not confirm in time that it has what was read. Retrying helps later."""


class _Heads(NamedTuple):
    """Whether commits wait for a standby, and the newest sequence of each tenant that was asked for."""

    awaited: bool
    sequences: Mapping[TenantKey, int]


class SharedTurn(Generic[_Result]):
    """Does something once for all who come before it begins; whoever comes later gets the next turn."""

    def __init__(self, once: Callable[[], Awaitable[_Result]]) -> None:
        self._once = once
        self._current: asyncio.Task[_Result] | None = None
        self._next: asyncio.Task[_Result] | None = None

    async def __call__(self) -> _Result:
        """Return the result of a turn that begins after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._turn(self._current))
            self._next.add_done_callback(_look_at)
        # Whoever gives up must not take the others' turn with him.
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
    """Take note of an error: all who waited for it may have gone."""
    if not task.cancelled():
        task.exception()


class Durability:
    """What one process knows of its database."""

    def __init__(self, pool: _Pool) -> None:
        """Take a pool of two connections at least that nobody else uses: a proof may wait for long."""
        self._pool = pool
        self._known: OrderedDict[TenantKey, int] = OrderedDict()
        self._wanted: set[TenantKey] = set()
        self._ask = SharedTurn(self._heads)
        self._prove = SharedTurn(self._commit)

    def committed(self, key: TenantKey, sequence: int) -> None:
        """Take note that a tenant's records up to a sequence are as durable as they will be."""
        self._known[key] = max(sequence, self._known.get(key, 0))
        self._known.move_to_end(key)
        if len(self._known) > _KNOWN_TENANTS:
            self._known.popitem(last=False)

    def forget(self) -> None:
        """Forget what is known: the database may be another one by now."""
        self._known.clear()

    def stop(self) -> None:
        """Give up proofs that are under way."""
        self._ask.stop()
        self._prove.stop()

    async def prove(self, key: TenantKey | None = None, sequence: int | None = None) -> None:
        """Return once everything that the caller has read is as durable as the database makes it.

        Args:
            key: the tenant whose journal all of it follows from; None where there is more to it.
            sequence: the newest sequence that the caller can have seen of that tenant, where it is known.
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
