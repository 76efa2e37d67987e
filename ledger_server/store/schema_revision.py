"""Owns the look at a database's revision from outside: no role that must be taken on, no lock, no change."""

from typing import Any
from urllib.parse import urlsplit

import asyncpg

from ledger_server.store.database import DATABASE_ERRORS, DatabaseUnreachable, is_outage, naming_database
from ledger_server.store.hosts import Hosts

_SECONDS = 10.0
_REVISION = "SELECT version_num FROM alembic_version"
# Without the right to use a schema, its tables are not found, as if there were none.
_OUT_OF_SIGHT = """
SELECT min(pg_namespace.nspname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = 'alembic_version' AND NOT has_schema_privilege(pg_namespace.oid, 'USAGE')
"""


class RevisionUnreadable(Exception):
    """The database refuses to tell its revision to this user; trying again can't help."""


async def read_revision(database_url: str, *, application_role: str) -> str | None:
    """Return the revision that a database is at; None if it was never migrated.

    Args:
        database_url: of any user who may read the revision table, or may take on the application role.
        application_role: taken on only if the user may not read it otherwise.
    Raises:
        DatabaseUnreachable: no server answers at the URL, or it takes no connection now.
        RevisionUnreadable: the user may not log in or read; there is no such database; the URL is none.
    """
    place = "the given place"
    try:
        place = urlsplit(database_url).netloc.rpartition("@")[2] or place
        with naming_database(database_url):
            connection = await Hosts(database_url).connect(timeout=_SECONDS, command_timeout=_SECONDS)
            try:
                return await _read(connection, application_role)
            finally:
                await connection.close(timeout=_SECONDS)
    except ValueError:
        # The parser's error may tell a part of the password.
        raise RevisionUnreadable("DEFTER_DATABASE_URL can't be read as a URL of PostgreSQL") from None
    except DATABASE_ERRORS as error:
        if is_outage(error) and not isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
            raise DatabaseUnreachable(f"the database at {place} can't be asked: {error}") from error
        raise RevisionUnreadable(f"the database at {place} refuses: {error}") from error


async def _read(connection: Any, application_role: str) -> str | None:
    try:
        return await _read_as_it_is(connection)
    except (asyncpg.InsufficientPrivilegeError, RevisionUnreadable):
        quoted = application_role.replace('"', '""')
        await connection.execute(f'SET ROLE "{quoted}"')
        return await _read_as_it_is(connection)


async def _read_as_it_is(connection: Any) -> str | None:
    async with connection.transaction(readonly=True):
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is not None:
            found: str | None = await connection.fetchval(_REVISION)
            return found
        schema = await connection.fetchval(_OUT_OF_SIGHT)
    if schema is not None:
        raise RevisionUnreadable(f"the user may not use schema {schema}, which holds the revision")
    return None
