"""Own the proof that `defter migrate --check` says by its exit code what is due, and disturbs nobody."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest
import typer
from typer.testing import CliRunner

from ledger_server.cli.schema import SchemaExit, check_schema, judged
from ledger_server.cli.verbs import app
from ledger_server.store import migrate
from ledger_server.store.schema_revision import RevisionUnreadable, read_revision
from tests.support.postgres import Databases, run_sql
from tests.support.service import DEFTER
from tests.support.tools import REPOSITORY

ROLE = migrate.APPLICATION_ROLE
NOWHERE = "postgresql://ada:do-not-show@127.0.0.1:9/casino"
KNOWN = migrate.known_revisions()


async def check(url: str) -> tuple[int | None, list[str]]:
    """Run the command; return its exit code and what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEFTER_")}
    process = await asyncio.create_subprocess_exec(
        DEFTER,
        "migrate",
        "--check",
        env={**environment, "DEFTER_DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode().splitlines()


@pytest.mark.parametrize(
    ("found", "code", "line"),
    [
        (None, SchemaExit.NONE, f"none: the database has no schema, this version needs {KNOWN[-1]}"),
        (
            KNOWN[-1],
            SchemaExit.UP_TO_DATE,
            f"up to date: the database is at {KNOWN[-1]}, which this version needs",
        ),
        (
            "9999",
            SchemaExit.NEWER,
            f"newer: the database is at 9999, this version knows {KNOWN[-1]} and may run on it",
        ),
        *(
            (
                revision,
                SchemaExit.DUE,
                f"due: the database is at {revision}, this version needs {', '.join(KNOWN[place:])} as well",
            )
            for place, revision in enumerate(KNOWN[:-1], start=1)
        ),
    ],
)
def test_judge_revision_names_what_is_due(found: str | None, code: SchemaExit, line: str) -> None:
    """Each revision has one code and one line."""
    assert judged(found) == (code, line)


def checked(url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Do what the command does in this process; return its exit code and all that it told."""
    with pytest.raises(typer.Exit) as left:
        check_schema(url, application_role=ROLE)
    told = capsys.readouterr()
    return left.value.exit_code, told.out + told.err


def test_check_says_by_its_code_where_the_database_is(
    databases: Databases, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, and nothing is made on the way."""
    with databases.empty() as url:
        assert checked(url, capsys)[0] == 7
        assert checked(url, capsys)[0] == 7  # the first look has left no revision table
        migrate.upgrade(url, "0012")
        code, lines = asyncio.run(check(url))
        assert (code, len(lines)) == (1, 1)
        assert lines[0].startswith("due: the database is at 0012, this version needs 0013")
        migrate.upgrade(url)
        assert checked(url, capsys)[0] == 0
        run_sql(url, "UPDATE alembic_version SET version_num = '9999'")
        assert checked(url, capsys)[0] == 6


def test_check_of_what_can_not_be_asked_says_whether_to_try_again(
    databases: Databases, capsys: pytest.CaptureFixture[str]
) -> None:
    """4 where no server answers, 2 where it refuses; the password is not told."""
    code, lines = asyncio.run(check(NOWHERE))
    assert (code, len(lines)) == (4, 1)
    assert lines[0].startswith("unreachable: the database at 127.0.0.1:9 can't be reached: ")
    assert "do-not-show" not in lines[0]

    code, told = checked(databases.url_of("no_such_database"), capsys)
    assert code == 2
    assert told.startswith("refused: the database at ")
    assert told.count("\n") == 1


@pytest.mark.parametrize("words", [["--check", "--sql"], ["--check", "0012"], ["--from", "0012"]])
def test_words_that_make_no_sense_together_are_refused(words: list[str]) -> None:
    """Before the settings are read, as wrong usage."""
    assert CliRunner().invoke(app, ["migrate", *words]).exit_code == 2


def test_codes_are_told_as_they_are() -> None:
    """The page for operators has each code, with the word that its line begins with."""
    page = (REPOSITORY / "docs" / "operations" / "upgrade.md").read_text()
    told = re.findall(r"^\| (\d) \| `([a-z ]+):` \|", page, flags=re.MULTILINE)

    assert told == [(str(int(code)), code.name.lower().replace("_", " ")) for code in SchemaExit]


LOGINS = {
    "a member that inherits": f"GRANT {ROLE} TO {{login}}",
    "a member that does not": f"ALTER ROLE {{login}} NOINHERIT; GRANT {ROLE} TO {{login}}",
    "a stranger": "",
    "a stranger who may not use the schema": "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
}


@asynccontextmanager
async def login(url: str, rights: str) -> AsyncIterator[str]:
    """Yield the database's URL for a user of its own, which is gone afterwards."""
    name = f"checker_{urlsplit(url).path.removeprefix('/')}_{os.getpid()}"
    owner = await asyncpg.connect(url)
    await owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'; {rights.format(login=name)}")
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    try:
        yield parts._replace(netloc=f"{name}:secret@{place}").geturl()
    finally:
        await owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
        await owner.close()


@pytest.mark.parametrize("who", LOGINS)
async def test_read_revision_needs_no_more_than_a_servers_login(who: str, databases: Databases) -> None:
    """Whoever may serve may ask; whoever may not is refused, and not told that there is no schema."""
    with databases.fresh() as url:
        async with login(url, LOGINS[who]) as as_login:
            if who.startswith("a member"):
                assert await read_revision(as_login, application_role=ROLE) == KNOWN[-1]
            else:
                with pytest.raises(RevisionUnreadable, match=r"refuses|may not use schema public"):
                    await read_revision(as_login, application_role=ROLE)


async def test_read_revision_waits_for_nobody_and_nobody_waits_for_it(databases: Databases) -> None:
    """While a migration holds each table, and the step in the revision table is not committed."""
    with databases.fresh() as url:
        migrating = await asyncpg.connect(url)
        async with migrating.transaction():
            tables = await migrating.fetch(
                "SELECT tablename FROM pg_tables"
                " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            )
            await migrating.execute(f"LOCK TABLE {', '.join(name for (name,) in tables)}")
            await migrating.execute("UPDATE alembic_version SET version_num = '9999'")
            assert await read_revision(url, application_role=ROLE) == KNOWN[-1]
        assert await read_revision(url, application_role=ROLE) == "9999"
        await migrating.close()


@pytest.mark.parametrize(
    "url", ["postgresql://ada:hush/ss@host/db", "postgresql://ada:hush@host:word/db", "postgresql://[hush"]
)
async def test_read_revision_with_an_url_that_is_none_keeps_the_password(url: str) -> None:
    """What can't be parsed is not repeated."""
    with pytest.raises(RevisionUnreadable, match="can't be read as a URL") as refused:
        await read_revision(url, application_role=ROLE)

    assert "hush" not in str(refused.value)
