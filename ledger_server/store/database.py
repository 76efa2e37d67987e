"""Owns the connections to PostgreSQL and the settings under which they run."""

import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import asyncpg

# asyncpg's classes take type parameters only in its type stubs.
if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Pool = asyncpg.Pool[asyncpg.Record]
    AnyConnection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    AnyConnection = Any

# Every table is reached by an index that begins with the tenant. Plans are made while tables may
# still be empty and are kept; without these settings such a plan would scan a table for ever.
_PLANNER: Final = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}

# What is acknowledged is on the disk, and every statement sees what was committed before it, whatever
# the defaults of the database or of the user are.
_PROMISES: Final = {
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
}

# A process that stalls while it holds a tenant's head must not stop the tenant: the database ends
# its transaction, and the next process goes on.
_TIME_OUTS: Final = {
    "lock_timeout": "5s",
    "statement_timeout": "20s",
    "idle_in_transaction_session_timeout": "5s",
    # A host that is gone, or the network to it, answers no more; the same holds for it.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}

# What a broken or restarting database raises; everything else is a fault of a statement.
# InternalClientError is what asyncpg says of an idle connection that was ended a moment ago.
CONNECTION_ERRORS: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    # No memory, disk or connection is left; a file can't be read or written.
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    # Somebody is changing the password or the rights.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.ReadOnlySQLTransactionError,
)

# Of these, what says that a connection is gone: whoever only reads may try another one at once.
LOST_CONNECTION: Final = (
    ConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)


def is_outage(error: BaseException) -> bool:
    """Whether an error says that the database, and not the statement, is at fault."""
    # asyncpg reports values that it can't encode as an InterfaceError that is a ValueError as well.
    return isinstance(error, CONNECTION_ERRORS) and not isinstance(error, ValueError)


class DatabaseUnreachable(OSError):
    """The database does not answer where the URL says that it is."""


@contextlib.contextmanager
def naming_database(database_url: str) -> Iterator[None]:
    """Say which database it was that could not be reached, without the password.

    Raises:
        DatabaseUnreachable: instead of the operating system's error, which names nothing.
    """
    try:
        yield
    except OSError as error:
        place = urlsplit(database_url).netloc.rpartition("@")[2] or "the given place"
        why = str(error) or "it did not answer in time"
        raise DatabaseUnreachable(f"the database at {place} can't be reached: {why}") from error


async def _no_reset(_: Any) -> None:
    """Leave a released connection as it is: nothing here sets session state, and it saves a round trip."""


async def schema_revision(pool: Pool) -> str | None:
    """Return the revision of the schema that the database is at; None if it was never migrated."""
    try:
        found: str | None = await pool.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return found


async def open_pool(
    database_url: str,
    *,
    role: str,
    size: int,
    connected: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
) -> Pool:
    """Open a pool whose sessions run as the application role.

    Args:
        database_url: `postgresql://…`; its user must be allowed to take on the role.
        size: the largest number of connections.
        connected: is asked of each new connection before anybody uses it, and may refuse it.
    Raises:
        DatabaseUnreachable: nobody answers there.
    """
    with naming_database(database_url):
        return await asyncpg.create_pool(
            database_url,
            min_size=1,
            max_size=size,
            max_inactive_connection_lifetime=300,
            timeout=5,  # for connecting
            command_timeout=30,
            reset=_no_reset,
            init=connected,
            server_settings={
                "role": role,
                "application_name": "defter",
                **_PLANNER,
                **_PROMISES,
                **_TIME_OUTS,
            },
        )
