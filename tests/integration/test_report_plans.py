"""Own what reports cost: which indexes serve them, and that postings write none for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import asyncpg
import pytest

from ledger_server.store.tables import TABLES
from tests.support.postgres import Databases, run_sql
from tests.support.reports import ROLE, VIEWS, commands

# One entry each for a posting: two of the journal's by its key and request, and one for each leg; others by
# the occasion. Another one makes every posting dearer.
WRITTEN_BY_POSTINGS: Final = {
    "tenants": {"tenants_tenant_id_idx"},
    "postings": set(),
    "journal": {
        "journal_request_key",
        "journal_reverses_key",
        "journal_record_time_idx",
        "journal_reference_idx",
        "journal_limit_breached_idx",
        "journal_enforcement_idx",
    },
}


@pytest.mark.parametrize("table", WRITTEN_BY_POSTINGS)
def test_posting_writes_no_index_for_reports(table: str) -> None:
    """Those of its tables are what servers need, beside the keys."""
    assert {index.name for index in TABLES.tables[table].indexes} == WRITTEN_BY_POSTINGS[table]


# A ledger that is large enough for the planner to mind, with tenants in turn, a commit each, as lanes write.
FILL: Final = """
INSERT INTO tenants (tenant_key, tenant_id, sequence, chain_hash, record_time, balance_enforcement,
    create_time) SELECT t, 'tenant-' || t, 1000, '', now(), 2, now() FROM generate_series(1, 100) t;
INSERT INTO accounts (tenant_key, account_number, account_id, kind, currency_code, state, open_time)
    SELECT t, n, CASE n WHEN 1 THEN 'house' ELSE 'player:' || n || ':real:EUR' END, 2, 'EUR', 1, now()
    FROM generate_series(1, 100) t, generate_series(1, 200) n;
INSERT INTO journal (tenant_key, sequence, kind, player_id, transaction_type, idempotency_key, limit_breached,
    effective_time, record_time, closes_batch, record, chain_hash)
    SELECT t, b * 50 + n, 17, '', 7, (b * 50 + n)::text, false, moment, moment, n = 50,
        repeat('x', 300)::bytea, ''
    FROM generate_series(0, 19) b, generate_series(1, 100) t, generate_series(1, 50) n,
        LATERAL (SELECT timestamptz '2026-01-01' + (b * 50 + n) * interval '1 minute' AS moment) AS at
    ORDER BY b, t, n;
INSERT INTO postings SELECT t, CASE leg WHEN 0 THEN 1 ELSE 2 + (b * 50 + n) * 7 % 199 END, b * 50 + n, leg, 1,
        1 + leg, 5, 0, 0, 0, 0, 0, n
    FROM generate_series(0, 19) b, generate_series(1, 100) t, generate_series(1, 50) n,
        generate_series(0, 1) leg ORDER BY b, t, n, leg;
INSERT INTO payments SELECT t, n, 1, 'p', 'mock', NULL, 'EUR', 5, 1, now(), now(), n, ''
    FROM generate_series(1, 100) t, generate_series(1, 200) n;
INSERT INTO provider_events SELECT t, n, 'mock', n::text, 2, NULL, NULL, n, 1, now(), now(), n, '', ''
    FROM generate_series(1, 100) t, generate_series(1, 200) n;
INSERT INTO holds SELECT t, n, n, 1, 'EUR', 5, 0, 0, 1 + n % 2, now(), 7, NULL, NULL, now(), NULL, false
    FROM generate_series(1, 100) t, generate_series(1, 200) n;
"""
LARGE: Final = ("journal", "postings", "accounts", "payments", "provider_events", "holds")
SPAN: Final = "created_at >= '2026-01-01 03:00+00' AND created_at < '2026-01-01 04:00+00'"


@pytest.fixture(scope="module")
def filled_database(databases: Databases) -> Iterator[str]:
    """A database with a hundred thousand transactions of a hundred tenants."""
    with databases.fresh() as url:
        run_sql(url, f"BEGIN; {FILL} COMMIT")
        run_sql(url, "VACUUM ANALYZE")
        yield url


async def plan_of(database_url: str, asked: str, *, before: str = "") -> str:
    """Return how the role's query is run, with PostgreSQL's own settings, as an analyst has them."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"BEGIN; {before}; SET ROLE {ROLE}")
    rows = await connection.fetch(f"EXPLAIN SELECT * FROM {asked}")
    await connection.execute("ROLLBACK")
    await connection.close()
    return "\n".join(row[0] for row in rows)


PLAYER: Final = "tenant_id = 'tenant-2' AND player_id = '77'"
TWO: Final = "tenant_id = 'tenant-2' AND player_id IN ('7', '77')"


@pytest.mark.parametrize(
    "asked",
    [
        *(f"{view} WHERE {condition}" for view in sorted(VIEWS) for condition in (PLAYER, TWO)),
        f"ledger_transactions WHERE {PLAYER} AND {SPAN}",
        f"ledger_transactions WHERE {PLAYER} AND type = 'BET' ORDER BY sequence DESC LIMIT 3",
        f"wallet_balances WHERE {PLAYER} AND currency = 'EUR'",
    ],
)
async def test_report_of_a_player_enters_the_index(asked: str, filled_database: str) -> None:
    """Nothing but the player's own rows is read."""
    plan = await plan_of(filled_database, asked)

    assert re.search(r"\baccounts_player_idx\b", plan), plan
    assert re.search(r"\bpostings_pkey\b", plan), plan
    assert not [table for table in LARGE if f"Seq Scan on {table} " in plan], plan


@pytest.mark.parametrize("condition", ["", f" AND {SPAN}"])
async def test_report_of_a_tenant_reads_that_tenant_alone(condition: str, filled_database: str) -> None:
    """By the keys of the tables, which begin with the tenant."""
    plan = await plan_of(filled_database, f"ledger_transactions WHERE tenant_id = 'tenant-2'{condition}")

    assert not [table for table in LARGE if f"Seq Scan on {table} " in plan], plan


async def test_indexes_of_the_documentation_serve_spans(filled_database: str) -> None:
    """Whoever makes them has nothing else to do."""
    made = "; ".join(line.replace(" CONCURRENTLY", "") for line in commands() if "INDEX" in line)

    plan = await plan_of(
        filled_database, f"ledger_transactions WHERE tenant_id = 'tenant-2' AND {SPAN}", before=made
    )

    for index in ("reports_time_brin", "reports_legs_idx"):
        assert re.search(rf"\b{index}\b", plan), plan
