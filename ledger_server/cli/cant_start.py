"""Owns the error line of a command that can't start: a line that an operator can act on, no traceback."""

import contextlib
from collections.abc import Iterator
from typing import Final

import typer
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from ledger_server.embedded_postgres.errors import EmbeddedPostgresError
from ledger_server.store.database import DATABASE_ERRORS
from ledger_server.store.migrate import SchemaNewer, SchemaTooOld
from ledger_server.store.migration_sql import NotPlainSql
from ledger_server.store.schema_revision import RevisionUnreadable

# Errors that an operator can mend. A ValueError is about a setting, a RuntimeError is gRPC's about the port.
_MENDABLE: Final = (
    EmbeddedPostgresError,
    NotPlainSql,
    RevisionUnreadable,
    SchemaNewer,
    SchemaTooOld,
    CommandError,
    DBAPIError,
    *DATABASE_ERRORS,
    OSError,
    RuntimeError,
    ValueError,
)


@contextlib.contextmanager
def cant_start() -> Iterator[None]:
    """Turn an error during a start into one line and exit code 1."""
    try:
        yield
    except _MENDABLE as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        typer.echo(f"can't start: {cause}", err=True)
        raise typer.Exit(1) from None
