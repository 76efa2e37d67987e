"""Own the rule that a migration is an expansion: the version before goes on, and nobody waits for long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest

from ledger_server.store import migrate
from ledger_server.store.migration_sql import statements_of
from tests.support.expansion import faults_on
from tests.support.filled import fill
from tests.support.postgres import Databases

ROLE: Final = migrate.APPLICATION_ROLE
# The first one makes what the others expand.
UNRULED: Final = "0001"
EXCUSES: Final = "WHY_NO_EXPANSION"
"""Name of the constant in which a migration says, for each fault that it has, why it may."""


def excuses_of(revision: str) -> dict[str, str]:
    """Return a migration's faults with their reasons."""
    _, script = migrate.migrations(ROLE)
    found: dict[str, str] = getattr(script.get_revision(revision).module, EXCUSES, {})
    return found


def test_migrate_is_an_expansion_or_says_why_not(databases: Databases) -> None:
    """Each migration, on a database with a row in every table; an excuse for nothing is none."""
    ruled = migrate.steps(UNRULED)
    assert ruled
    with databases.empty() as url:
        migrate.upgrade(url, UNRULED)
        for revision in ruled:
            asyncio.run(fill(url))
            statements = statements_of(revision, application_role=ROLE)
            faults = asyncio.run(faults_on(url, statements, keep=True))
            excuses = excuses_of(revision)
            assert faults == set(excuses), (
                f"migration {revision}: make it an expansion, or say why it may be none in {EXCUSES}"
            )
            assert all(excuses.values())


@pytest.fixture(scope="module")
def filled(databases: Databases) -> Iterator[str]:
    """The URL of a database with a row in every table; each test takes back what it does."""
    with databases.fresh() as url:
        asyncio.run(fill(url))
        yield url


FAULTS: Final = {
    "ALTER TABLE payments DROP COLUMN player_id CASCADE": {
        "drops: column payments.player_id",
        "drops: index payments_player_idx",
    },
    "ALTER TABLE payments RENAME COLUMN body TO content": {
        "drops: column payments.body",
        "narrows: column payments.content",
    },
    "ALTER TABLE payments RENAME TO bills": {
        "drops: table payments",
        "alters: view ledger_transactions",
    },
    "DROP TABLE payment_refs": {"drops: table payment_refs"},
    "DROP INDEX payments_kind_idx": {"drops: index payments_kind_idx"},
    "DROP FUNCTION defter_now": {"drops: function defter_now()"},
    "DO $$ BEGIN EXECUTE 'DROP TABLE payment_refs'; END $$": {"drops: table payment_refs"},
    "ALTER TABLE holds DROP CONSTRAINT holds_amounts_check": {"drops: constraint holds_amounts_check"},
    "DROP TRIGGER journal_append_only ON journal": {"drops: trigger journal_append_only"},
    "ALTER TABLE journal DISABLE TRIGGER journal_append_only": {
        "alters: trigger journal_append_only",
        "shuts writers out: journal",
    },
    f"REVOKE INSERT ON journal FROM {ROLE}": {f"drops: privilege INSERT journal {ROLE}"},
    "ALTER TABLE journal ENABLE ROW LEVEL SECURITY": {"alters: table journal"},
    "CREATE OR REPLACE FUNCTION defter_now() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'": {
        "alters: function defter_now()"
    },
    "ALTER TABLE outbox ALTER COLUMN last_error SET NOT NULL": {"alters: column outbox.last_error"},
    "ALTER TABLE accounts ALTER COLUMN state TYPE bigint": {
        "alters: column accounts.state",
        "rewrites: accounts",
        "shuts writers out: accounts",
    },
    'ALTER TABLE currencies ALTER COLUMN currency_code TYPE varchar(10) COLLATE "C"': {
        "alters: column currencies.currency_code"
    },
    "ALTER TABLE postings ADD COLUMN note text NOT NULL DEFAULT clock_timestamp()::text": {
        "rewrites: postings",
        "shuts writers out: postings",
    },
    "ALTER TABLE postings ADD COLUMN twice bigint GENERATED ALWAYS AS (amount * 2) STORED": {
        "rewrites: postings",
        "shuts writers out: postings",
    },
    "ALTER TABLE history ADD COLUMN note2 text; ALTER TABLE history ALTER COLUMN note2 SET DEFAULT 'x';"
    " UPDATE history SET note2 = 'x'; ALTER TABLE history ALTER COLUMN note2 SET NOT NULL;"
    " ALTER TABLE history ALTER COLUMN note2 DROP DEFAULT": {"narrows: column history.note2"},
    "CREATE INDEX slow ON journal (player_id)": {
        "builds under a lock: index slow",
        "shuts writers out: journal",
    },
    "CREATE UNIQUE INDEX slow ON tenants (tenant_id, tenant_key)": {"narrows: index slow"},
    "ALTER TABLE tenants ADD CONSTRAINT named UNIQUE (tenant_id)": {"narrows: constraint named"},
    "ALTER TABLE payments ADD CONSTRAINT positive CHECK (amount > 0)": {
        "narrows: constraint positive",
        "reads every row: constraint positive",
    },
    "ALTER TABLE payments ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID": {
        "narrows: constraint positive"
    },
    "ALTER TABLE payments ADD COLUMN extra bigint CHECK (extra > 0)": {
        "reads every row: constraint payments_extra_check"
    },
    "CREATE TRIGGER guard BEFORE INSERT ON tenants FOR EACH ROW EXECUTE FUNCTION refuse_change()": {
        "narrows: trigger guard"
    },
    "UPDATE payments SET state = state": {"writes rows: payments"},
    "DELETE FROM outbox": {"writes rows: outbox"},
    "TRUNCATE outbox": {"rewrites: outbox", "shuts writers out: outbox"},
    "LOCK TABLE journal IN SHARE MODE": {"shuts writers out: journal"},
    "ALTER TABLE accounts ADD COLUMN extra text; CREATE TABLE sums AS SELECT sum(amount) FROM payments": {
        "reads under an exclusive lock: payments"
    },
}


