"""Owns how a process is connected to its database: what each new connection goes through, and what none does.

No connection ever asks PostgreSQL to cancel a statement. A cancel that meets a commit which waits for its
synchronous standby ends the wait and not the commit, which is then seen although a failover may take it back.
A statement that was given up loses its connection instead; what it was about to commit may be committed.
"""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from weakref import WeakSet

import asyncpg
import structlog
from asyncpg.pool import PoolAcquireContext
from prometheus_client import Gauge

from ledger_server.domain.ids import TenantKey
from ledger_server.store.durability import Durability
from ledger_server.store.hosts import Hosts
from ledger_server.store.lost_statements import SESSIONS_AT_WORK, LostStatements
from ledger_server.store.session_settings import SHARED_SESSION, SettingsNotInForce, asked_for, check_settings

# asyncpg's classes take type parameters only in its type stubs.
if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    _Connection = asyncpg.Connection[asyncpg.Record]
    _Pool = asyncpg.Pool[asyncpg.Record]
    _Acquired = PoolAcquireContext[asyncpg.Record]
    AnyConnection = _Connection | PoolConnectionProxy[asyncpg.Record]
else:
    _Connection = asyncpg.Connection
    _Pool = asyncpg.Pool
    _Acquired = PoolAcquireContext
    AnyConnection = Any

log = structlog.get_logger()

_USED: Final = Gauge("defter_database_connections_used", "Database connections at work, by pool", ["pool"])
_MOST: Final = Gauge("defter_database_connections_max", "Database connections that a pool may have", ["pool"])

Check = Callable[[_Connection], Awaitable[None]]
"""Looks at a new connection, and raises an OSError if it must not be used."""

IDLE_SECONDS: Final = 300
"""A connection that was idle for so long is closed."""

_CONNECT_SECONDS: Final = 5
_LOOK_CONNECT_SECONDS: Final = 4
_STATEMENT_SECONDS: Final = 30
_STATEMENTS_OF_A_CONNECTION: Final = 50_000
# Of a statement that was slow.
_TOLD_LENGTH: Final = 200

# The same as PostgreSQL is asked for on its side (see `session_settings.py`), under the names that this
# system has for them; a system without one of them does without.
_SOCKET: Final = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}

# Below it PostgreSQL's own types have the same numbers in every database and version.
_OWN_TYPES: Final = 10_000

# The function of PostgreSQL that warns of a commit whose wait was cut short, in any language.
_WAITS_FOR_STANDBY: Final = "SyncRepWaitForLSN"

# What the database says when it did not do as it was told; anything else tells of what was read.
_DATABASE_ERRORS: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class NotReplicated(OSError):
    """A commit took place, and PostgreSQL gave up waiting for the synchronous standby to have it.

    Whether it lasts is not known. Whoever decides again finds it, and proves it before telling of it.
    """


class _NoStatement:
    """Takes the place of asyncpg's statement about types where none was sent, and so none was replaced."""

    name: Final = "none"


class LedgerConnection(_Connection):
    """A connection that cancels nothing, and that knows a commit which its standby may not have.

    Attributes:
        backend: the number of its session in PostgreSQL.
        since: when the statement under way was sent; None: there is none. On the event loop's clock.
        heard: when it was last heard of.
        slow_seconds: a statement that took so long is logged.
    """

    _types: ClassVar[dict[frozenset[int], Any]] = {}

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._clock = asyncio.get_running_loop().time
        self.backend = 0
        self.since: float | None = None
        self.heard: float = self._clock()
        self.watch: LostStatements | None = None
        self.slow_seconds = math.inf
        self._cut_short = False

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109  # asyncpg's
        """Execute a statement as asyncpg does.

        Raises:
            NotReplicated: it was committed, and may not be on the synchronous standby.
        """
        if args:  # then `_execute` does the rest
            return await super().execute(query, *args, timeout=timeout)
        status: str = await self._watched(super().execute(query, timeout=timeout), query)
        return status

    async def _execute(self, *arguments: Any, **named: Any) -> Any:
        return await self._watched(super()._execute(*arguments, **named), str(arguments[0]))  # type: ignore[misc]

    async def _copy_in_records(self, *arguments: Any, **named: Any) -> Any:
        return await self._watched(super()._copy_in_records(*arguments, **named), "COPY")  # type: ignore[misc]

    async def _watched(self, statement: Awaitable[Any], text: str) -> Any:
        """Await a statement, let others know for how long, and log one that took long."""
        if self.since is not None:  # asyncpg refuses the second of two at once
            return await statement
        since = self.since = self._clock()
        if self.watch is not None:
            self.watch.began(self)
        self._cut_short = False
        result: Any = None
        try:
            result = await statement
        except (TimeoutError, asyncpg.PostgresConnectionError) as error:
            if self.watch is not None and _is_time_out(error):
                self.watch.timed_out(since)
            raise
        except asyncpg.ReadOnlySQLTransactionError:
            # Behind a pooler or a proxy it leads to a standby by now; the next one leads to the primary.
            self._cancel_current_command()
            raise
        else:
            self.heard = self._clock()
        finally:
            self.since = None
            seconds = self._clock() - since
            if seconds >= self.slow_seconds:
                _tell_slow(text, seconds, result)
            if self.watch is not None:
                self.watch.ended(self)
        if self._cut_short:
            raise NotReplicated("the wait for the synchronous standby was cut short")
        return result

    async def _introspect_types(self, typeoids: Any, timeout: float) -> Any:  # noqa: ASYNC109  # asyncpg's
        """Ask what types are made of, and of PostgreSQL's own types only once in a process.

        asyncpg asks for each array type on each connection, with a statement that costs PostgreSQL more than
        all else of a new connection: 8.7 ms of 13.5.
        """
        asked = frozenset(typeoids)
        if asked in self._types:
            return self._types[asked], _NoStatement
        types, statement = await super()._introspect_types(typeoids, timeout)  # type: ignore[misc]
        if asked <= {each["oid"] for each in types if each["oid"] < _OWN_TYPES}:
            self._types[asked] = types
        return types, statement

    def _process_log_message(self, fields: dict[str, str], last_query: str) -> None:
        """Take note of PostgreSQL's warning before the statement ends."""
        if fields.get("R") == _WAITS_FOR_STANDBY:
            self._cut_short = True
        super()._process_log_message(fields, last_query)  # type: ignore[misc]

    def _cancel_current_command(self, *_: object) -> None:
        """Drop the connection where asyncpg would send a cancel."""
        asyncio.get_running_loop().call_soon(self.terminate)


