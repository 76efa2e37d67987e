"""Owns the error line of a command that can't start: a line that an operator can act on, no traceback."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Final

import typer

from ledger_server.store.database import DATABASE_ERRORS
from ledger_server.store.revisions import SchemaTooOld
from ledger_server.store.schema_revision import RevisionUnreadable

# Errors that an operator can mend. A ValueError is about a setting, a RuntimeError is gRPC's about the port.
_MENDABLE: Final = (
    RevisionUnreadable,
    SchemaTooOld,
    *DATABASE_ERRORS,
    OSError,
    RuntimeError,
    ValueError,
)
# Those of code that not every command loads, by module and name: where it is not loaded, none is raised.
_OF_OTHERS: Final = (
    ("ledger_server.embedded_postgres.errors", "EmbeddedPostgresError"),
    ("ledger_server.store.migrate", "SchemaNewer"),
    ("ledger_server.store.migration_sql", "NotPlainSql"),
    ("alembic.util", "CommandError"),
    ("sqlalchemy.exc", "DBAPIError"),
)


@contextlib.contextmanager
def cant_start() -> Iterator[None]:
    """Turn an error during a start into one line and exit code 1."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (*_MENDABLE, *_loaded())):
            raise
        # What a driver said, where SQLAlchemy has wrapped it.
        typer.echo(f"can't start: {getattr(error, 'orig', error)}", err=True)
        raise typer.Exit(1) from None


def _loaded() -> Iterator[type[Exception]]:
    for module, name in _OF_OTHERS:
        if module in sys.modules:
            yield getattr(sys.modules[module], name)
