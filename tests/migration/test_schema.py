"""Own the schema's ways up and down, on the newest PostgreSQL and on the oldest supported one."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from ledger_server.domain.ids import Epoch, TenantId, TenantIds, epochs_text, tenant_key
from ledger_server.embedded_postgres import PostgresBinaries
from ledger_server.store import migrate
from ledger_server.store.migration_sql import statements_of
from ledger_server.store.queries.wallets import _PLAYER
from ledger_server.store.tables import TABLES
from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.postgres import Databases, run_sql, running_postgres
from tests.support.requests import timestamp
from tests.support.service import DEFTER, serving
from tests.support.tools import postgres15_binaries, require
from tests.support.wire import refusal

ROLE = migrate.APPLICATION_ROLE
reports = importlib.import_module("migrations.versions.0014_reports")
APPEND_ONLY = ("journal", "postings", "finding_versions")
# Everything that a migration may make, one line each, so that two states can be compared.
SCHEMA = """
    SELECT 'column', table_name, column_name, concat_ws(' ', data_type, is_nullable, column_default)
      FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
      FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid)
      FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT 'function', proname, pg_get_function_identity_arguments(oid), prosrc
      FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'view', viewname, '', definition FROM pg_views WHERE schemaname = 'public'
    UNION ALL
    SELECT 'privilege', table_name, grantee, privilege_type
      FROM information_schema.role_table_grants WHERE table_schema = 'public'
    ORDER BY 1, 2, 3, 4
