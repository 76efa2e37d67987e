"""Every statement of a run enters an index that narrows it, on a database that nobody has analysed."""

from __future__ import annotations

import re

import pytest

from ledger_server.store import (
    compared_store,
    drift_store,
    parked_store,
    payment_store,
    record_store,
    sweep_store,
)
from ledger_server.store.database import open_pool
from ledger_server.store.migrate import APPLICATION_ROLE
from ledger_server.store.queries import compared_wallets
from tests.integration.payments.test_plans import explained, plan_of
from tests.support.postgres import alter

STATEMENTS = {
    "stage": (record_store._STAGE, 15, {"payments_pkey", "payment_refs_pkey"}),
    "adopt": (record_store._ADOPT, 9, {"provider_records_settled_idx", "provider_records_pkey"}),
    "matched": (record_store._MATCHED, 5, {"provider_records_run_idx"}),
    "unmatched": (record_store._UNMATCHED, 6, {"provider_records_run_idx", "settlement_batches_pkey"}),
    "verdicts": (record_store._SET_VERDICTS, 5, {"provider_records_pkey"}),
    "object": (record_store._OF_OBJECT, 4, {"provider_records_payment_idx"}),
    "by number": (compared_store._BY_NUMBER, 2, {"payments_pkey", "payment_refs_pkey"}),
    "changed": (
        compared_store._CHANGED,
        7,
        {"payments_update_time_idx", "payment_refs_pkey", "provider_records_run_idx"},
    ),
    "pending": (
        compared_store._PENDING,
        8,
        {"payments_state_idx", "payment_refs_pkey", "provider_records_run_idx"},
    ),
    "matches": (compared_store._ALL_MATCH, 4, {"provider_records_run_idx"}),
    "forget": (record_store._FORGET, 4, {"provider_records_run_idx"}),
    "a lane's payments": (
        payment_store._LOAD_PAYMENTS,
        2,
        {"payments_pkey", "reconciliation_findings_payment_idx"},
    ),
    "parked events": (
        parked_store._READY,
        3,
        {"provider_events_state_idx", "payments_pkey", "payment_refs_pkey"},
    ),
    "a tenant's due holds": (sweep_store._DUE_HOLDS, 3, {"holds_open_expire_time_idx"}),
    "each tenant's due holds": (
        sweep_store._EACH_HOLDS,
        3,
        {"tenants_tenant_id_idx", "holds_open_expire_time_idx"},
    ),
    "each tenant's parked events": (
        parked_store._EACH_PARKED,
        2,
        {"tenants_tenant_id_idx", "provider_events_state_idx"},
    ),
    "wallets between two ids": (
        compared_wallets._BETWEEN,
        5,
        {"accounts_tenant_key_account_id_key", "postings_pkey"},
    ),
    "wallets of players": (
        compared_wallets._OF_PLAYERS,
        4,
        {"accounts_tenant_key_account_id_key", "postings_pkey"},
    ),
    "when an account stood where": (compared_wallets._SINCE, 4, {"postings_pkey"}),
    "known drifts": (
        drift_store._KNOWN,
        2,
        {"reconciliation_findings_pkey", "finding_sightings_pkey"},
    ),
    "unseen drifts": (
        drift_store._UNSEEN,
        6,
        {"reconciliation_findings_unresolved_idx", "finding_sightings_pkey"},
    ),
    "runs by number": (drift_store._RUNS, 2, {"reconciliation_runs_pkey"}),
    "tenants with ready events": (
        parked_store._READY_TENANTS,
        2,
        {"provider_events_state_idx", "payments_pkey", "payment_refs_pkey"},
    ),
}
# A first listing, within the minute before PostgreSQL analyses it. Of so many records some indexes are higher
# than others, and the planner believes that each of them leads to a single row.
FIRST_LISTING = """
ALTER TABLE provider_records SET (autovacuum_enabled = off);
INSERT INTO provider_records (tenant_key, provider, kind, record_id, provider_ref, state, amount,
    currency_code, create_time, provider_type, run_number, payment_number, tier, verdict)
SELECT 7, 'mock', 1 + number % 4, 'mov_' || md5(number::text), 'cap_' || number, 1, 5,
    'EUR', now(), 'charge', 1, number, 1, 2
FROM generate_series(1, 25000) AS number
"""
OF_RECORDS = ("adopt", "matched", "unmatched", "verdicts", "object", "matches")
# These gather rows of all tenants by time, so they put the few tenants found in order.
ACROSS = {
    "due holds": (sweep_store._FIRST_HOLDS, 2, {"holds_due_idx", "tenants_pkey"}),
    "parked events": (parked_store._FIRST_PARKED, 1, {"provider_events_parked_idx", "tenants_pkey"}),
    "overdue events": (parked_store._OVERDUE_TENANTS, 2, {"provider_events_parked_idx", "tenants_pkey"}),
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_plan_on_empty_tables_enters_narrow_indexes(database_url: str, name: str) -> None:
    """A plan that was made on an empty table is kept: a wider index would be walked whole for years."""
    statement, count, indexes = STATEMENTS[name]

    plan = await plan_of(database_url, statement, count)

    # A provider's ref is of one payment at each provider account, so both indexes by it lead to a handful.
    entered = plan.replace("payment_refs_ref_idx", "payment_refs_pkey")
    assert set(re.findall(r"using (\w+) on", entered)) == indexes, plan
    assert "Seq Scan" not in plan, plan
    # Rows of one instant may be put in order; never all of them.
    assert "  Sort  (" not in plan.replace("Incremental Sort", ""), plan


@pytest.mark.parametrize("name", ACROSS)
async def test_plan_across_tenants_enters_the_index_that_begins_with_the_time(
    database_url: str, name: str
) -> None:
    """Idle tenants, and rows that are not due, cost nothing."""
    statement, count, indexes = ACROSS[name]

    plan = await plan_of(database_url, statement, count)

    assert set(re.findall(r"using (\w+) on", plan)) == indexes, plan
    assert "Seq Scan" not in plan, plan


async def test_plan_of_a_first_listing_enters_the_same_indexes(database_url: str) -> None:
    """The records of a provider are not read whole for each one of them, whatever nobody has analysed yet."""
    await alter(database_url, FIRST_LISTING)
    async with (
        await open_pool(database_url, role=APPLICATION_ROLE, size=1) as pool,
        pool.acquire() as connection,
    ):
        for name in OF_RECORDS:
            statement, count, indexes = STATEMENTS[name]

            plan = await explained(connection, statement, count)
            await connection.execute("DEALLOCATE asked")

            assert set(re.findall(r"using (\w+) on", plan)) == indexes, f"{name}: {plan}"
            assert "Seq Scan" not in plan, f"{name}: {plan}"
            assert "  Sort  (" not in plan.replace("Incremental Sort", ""), f"{name}: {plan}"
