"""Owns the SQL of migrations for whoever runs it by hand: the statements that `defter migrate` would run."""

import io
from collections.abc import Iterator
from typing import Final, NoReturn, cast

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import Connection, Dialect
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from ledger_server.store.migrate import (
    ADVISORY_LOCK,
    LOCK_TIMEOUT,
    STATEMENT_TIMEOUT,
    migrations,
    steps,
)
from ledger_server.store.tables import TABLES

NOT_IN_SQL: Final = "NOT_IN_SQL"
"""Name of the constant in which a migration says why printed SQL can't stand for it."""


class NotPlainSql(Exception):
    """A migration does what printed SQL can't; the text says which migration, and why."""


def sql_of(found: str | None, wanted: str = "head", *, application_role: str) -> str:
    """Return a script for psql that leads a database from one revision to another.

    Each migration has a database transaction of its own, which begins with a look at the revision, so the
    script changes nothing in a database that is at another one. One that broke off may be printed anew.

    Args:
        found: the database's revision; None where nothing was ever migrated.
        wanted: a revision that this code knows, or `head`.
    Raises:
        SchemaNewer: the found revision is beyond the wanted one, or is unknown here.
        CommandError: the wanted revision is unknown.
        NotPlainSql: `defter migrate` alone can run one of the migrations.
    """
    due = steps(found, wanted)
    if not due:
        return f"-- Nothing is due: the database is at {found}.\n"
    # All of it before the first line is told: a script that ends in the middle would be run.
    befores = (found, *due)
    parts = [
        _transaction(before, after, application_role) for before, after in zip(befores, due, strict=False)
    ]
    return "\n".join([_head(found, due[-1]), *parts, _END])


def statements_of(revision: str, *, application_role: str) -> tuple[str, ...]:
    """Return the statements of one migration, without the step in the revision table.

    Statements that must not stand in a database transaction, such as CREATE INDEX CONCURRENTLY, stand
    between `COMMIT;` and `BEGIN;`.

    Raises:
        NotPlainSql: the migration says so, or fails where no database answers it.
    """
    config, script = migrations(application_role)
    migration = script.get_revision(revision).module
    reason = getattr(migration, NOT_IN_SQL, "")
    if reason:
        raise NotPlainSql(_only_by_command(revision, reason))
    printed = _Statements()
    options = {
        "as_sql": True,
        "literal_binds": True,
        "output_buffer": printed,
        "target_metadata": TABLES,
    }
    # Migrations read the configuration by a proxy, which finds it while this context is entered.
    with EnvironmentContext(config, script, as_sql=True) as environment:
        context = MigrationContext.configure(
            dialect=PGDialect_asyncpg(),  # type: ignore[no-untyped-call]
            environment_context=environment,
            opts=options,
        )
        context.connection = context.impl.connection = cast("Connection", _NoDatabase(context.dialect))
        with Operations.context(context):
            try:
                migration.upgrade()
            except Exception as error:
                why = f"it can't do without a database ({error})"
                raise NotPlainSql(_only_by_command(revision, why)) from error
    return tuple(printed.found)


def _only_by_command(revision: str, reason: str) -> str:
    return f"migration {revision} has to be run by `defter migrate {revision}`: {reason}"


class _NoDatabase:
    """Stands for the connection while statements are printed; Alembic's own drops parameters in silence."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"it wants `{name}` of the connection")


class _Statements(io.StringIO):
    """Takes what Alembic prints, which is one statement at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def write(self, text: str) -> int:
        self.found.append(text.rstrip("\n"))
        return len(text)


def _head(found: str | None, reached: str) -> str:
    return f"""\
-- Defter's schema from {found or "none"} to {reached}. Run it as the owner of the tables:
--   psql --no-psqlrc --file=THIS_FILE DATABASE
-- It ends at the first error. Migrations that it has committed stay; print the rest anew.
\\set ON_ERROR_STOP on
DO $$ BEGIN PERFORM pg_advisory_lock({ADVISORY_LOCK}); END $$;
SET lock_timeout = '{LOCK_TIMEOUT}';
SET statement_timeout = '{STATEMENT_TIMEOUT}';
"""


_END: Final = f"""\
RESET statement_timeout;
RESET lock_timeout;
DO $$ BEGIN PERFORM pg_advisory_unlock({ADVISORY_LOCK}); END $$;
"""
# As Alembic makes it. A migration that broke off before its first revision leaves it empty.
_REVISION_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS alembic_version"
    " (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));"
)


def _transaction(before: str | None, after: str, application_role: str) -> str:
    return "\n\n".join(_lines(before, after, application_role)) + "\n"


def _lines(before: str | None, after: str, application_role: str) -> Iterator[str]:
    """Yield the statements of one migration, the look at the revision and the step."""
    yield f"-- Migration {after}"
    yield "BEGIN;"
    if before is None:
        yield _REVISION_TABLE
    expected = "NULL" if before is None else f"'{before}'"
    yield (
        "DO $$ BEGIN\n"
        f"    IF (SELECT version_num FROM alembic_version) IS DISTINCT FROM {expected} THEN\n"
        f"        RAISE EXCEPTION 'the database is not at revision {before or 'none'}: print the SQL anew';\n"
        "    END IF;\n"
        "END $$;"
    )
    yield from statements_of(after, application_role=application_role)
    if before is None:
        yield f"INSERT INTO alembic_version (version_num) VALUES ('{after}');"
    else:
        yield f"UPDATE alembic_version SET version_num = '{after}' WHERE version_num = '{before}';"
    yield "COMMIT;"
