"""Owns `defter migrate --check` and `--sql`: what is due of the schema, told and not done."""

import asyncio
from enum import IntEnum

import typer
from alembic.util import CommandError

from ledger_server.cli.cant_start import cant_start
from ledger_server.store.database import DatabaseUnreachable
from ledger_server.store.migrate import SchemaTooOld, check_revision, known_revisions, steps
from ledger_server.store.migration_sql import sql_of
from ledger_server.store.schema_revision import RevisionUnreadable, read_revision


class SchemaExit(IntEnum):
    """What the exit code of `--check` says; 2 and 4 mean what they mean for all commands."""

    UP_TO_DATE = 0
    DUE = 1
    REFUSED = 2
    UNREACHABLE = 4
    NEWER = 6
    NONE = 7


def check_schema(database_url: str, *, application_role: str) -> None:
    """Tell in one line whether the database has the schema that this version needs, and exit by it."""
    try:
        found = asyncio.run(read_revision(database_url, application_role=application_role))
    except DatabaseUnreachable as error:
        typer.echo(f"unreachable: {error}", err=True)
        raise typer.Exit(SchemaExit.UNREACHABLE) from None
    except RevisionUnreadable as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(SchemaExit.REFUSED) from None
    code, line = judged(found)
    typer.echo(line)
    raise typer.Exit(code)


def judged(found: str | None) -> tuple[SchemaExit, str]:
    """Return the exit code for a revision, and the line that says so.

    Args:
        found: the database's revision; None where nothing was ever migrated.
    """
    known = known_revisions()
    needed = known[-1]
    if found is None:
        return SchemaExit.NONE, f"none: the database has no schema, this version needs {needed}"
    if found not in known:
        may = "may run on it" if _may_run_on(found) else "must not run on it"
        line = f"newer: the database is at {found}, this version knows {needed} and {may}"
        return SchemaExit.NEWER, line
    due = steps(found)
    if not due:
        return SchemaExit.UP_TO_DATE, f"up to date: the database is at {found}, which this version needs"
    return SchemaExit.DUE, f"due: the database is at {found}, this version needs {', '.join(due)} as well"


def _may_run_on(found: str) -> bool:
    """Whether a server of this version starts on a revision, by the rule that it has itself."""
    try:
        check_revision(found)
    except SchemaTooOld:
        return False
    return True


def print_sql(database_url: str, revision: str, *, application_role: str) -> None:
    """Print the SQL of what is due, from the revision that the database is at."""
    with cant_start():
        found = asyncio.run(read_revision(database_url, application_role=application_role))
        typer.echo(sql_of(found, revision, application_role=application_role), nl=False)


def print_sql_from(start: str, revision: str, *, application_role: str) -> None:
    """Print the SQL that leads from a revision, `base` being none at all; no database is asked."""
    with cant_start():
        if start != "base" and start not in known_revisions():
            raise CommandError(
                f"{start!r} is no version to migrate from; `base` stands for an empty database"
            )
        found = None if start == "base" else start
        typer.echo(sql_of(found, revision, application_role=application_role), nl=False)
