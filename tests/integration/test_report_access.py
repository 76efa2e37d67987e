"""Own what the role for reports may do: read two views, and nothing else in any way."""

from __future__ import annotations

from typing import Final

import asyncpg
import pytest

from ledger_server.store.tables import TABLES
from tests.support.cashier import Cashier
from tests.support.fake_provider import fake_providers
from tests.support.reports import ROLE, VIEWS, commands
from tests.support.service import serving

FORBIDDEN: Final = (
    *(f"SELECT 1 FROM {table}" for table in (*TABLES.tables, "alembic_version")),
    *(f"DELETE FROM {view}" for view in sorted(VIEWS)),
    *(f"UPDATE {view} SET tenant_id = ''" for view in sorted(VIEWS)),
    "TRUNCATE journal",
    "CREATE TABLE mine (id int)",
)


async def test_overstep_as_reports_is_refused(database_url: str) -> None:
    """The role reads the two views and nothing else."""
    refusals = (asyncpg.InsufficientPrivilegeError, asyncpg.ObjectNotInPrerequisiteStateError)
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"SET ROLE {ROLE}")
    for statement in FORBIDDEN:
        with pytest.raises(refusals):
            await connection.execute(statement)
    await connection.close()


# Whatever there is to have a privilege on, whoever it was granted by or to.
MAY: Final = f"""
SELECT relname::text, asked.privilege FROM pg_class,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS asked(privilege)
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND has_any_column_privilege('{ROLE}', oid, asked.privilege)
UNION ALL
SELECT relname::text, asked.privilege FROM pg_class,
    unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) AS asked(privilege)
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND has_table_privilege('{ROLE}', oid, asked.privilege)
UNION ALL
SELECT proname::text, 'EXECUTE' FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND prosecdef AND has_function_privilege('{ROLE}', oid, 'EXECUTE')
UNION ALL
SELECT 'public', 'CREATE' WHERE has_schema_privilege('{ROLE}', 'public', 'CREATE')
UNION ALL
SELECT rolname::text, 'attribute' FROM pg_roles WHERE rolname = '{ROLE}'
    AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolcanlogin OR rolreplication OR rolbypassrls)
UNION ALL
SELECT roleid::regrole::text, 'member' FROM pg_auth_members WHERE member = '{ROLE}'::regrole
"""
# Of what the views call, all that is not part of every PostgreSQL; and views without a barrier.
WEAK: Final = """
SELECT refobjid::regprocedure::text FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_proc'::regclass
    AND ev_class::regclass::text = ANY ($1)
UNION ALL
SELECT relname::text FROM pg_class
WHERE relname = ANY ($1) AND NOT COALESCE(reloptions @> '{security_barrier=true}', false)
"""


async def test_role_for_reports_has_no_other_privilege(database_url: str) -> None:
    """Not on a column, not by PUBLIC, not by another role, and not through a function."""
    connection = await asyncpg.connect(database_url)
    may = await connection.fetch(MAY)
    weak = await connection.fetch(WEAK, sorted(VIEWS))
    config = await connection.fetchval("SELECT rolconfig FROM pg_roles WHERE rolname = $1", ROLE)
    await connection.close()

    assert {tuple(row) for row in may} == {(view, "SELECT") for view in VIEWS}
    assert not weak
    assert set(config) == {"default_transaction_read_only=on", "statement_timeout=1min"}


LISTEN_IN: Final = """
CREATE TEMP TABLE heard (word text);
CREATE FUNCTION pg_temp.hear(word text) RETURNS boolean LANGUAGE plpgsql COST 0.000001
    AS $$ BEGIN INSERT INTO pg_temp.heard VALUES (word); RETURN true; END $$;
"""


async def test_function_in_a_condition_sees_rows_of_the_view_alone(database_url: str) -> None:
    """Neither what our views leave out nor, through a view of one tenant, what is another tenant's."""
    async with serving(database_url, providers=fake_providers()) as service:
        for name in ("casino", "poker"):
            cashier = Cashier(await service.new_ledger(name))
            await cashier.ledger.open_house()
            await cashier.ledger.open("player:never-played:real:EUR")
            await cashier.captured(700)
            await cashier.initiate(77, provider_ref=f"never-paid-{name}")
    reports = await asyncpg.connect(database_url)
    [made] = [line for line in commands() if line.startswith("CREATE VIEW")]
    await reports.execute(
        f"{made} GRANT SELECT ON casino_transactions TO {ROLE}; SET ROLE {ROLE}; {LISTEN_IN}"
    )

    for view in ("ledger_transactions", "wallet_balances", "casino_transactions"):
        statement = await reports.prepare(f"SELECT * FROM {view}")
        for column in (each.name for each in statement.get_attributes() if each.type.name == "text"):
            await reports.execute("TRUNCATE heard")
            await reports.fetch(f"SELECT count(*) FROM {view} WHERE pg_temp.hear({column})")
            heard = {row[0] for row in await reports.fetch("SELECT DISTINCT word FROM heard")}
            shown = {row[0] for row in await reports.fetch(f"SELECT DISTINCT {column} FROM {view}")}
            assert shown, view
            assert heard == shown, (view, column)
    await reports.close()


async def test_login_of_the_documentation_reads_and_writes_nothing(database_url: str) -> None:
    """All commands of the document run, and a login made by them has the settings and the two views."""
    owner = await asyncpg.connect(database_url)
    try:
        assert len(commands()) == 8
        for command in commands():
            await owner.execute(command)
        for login, view in (("analyst", "wallet_balances"), ("casino_analyst", "casino_transactions")):
            reader = await asyncpg.connect(database_url, user=login, password="…")
            await reader.fetch(f"SELECT * FROM {view}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.fetch("SELECT 1 FROM journal")
            if login == "analyst":
                assert await reader.fetchval("SHOW statement_timeout") == "1min"
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await reader.execute("CREATE TABLE mine (id int)")
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await reader.fetch("SELECT 1 FROM ledger_transactions")
            await reader.close()
    finally:
        await owner.execute("DROP VIEW IF EXISTS casino_transactions")
        await owner.execute("DROP ROLE IF EXISTS analyst; DROP ROLE IF EXISTS casino_analyst")
        await owner.close()