def _tell_slow(text: str, seconds: float, result: Any) -> None:
    """Log a statement that took long; its text is ours, and its arguments are not told."""
    log.warning(
        "a statement was slow",
        statement=" ".join(text.split())[:_TOLD_LENGTH],
        seconds=round(seconds, 3),
        rows=len(result) if isinstance(result, list) else None,
    )


def _is_time_out(error: BaseException) -> bool:
    """Whether nothing was heard for too long, by our own time-outs or by the system's."""
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)


class _Acquiring(_Acquired):
    """A connection that was acquired; who was cancelled stays so, whatever giving it back brings."""

    async def __aexit__(self, *failure: object) -> None:
        try:
            await super().__aexit__(*failure)
        except Exception:
            # The connection of a statement that was given up is dropped, and says so here.
            if not isinstance(failure[1], asyncio.CancelledError):
                raise


class _Proving(_Acquiring):
    """A connection that was acquired to read something that will be told."""

    def __init__(self, pool: "LedgerPool", timeout: float | None, tenant: TenantKey | None) -> None:
        super().__init__(pool, timeout)
        self._durability = pool.durability
        self._tenant = tenant

    async def __aexit__(self, *failure: object) -> None:
        await super().__aexit__(*failure)
        _, error, _ = failure
        # What is missing, or differs, is told too.
        if error is None or (isinstance(error, Exception) and not isinstance(error, _DATABASE_ERRORS)):
            await self._durability.prove(self._tenant)


class LedgerPool(_Pool):
    """A pool of connections; what is read over them is proven durable when they are given back."""

    def __init__(
        self, database_url: str, connections: "Connections", *, tells: bool, connecting: dict[str, Any]
    ) -> None:
        super().__init__(database_url, **connecting)
        self._connections = connections
        self._tells = tells

    def show(self, name: str) -> None:
        """Show in the metrics how much of the pool is used, under a name."""
        _MOST.labels(name).set(self.get_max_size())
        _USED.labels(name).set_function(lambda: self.get_size() - self.get_idle_size())

    @property
    def durability(self) -> Durability:
        """What is known to be durable, and the proof of the rest."""
        return self._connections.durability

    def acquire(self, *, timeout: float | None = None, tenant: TenantKey | None = None) -> _Acquired:
        """Acquire a connection, in an `async with` block; behind it, what was read is durable.

        Args:
            timeout: in seconds.
            tenant: the tenant whose journal everything that is read follows from, which spares proofs.
        Raises:
            NotProven: behind the block: what was read may be taken back by a failover.
        """
        return _Proving(self, timeout, tenant) if self._tells else self.unproven(timeout=timeout)

    def unproven(self, *, timeout: float | None = None) -> _Acquired:
        """Acquire a connection for what is not told, or proven in another way."""
        return _Acquiring(self, timeout)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AnyConnection]:
        """Give a connection in a database transaction: committed behind the block, undone if that raises."""
        async with self.acquire() as connection, connection.transaction():
            yield connection

    async def close(self) -> None:
        """Close all connections once they have been given back."""
        await super().close()
        self._connections.closed(self)

    def terminate(self) -> None:
        """Drop all connections."""
        super().terminate()
        self._connections.closed(self)

    def condemn(self, before: float) -> int:
        """Drop idle connections that were last heard of before a time; return how many."""
        count = 0
        # asyncpg says neither which connections are idle, nor ends those alone.
        for holder in list(cast("Any", self)._holders):  # noqa: SLF001  # see above
            if holder.is_idle() and holder.is_connected() and holder._con.heard <= before:  # noqa: SLF001  # see above
                holder.terminate()
                count += 1
        return count