"""

ResultT = TypeVar("ResultT")


@pytest.fixture(scope="session")
def oldest_databases() -> Iterator[Databases]:
    """A PostgreSQL 15 with a migrated template."""
    binaries = PostgresBinaries(require(postgres15_binaries))
    with running_postgres(binaries=binaries) as server, Databases(server) as found:
        found.make_template()
        yield found


@pytest.fixture(params=["newest", "oldest"])
def any_databases(request: pytest.FixtureRequest) -> Databases:
    """The newest PostgreSQL and the oldest supported one in turn."""
    name = "databases" if request.param == "newest" else "oldest_databases"
    found = request.getfixturevalue(name)
    assert isinstance(found, Databases)
    return found


async def fetch(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one query."""
    connection = await asyncpg.connect(database_url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def run(call: Callable[[], Any]) -> Any:
    """Run a coroutine outside of the test's own event loop."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(lambda: asyncio.run(call())).result()


def schema_of(database_url: str) -> list[tuple[Any, ...]]:
    """Return everything that the migrations have made."""
    found: list[tuple[Any, ...]] = run(lambda: fetch(database_url, SCHEMA))
    return found


def test_run_on_expected_versions(databases: Databases, oldest_databases: Databases) -> None:
    """The two servers are really PostgreSQL 18 and 15."""
    show = "SHOW server_version_num"
    versions = [run(partial(fetch, one.server.url, show))[0][0][:2] for one in (databases, oldest_databases)]

    assert versions == ["18", "15"]


def test_migrate_up_down_up_ends_in_same_schema(any_databases: Databases) -> None:
    """The way down removes everything, and the way up makes it again."""
    with any_databases.empty() as url:
        migrate.upgrade(url)
        first = schema_of(url)
        migrate.downgrade(url, "base")
        bare = schema_of(url)
        migrate.upgrade(url)
        second = schema_of(url)

    assert first == second
    assert len(first) > 50
    assert {row[1] for row in bare} <= {"alembic_version"}


def test_migrate_twice_changes_nothing(any_databases: Databases) -> None:
    """A database that is there already stays as it is."""
    with any_databases.fresh() as url:
        before = schema_of(url)
        migrate.upgrade(url)

        assert schema_of(url) == before


def test_migrate_from_several_processes_at_once_takes_turns(databases: Databases) -> None:
    """Several processes that migrate when they start do so one after the other."""
    with databases.empty() as url:
        processes = [
            subprocess.Popen([DEFTER, "migrate"], env={"DEFTER_DATABASE_URL": url}) for _ in range(3)
        ]

        assert [process.wait() for process in processes] == [0, 0, 0]
        with databases.fresh() as expected:
            assert schema_of(url) == schema_of(expected)


def test_compare_head_with_tables_finds_no_difference(any_databases: Databases) -> None:
    """The migrations make just what the code believes there to be."""

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, TABLES))

    async def compare(url: str) -> list[Any]:
        engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
        async with engine.connect() as connection:
            found = await connection.run_sync(differences)
        await engine.dispose()
        return found

    with any_databases.fresh() as url:
        assert run(lambda: compare(url)) == []


FORBIDDEN = {
    "update": "UPDATE {table} SET sequence = sequence + 1",
    "delete": "DELETE FROM {table}",
    "truncate": "TRUNCATE {table}",
}


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("what", FORBIDDEN)
async def test_alter_history_is_refused_to_everybody(any_databases: Databases, table: str, what: str) -> None:
    """The application role lacks the privilege; the owner runs into a trigger."""
    statement = FORBIDDEN[what].format(table=table)
    with any_databases.fresh() as url:
        async with serving(url) as service:
            ledger = await service.new_ledger()
            await ledger.open_house()
            await ledger.open_house("vault")
            await ledger.post("house", "vault", 1)
        connection = await asyncpg.connect(url)
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await connection.execute(statement)
        await connection.execute(f"SET ROLE {ROLE}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await connection.execute(statement)
        await connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE journal DISABLE TRIGGER ALL",
        "DROP TABLE journal",
        "DELETE FROM tenants",
        "DELETE FROM accounts",
        "DELETE FROM holds",
        "CREATE TABLE mine (id int)",
    ],
)
async def test_overstep_as_application_is_refused(databases: Databases, statement: str) -> None:
    """The role that servers take on may write the ledger and no more."""
    with databases.fresh() as url:
        connection = await asyncpg.connect(url)
        await connection.execute(f"SET ROLE {ROLE}")

        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)

        await connection.close()


async def test_serve_under_role_of_other_name_works(databases: Databases) -> None:
    """The role's name is a setting."""
    with databases.empty() as url:
        await asyncio.to_thread(migrate.upgrade, url, application_role="ledger_writer")
        async with serving(url, application_role="ledger_writer") as service:
            ledger = await service.new_ledger()
            await ledger.open_house()

            assert await ledger.head() == 3  # the tenant, its epoch, the account
        run_sql(url, "DROP OWNED BY ledger_writer")


NUMBERS = st.one_of(st.integers(1, 30), st.integers(1, 2**63 - 1))
CASES = st.tuples(
    st.text("abcxyz-_.09", min_size=1, max_size=40),
    st.lists(NUMBERS, max_size=4, unique=True).map(sorted),
    NUMBERS,
)


@settings(max_examples=5)
@given(cases=st.lists(CASES, min_size=20, max_size=60))
def test_ids_in_reports_are_those_of_the_rpcs(databases: Databases, cases: list[tuple[Any, ...]]) -> None:
    """Whatever the tenant is called, and in whichever epoch the record was written."""
    known = [
        (
            tenant_key(TenantId(name)),
            [Epoch(begin, f"epoch{n:03d}") for n, begin in enumerate(begins)],
            number,
        )
        for name, begins, number in cases
    ]
    values = ", ".join(f"({key}, '{epochs_text(epochs)}', {number})" for key, epochs, number in known)
    statement = (
        f"SELECT {reports._id('tx', 't.sequence')}, {reports._id('evt', 't.sequence')}"
        f" FROM (VALUES {values}) AS given(tenant_key, epochs, sequence),"
        " LATERAL (SELECT given.tenant_key::bigint, given.epochs, given.sequence::bigint) AS t"
    )

    found = run(lambda: fetch(databases.server.url, statement))

    ids = [(TenantIds(key, epochs), number) for key, epochs, number in known]
    assert found == [(each.transaction_id(number), each.event_id(number)) for each, number in ids]


ACCOUNT_IDS = st.builds(
    "".join, st.lists(st.sampled_from(["player", ":", "::", "a", "B7", "real", "EUR", "@2", "."]), max_size=8)
)


@settings(max_examples=5)
@given(account_ids=st.lists(ACCOUNT_IDS | ACCOUNT_IDS.map("player:{}".format), min_size=50, max_size=90))
def test_players_in_reports_are_those_of_wallets(databases: Databases, account_ids: list[str]) -> None:
    """Whatever an account is called."""
    expression = reports._PLAYER.format("")
    values = ", ".join(f"({place}, '{account_id}')" for place, account_id in enumerate(account_ids))

    found = run(
        lambda: fetch(
            databases.server.url,
            f"SELECT {expression} FROM (VALUES {values}) AS given(place, account_id) ORDER BY place",
        )
    )

    matches = map(_PLAYER.match, account_ids)
    assert [player for (player,) in found] == [match and match[1] for match in matches]


LANDLORD = """
CREATE ROLE landlord LOGIN PASSWORD 'secret'; GRANT USAGE, CREATE ON SCHEMA public TO landlord;
DO $$ DECLARE named text; BEGIN
    FOR named IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO landlord', named);
    END LOOP;
END $$;
"""


async def test_migrate_from_the_beginning_without_leave_to_make_roles_takes_those_that_are_there(
    databases: Databases,
) -> None:
    """As in a managed database, whose administrator has made both roles."""
    with databases.empty() as url, databases.fresh() as expected:
        owner = await asyncpg.connect(url)
        await owner.execute(LANDLORD)

        await asyncio.to_thread(migrate.upgrade, as_landlord(url))

        kinds = ("privilege",)  # of the owner, who is another one
        assert [row for row in await fetch(url, SCHEMA) if row[0] not in kinds] == [
            row for row in await fetch(expected, SCHEMA) if row[0] not in kinds
        ]
        await owner.execute("DROP OWNED BY landlord CASCADE; DROP ROLE landlord")
        await owner.close()


def as_landlord(url: str) -> str:
    """Return the database's URL for the user whom `LANDLORD` makes."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"landlord:secret@{parts.netloc.rpartition('@')[2]}").geturl()


async def test_migrate_without_leave_to_make_roles_needs_the_role_for_reports(databases: Databases) -> None:
    """An owner who may make none is told which one is missing, at once, and passes where it is there."""
    with databases.empty() as url:
        await asyncio.to_thread(migrate.upgrade, url, "0013")
        owner = await asyncpg.connect(url)
        await owner.execute(LANDLORD)
        landlord = await asyncpg.connect(as_landlord(url))
        before = await fetch(url, SCHEMA)

        first = statements_of("0014", application_role=ROLE)[0]
        with pytest.raises(asyncpg.InsufficientPrivilegeError) as refused:
            await landlord.execute(first.replace("defter_reports", "of_nobody"))
        assert "the role of_nobody is missing, and landlord may not create it" in str(refused.value)
        assert "(CREATE ROLE of_nobody NOLOGIN)" in str(refused.value)
        assert await fetch(url, SCHEMA) == before

        # The role of that name is there: it belongs to the whole cluster.
        await asyncio.to_thread(migrate.upgrade, as_landlord(url))
        await owner.execute("SET ROLE defter_reports")
        assert await owner.fetch("SELECT 1 FROM wallet_balances") == []
        await owner.execute("RESET ROLE; DROP OWNED BY landlord CASCADE; DROP ROLE landlord")
        await landlord.close()
        await owner.close()


async def test_run_core_flow_on_any_version_is_coherent(any_databases: Databases) -> None:
    """Posting, holds, expiry, reversal, batches, statements and verification."""
    clock = FakeClock()
    with any_databases.fresh() as url:
        async with serving(url, clock=clock) as service:
            ledger = await service.new_ledger()
            await ledger.open_house()
            await ledger.open("ann")
            posted = await ledger.post("house", "ann", 100)
            hold = await ledger.place_hold("ann", "house", 30)
            soon = timestamp(FakeClock(clock.now).advance(seconds=5))
            await ledger.place_hold("ann", "house", 20, expire_time=soon)
            await ledger.capture(hold.hold_id, 10, final=True)
            clock.advance(seconds=5)
            await ledger.batch(ledger.transfer_item("ann", "house", 90))
            refused = await refusal(ledger.reverse(posted.transaction_id))
            await ledger.fund("ann", 100)
            await ledger.reverse(posted.transaction_id)
            await service.crash()
            await service.restart()

            again = service.ledger()
            assert refused.reason == "INSUFFICIENT_FUNDS"
            assert await again.available("ann") == 0
            await assert_ledger_coherent(again)
