"""Owns what others know of the connections to PostgreSQL: how to open a pool, and what a failure means."""

import contextlib
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from ledger_server.store.connections import AnyConnection, Connections, LedgerPool
from ledger_server.store.session_settings import SettingsNotInForce

__all__ = [
    "CONNECTION_ERRORS",
    "DATABASE_ERRORS",
    "LOST_CONNECTION",
    "AnyConnection",
    "Connections",
    "DatabaseUnreachable",
    "Pool",
    "is_outage",
    "naming_database",
    "open_pool",
    "schema_revision",
]

Pool = LedgerPool

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

DATABASE_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError)
"""Whatever the database, or its driver, says."""

# Of `CONNECTION_ERRORS`, what says that a connection is gone: whoever only reads may try another one at once.
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
    except SettingsNotInForce:
        raise
    except OSError as error:
        place = urlsplit(database_url).netloc.rpartition("@")[2] or "the given place"
        why = str(error) or "it did not answer in time"
        raise DatabaseUnreachable(f"the database at {place} can't be reached: {why}") from error


async def schema_revision(pool: Pool) -> str | None:
    """Return the revision of the schema that the database is at; None if it was never migrated."""
    try:
        found: str | None = await pool.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return found


async def open_pool(
    database_url: str, *, role: str, size: int, tells: bool = True, shared: Connections | None = None
) -> Pool:
    """Open a pool whose sessions run as the application role.

    Args:
        database_url: `postgresql://…`; its user must be allowed to take on the role.
        size: the largest number of connections.
        tells: whether what is read over it is told to anybody without a commit of its own.
        shared: what the pools of a process have in common; else the pool has its own.
    Raises:
        DatabaseUnreachable: nobody answers there.
        SettingsNotInForce: a connection lacks what the server relies on.
    """
    connections = shared or Connections(database_url, role=role)
    with naming_database(database_url):
        return await connections.open_pool(size=size, tells=tells)