class Connections:
    """All connections of a process to its database."""

    def __init__(
        self,
        database_url: str,
        *,
        role: str,
        checks: Sequence[Check] = (),
        slow_seconds: float = math.inf,
        hosts: Hosts | None = None,
    ) -> None:
        """Take what every connection is made with.

        Args:
            database_url: `postgresql://…`; its user must be allowed to take on the role.
            checks: look at each new connection, in this order, once its settings have been found in force.
            slow_seconds: a statement that took so long is logged.
            hosts: of the URL, with what is known of them.
        Raises:
            ValueError: the URL is of no use for writing.
        """
        self._database_url = database_url
        self._hosts = hosts or Hosts(database_url, role=role)
        self._role = role
        self._checks = checks
        self._slow_seconds = slow_seconds
        self._pools: set[LedgerPool] = set()
        self._lost = LostStatements(self._sessions_at_work, self._condemn)
        # Those that passed every look, to tell that no two of them share a session of PostgreSQL.
        self._open: WeakSet[LedgerConnection] = WeakSet()
        self._start_time: datetime | None = None
        self._tenants: int | None = None
        # For proofs, which may wait for a standby as long as it is away.
        self._proving = self._make(size=2, least=0, tells=False, seconds=None)
        self.durability: Final = Durability(self._proving)

    async def open_pool(self, *, size: int, tells: bool) -> LedgerPool:
        """Open a pool.

        Args:
            size: the largest number of connections.
            tells: whether what is read over it is told to anybody without a commit of its own.
        Raises:
            OSError: nobody answers, or a connection must not be used.
        """
        await self._proving  # makes no connection until there is something to prove
        pool = self._make(size=size, least=1, tells=tells, seconds=_STATEMENT_SECONDS)
        await pool
        self._pools.add(pool)
        return pool

    def closed(self, pool: LedgerPool) -> None:
        """Take note that a pool is closed; the last one closes the rest."""
        self._pools.discard(pool)
        if pool is not self._proving and not self._pools:
            self._lost.stop()
            self.durability.stop()
            self._proving.terminate()

    def _make(self, *, size: int, least: int, tells: bool, seconds: float | None) -> LedgerPool:
        connecting = {
            "min_size": least,
            "max_size": size,
            "max_queries": _STATEMENTS_OF_A_CONNECTION,
            "max_inactive_connection_lifetime": IDLE_SECONDS,
            "init": self._prepare,
            "connect": self._hosts.connect,
            "reset": _no_reset,
            "loop": asyncio.get_running_loop(),
            "connection_class": LedgerConnection,
            "record_class": asyncpg.Record,
            "timeout": _CONNECT_SECONDS,
            "command_timeout": seconds,
            "server_settings": asked_for(self._role),
        }
        return LedgerPool(self._database_url, self, tells=tells, connecting=connecting)

    async def _prepare(self, connection: LedgerConnection) -> None:
        """Look at a new connection before anybody uses it."""
        _bound_silence(connection)
        session = await check_settings(connection, self._role)
        if self._start_time not in (None, session.start_time):
            self.durability.forget()  # it was restarted, or is another one
            self._open.clear()  # its sessions may have the numbers of those that were lost
        if any(each.backend == session.backend and not each.is_closed() for each in self._open):
            raise SettingsNotInForce(SHARED_SESSION)
        self._start_time = session.start_time
        if self._tenants is not None and session.tenants not in (None, self._tenants):
            raise SettingsNotInForce("a database connection can't be used: search_path leads to other tables")
        self._tenants = session.tenants
        for check in self._checks:
            await check(connection)
        connection.backend = session.backend
        connection.watch = self._lost
        self._open.add(connection)
        connection.slow_seconds = self._slow_seconds

    async def _sessions_at_work(self, backends: list[int]) -> set[int]:
        """Ask over a new connection, as the user who logs in: the application's role can't see sessions."""
        connection = await self._hosts.connect(
            timeout=_LOOK_CONNECT_SECONDS,
            command_timeout=_LOOK_CONNECT_SECONDS,
            connection_class=LedgerConnection,
        )
        try:
            return {row["pid"] for row in await connection.fetch(SESSIONS_AT_WORK, backends)}
        finally:
            connection.terminate()

    def _condemn(self, before: float) -> int:
        return sum(pool.condemn(before) for pool in (*self._pools, self._proving))


async def _no_reset(_: Any) -> None:
    """Leave a released connection as it is: nothing here sets session state, and it saves a round trip."""


def _bound_silence(connection: LedgerConnection) -> None:
    """Have the system give up a connection whose other end is silent."""
    found = cast("Any", connection)._transport.get_extra_info("socket")  # noqa: SLF001  # asyncpg has no other way
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SOCKET.items():
        option = getattr(socket, name, None)
        if option is not None:
            found.setsockopt(socket.IPPROTO_TCP, option, value)