@pytest.mark.parametrize("statement", FAULTS)
def test_rule_names_each_fault(statement: str, filled: str) -> None:
    """What the version before misses, and what it waits for."""
    found = asyncio.run(faults_on(filled, [statement]))

    # A scan is a fault of its own where it is seen; which statements are seen to scan is PostgreSQL's matter.
    scans = {fault for fault in found if fault.startswith("reads under an exclusive lock: ")}
    assert found - (scans - FAULTS[statement]) == FAULTS[statement]


EXPANSIONS: Final = [
    ["ALTER TABLE journal ADD COLUMN extra text"],
    ["ALTER TABLE journal ADD COLUMN extra bigint NOT NULL DEFAULT 0"],
    ["ALTER TABLE journal ADD COLUMN extra bigint", "ALTER TABLE journal ALTER COLUMN extra SET DEFAULT 7"],
    [
        "ALTER TABLE payments ADD COLUMN extra bigint",
        "ALTER TABLE payments ADD CONSTRAINT few CHECK (extra > 0) NOT VALID",
    ],
    ["CREATE TABLE extras (tenant_key bigint PRIMARY KEY, word text NOT NULL CHECK (word <> ''))"],
    [
        "CREATE TABLE extras (word text)",
        "CREATE INDEX extras_idx ON extras (word)",
        "INSERT INTO extras SELECT 'a'",
    ],
    ["CREATE INDEX quick ON tenants (record_time)"],
    ["UPDATE tenants SET withdrawal_policy = NULL"],
    [f"GRANT DELETE ON currencies TO {ROLE}"],
    ["CREATE VIEW told AS SELECT sequence FROM journal", f"GRANT SELECT ON told TO {ROLE}"],
    ["CREATE FUNCTION extra() RETURNS int LANGUAGE sql AS 'SELECT 1'"],
    ["COMMIT;", "CREATE INDEX CONCURRENTLY beside ON journal (player_id)", "BEGIN;"],
    ["COMMIT;", "DROP INDEX CONCURRENTLY IF EXISTS beside", "BEGIN;", "CREATE TABLE extras (word text)"],
]


@pytest.mark.parametrize(
    "statements", EXPANSIONS, ids=lambda found: found[0] if found[0] != "COMMIT;" else found[1]
)
def test_rule_lets_expansions_pass(statements: list[str], filled: str) -> None:
    """New tables, new columns that may be left out, indexes that are built beside traffic."""
    found = asyncio.run(faults_on(filled, statements))

    assert found - {"drops: index beside"} == set()
