"""Own the proof that printed SQL, run by psql, is what `defter migrate` does, or is refused."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from ledger_server.embedded_postgres.binaries import find_binaries
from ledger_server.store import migrate, revisions
from ledger_server.store.migration_sql import NotPlainSql, sql_of, statements_of
from tests.support.filled import fill
from tests.support.postgres import Databases
from tests.support.service import DEFTER
from tests.support.tools import REPOSITORY

ROLE = migrate.APPLICATION_ROLE
KNOWN = migrate.known_revisions()


def psql(url: str, script: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as an operator would."""
    command = [str(find_binaries().program("psql")), "--no-psqlrc", f"--file={script}", url]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def dump(url: str) -> list[str]:
    """Return the schema, the privileges and the rows as pg_dump tells them."""
    told = subprocess.run(
        [find_binaries().program("pg_dump"), url], capture_output=True, text=True, check=True
    )
    # These lines carry a random key.
    return [line for line in told.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


@pytest.mark.parametrize("found", [None, *KNOWN[:-1]])
def test_run_printed_sql_by_psql_makes_byte_for_byte_what_the_command_makes(
    found: str | None, databases: Databases, tmp_path: Path
) -> None:
    """From every revision, with a row in every table; a second run changes nothing and says why."""
    script = tmp_path / "due.sql"
    script.write_text(sql_of(found, application_role=ROLE))
    with databases.empty() as by_command:
        if found is not None:
            migrate.upgrade(by_command, found)
            asyncio.run(fill(by_command))
        with databases.empty(template=urlsplit(by_command).path.removeprefix("/")) as by_hand:
            ran = psql(by_hand, script)
            assert ran.returncode == 0, ran.stderr
            migrate.upgrade(by_command)
            reached = dump(by_command)
            assert dump(by_hand) == reached
            assert any("alembic_version_pkc" in line for line in reached)

            again = psql(by_hand, script)

            assert again.returncode == 3
            assert f"the database is not at revision {found or 'none'}: print the SQL anew" in again.stderr
            assert dump(by_hand) == reached


def test_print_sql_for_a_database_is_the_same_as_from_its_revision(databases: Databases) -> None:
    """Both ways of the command; the second asks no database."""

    def told(*words: str, url: str) -> str:
        environment = {**os.environ, "DEFTER_DATABASE_URL": url, "DEFTER_APPLICATION_ROLE": ROLE}
        return subprocess.run(
            [DEFTER, "migrate", *words], env=environment, capture_output=True, text=True, check=True
        ).stdout

    with databases.empty() as url:
        migrate.upgrade(url, "0011")
        due = told("--sql", url=url)
        assert told("0012", "--sql", "--from", "0011", url="") == sql_of(
            "0011", "0012", application_role=ROLE
        )
    assert due == sql_of("0011", application_role=ROLE)


def test_print_sql_after_an_attempt_that_left_an_empty_revision_table_runs(
    databases: Databases, tmp_path: Path
) -> None:
    """The revision table is there before the first migration is."""
    script = tmp_path / "all.sql"
    script.write_text(sql_of(None, application_role=ROLE))
    with databases.empty() as url, databases.fresh() as expected:
        migrate.upgrade(url)
        migrate.downgrade(url, "base")

        ran = psql(url, script)

        assert ran.returncode == 0, ran.stderr
        assert [line for line in dump(url) if "CREATE" in line] == [
            line for line in dump(expected) if "CREATE" in line
        ]


@pytest.mark.parametrize(
    ("found", "wanted"), [("0013", "0012"), ("0012", "0001"), ("9999", "head"), ("", "head")]
)
def test_print_sql_backwards_is_refused(found: str, wanted: str) -> None:
    """As the command refuses it."""
    with pytest.raises(migrate.SchemaNewer, match=f"at revision {found}, which .* does not lead to"):
        sql_of(found, wanted, application_role=ROLE)


def test_print_sql_of_nothing_is_a_comment() -> None:
    """It can be run as well."""
    assert sql_of(KNOWN[-1], application_role=ROLE) == (
        f"-- Nothing is due: the database is at {KNOWN[-1]}.\n"
    )


MIGRATION = """
import sqlalchemy as sa
from alembic import context, op
revision = "0001"
down_revision = None
branch_labels = depends_on = None
{constant}
def upgrade():
    {body}
"""


@pytest.fixture
def migration(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A folder with a single migration of the test's, instead of ours."""
    constant, body = request.param
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "0001_one.py").write_text(MIGRATION.format(constant=constant, body=body))
    for module in (migrate, revisions):
        monkeypatch.setattr(module, "migrations_folder", lambda: tmp_path)
    revisions.known_revisions.cache_clear()
    yield
    revisions.known_revisions.cache_clear()


IMPOSSIBLE = {
    "a query": ("", "op.get_bind().execute(sa.text('SELECT 1')).all()"),
    "a statement with values": ("", "op.get_bind().execute(sa.text('DELETE FROM t WHERE a = :a'), {'a': 1})"),
    "a driver's statement": ("", "op.get_bind().exec_driver_sql('DELETE FROM t')"),
    "a scalar": ("", "op.get_bind().scalar(sa.text('SELECT 1'))"),
    "the context's connection": ("", "op.get_context().connection.execute(sa.text('DELETE FROM t'))"),
    "the context's bind": ("", "op.get_context().bind.execute(sa.text('DELETE FROM t'))"),
    "an inspection": ("", "sa.inspect(op.get_bind()).get_columns('t')"),
    "a session": (
        "",
        "from sqlalchemy.orm import Session; Session(op.get_bind()).execute(sa.text('SELECT 1'))",
    ),
    "its own word": ("NOT_IN_SQL = 'it asks a person'", "pass"),
}


@pytest.mark.parametrize("migration", IMPOSSIBLE.values(), ids=IMPOSSIBLE, indirect=True)
def test_print_sql_of_what_is_none_is_refused(migration: None) -> None:
    """By the migration's name, with the reason, before anything is printed."""
    with pytest.raises(NotPlainSql, match=r"^migration 0001 has to be run by `defter migrate 0001`: it "):
        sql_of(None, application_role=ROLE)


GRANTING = """
    quoted = op.get_bind().dialect.identifier_preparer.quote
    op.execute('GRANT SELECT ON t TO ' + quoted(context.config.attributes['application_role']))
"""
BESIDE_TRAFFIC = """
    with op.get_context().autocommit_block():
        op.create_index('i', 't', ['a'], postgresql_concurrently=True)
"""
POSSIBLE: dict[str, tuple[str, tuple[str, ...]]] = {
    "a value": (
        "op.execute(sa.text('UPDATE t SET a = :a').bindparams(a=\"it's\"))",
        ("UPDATE t SET a = 'it''s';",),
    ),
    "rows": (
        "op.bulk_insert(sa.table('t', sa.column('a', sa.Text)), [{'a': 'x%y'}])",
        ("INSERT INTO t (a) VALUES ('x%y');",),
    ),
    "a role": (
        GRANTING,
        ('GRANT SELECT ON t TO "My Role";',),
    ),
    "an index beside traffic": (
        BESIDE_TRAFFIC,
        ("COMMIT;", "CREATE INDEX CONCURRENTLY i ON t (a);", "BEGIN;"),
    ),
    "a function": (
        "op.execute('CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 7 % 4 $$')",
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 7 % 4 $$;",),
    ),
}


@pytest.mark.parametrize(
    ("migration", "statements"),
    [(("", body), statements) for body, statements in POSSIBLE.values()],
    ids=POSSIBLE,
    indirect=["migration"],
)
def test_print_sql_has_values_roles_and_indexes_beside_traffic(
    migration: None, statements: tuple[str, ...]
) -> None:
    """What a migration does with values or outside of a database transaction is in it."""
    assert tuple(" ".join(each.split()) for each in statements_of("0001", application_role="My Role")) == (
        statements
    )


CONCURRENTLY = f"""
    op.execute('CREATE TABLE t (a int)')
{BESIDE_TRAFFIC}
    op.execute('CREATE TABLE u (a int)')
"""


@pytest.mark.parametrize("migration", [("", CONCURRENTLY)], indirect=True)
def test_build_index_beside_traffic_by_psql_and_by_the_command_is_the_same(
    migration: None, databases: Databases, tmp_path: Path
) -> None:
    """The database transaction ends before the index and begins anew after it, in both ways."""
    (tmp_path / "env.py").write_text((REPOSITORY / "migrations" / "env.py").read_text())
    script = tmp_path / "due.sql"
    script.write_text(sql_of(None, application_role=ROLE))
    with databases.empty() as by_command, databases.empty() as by_hand:
        migrate.upgrade(by_command)
        assert psql(by_hand, script).returncode == 0
        told = dump(by_hand)

        assert told == dump(by_command)
        assert any("CREATE INDEX i ON public.t" in line for line in told)


UNRULED = "0001"
"""The first one makes what the others expand."""


def breaks() -> list[tuple[str, int]]:
    """Return how many statements of a migration stay done if it breaks off there, though it is not done."""
    found = []
    for revision in migrate.steps(UNRULED):
        beside = False
        for place, statement in enumerate(statements_of(revision, application_role=ROLE), start=1):
            beside = beside or statement == "COMMIT;"
            if beside:
                found.append((revision, place))
            beside = beside and statement != "BEGIN;"
    return found


async def break_off(url: str, statements: tuple[str, ...]) -> None:
    """Run statements, but the building of an index at the end in vain: somebody is in its way."""
    connection, reader = await asyncpg.connect(url), await asyncpg.connect(url)
    await connection.execute("BEGIN")
    for statement in statements:
        if statement is statements[-1] and statement.startswith("CREATE INDEX CONCURRENTLY"):
            async with reader.transaction(isolation="repeatable_read"):
                await reader.fetch("SELECT 1 FROM alembic_version")  # takes the snapshot that is waited for
                await connection.execute("SET lock_timeout = '50ms'")
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await connection.execute(statement)
            assert await connection.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 1
        else:
            await connection.execute(statement)
    await connection.close()
    await reader.close()


@pytest.mark.parametrize("revision", sorted({revision for revision, _ in breaks()}))
def test_run_again_what_broke_off_ends_in_the_same_schema(
    revision: str, databases: Databases, tmp_path: Path
) -> None:
    """By the command and by psql, wherever the first run died."""
    before = KNOWN[KNOWN.index(revision) - 1]
    script = tmp_path / "due.sql"
    script.write_text(sql_of(before, revision, application_role=ROLE))
    with databases.empty() as older:
        migrate.upgrade(older, before)
        asyncio.run(fill(older))
        copy = partial(databases.empty, template=urlsplit(older).path.removeprefix("/"))
        with copy() as whole:
            migrate.upgrade(whole, revision)
            expected = dump(whole)
        for place in (place for each, place in breaks() if each == revision):
            with copy() as by_command, copy() as by_hand:
                for url in (by_command, by_hand):
                    asyncio.run(break_off(url, statements_of(revision, application_role=ROLE)[:place]))

                migrate.upgrade(by_command, revision)
                ran = psql(by_hand, script)

                assert ran.returncode == 0, ran.stderr
                assert dump(by_command) == dump(by_hand) == expected
