"""What waits in the database is counted as it is, by indexes, and with labels for named tenants alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from defter.payments.v1.payment_pb2 import PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED as CAPTURED
from prometheus_client import REGISTRY

from ledger_server.domain.findings.discrepancy import RULES
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.engine.reconciliation.comparisons import row_name
from ledger_server.jobs.stocks import OPEN_STATES, Stocks
from ledger_server.store import stock_reads
from ledger_server.store.database import Pool, open_pool
from ledger_server.store.migrate import APPLICATION_ROLE
from tests.integration.payments.test_plans import plan_of
from tests.support.cashier import Cashier
from tests.support.clock import START, FakeClock
from tests.support.findings import Desk
from tests.support.requests import timestamp
from tests.support.service import Service

LATER = START + timedelta(hours=3)
NAMED = "casino"
TENANTS = (NAMED, "second", "third")
NAMES = (
    "defter_payments_open",
    "defter_holds_due",
    "defter_holds_due_oldest_seconds",
    "defter_parked_events",
    "defter_parked_events_oldest_seconds",
    "defter_findings_open",
    "defter_reconciliation_age_seconds",
)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections as the server has them."""
    async with await open_pool(database_url, role=APPLICATION_ROLE, size=2) as opened:
        yield opened


def shown(name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a gauge, by its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == name
    }


async def fill(server: Service, tenant_id: str) -> None:
    """Leave one of everything waiting."""
    ledger = await server.new_ledger(tenant_id)
    await ledger.open_house()
    await ledger.open("ann")
    await ledger.fund("ann", 1_000)
    await ledger.place_hold("ann", "house", 1, expire_time=timestamp(START + timedelta(hours=1)))
    await ledger.place_hold("ann", "house", 1, expire_time=timestamp(LATER + timedelta(hours=1)))
    cashier = Cashier(ledger)
    await cashier.initiate(100)
    await cashier.ingest(cashier.event(CAPTURED, amount_minor=5, payment_ref="of nobody"))
    await Desk(ledger).raised()


async def run(
    database_url: str, tenant_id: str, number: int, state: int, hours_ago: int, *, name: str = "mock"
) -> None:
    """Leave the row of a run."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO reconciliation_runs (tenant_key, run_number, provider, state, request_digest, owner,"
            " lease_until, begin_time, body) VALUES ($1, $2, $5, $3, '', '', $4, $4, '')",
            tenant_key(TenantId(tenant_id)),
            number,
            state,
            LATER - timedelta(hours=hours_ago),
            name,
        )
    finally:
        await connection.close()


async def test_count_tells_named_tenants_apart_and_sums_the_others(
    server: Service, database_url: str, pool: Pool
) -> None:
    """However many tenants there are, there are as many series as are wanted."""
    for tenant_id in TENANTS:
        await fill(server, tenant_id)
    for tenant_id, hours_ago in zip(TENANTS, (2, 3, 5), strict=True):
        await run(database_url, tenant_id, 1, 2, hours_ago + 1)
        await run(database_url, tenant_id, 2, 2, hours_ago)
        await run(database_url, tenant_id, 3, 3, 1)  # later, and not complete
        await run(database_url, tenant_id, 4, 2, 1, name=row_name("legacy"))  # ends with the legacy system

    await Stocks(pool, FakeClock(LATER), pause_seconds=1, named_tenants=frozenset({NAMED})).count()

    hour = 3_600.0
    assert shown("defter_holds_due") == {(NAMED,): 1, ("",): 2}
    assert shown("defter_holds_due_oldest_seconds") == {(NAMED,): 2 * hour, ("",): 2 * hour}
    assert shown("defter_parked_events") == {(NAMED,): 1, ("",): 2}
    assert shown("defter_parked_events_oldest_seconds") == {(NAMED,): 3 * hour, ("",): 3 * hour}
    assert {labels: value for labels, value in shown("defter_findings_open").items() if value} == {
        (NAMED, "amount_mismatch", "high"): 1,
        ("", "amount_mismatch", "high"): 2,
    }
    assert shown("defter_payments_open") == {
        (tenant, kind, state): count * (state == "initiated")
        for tenant, count in ((NAMED, 1), ("", 2))
        for kind, state in (
            ("deposit", "initiated"),
            ("deposit", "authorized"),
            ("withdrawal", "requested"),
            ("withdrawal", "approved"),
        )
    }
    assert shown("defter_reconciliation_age_seconds") == {(NAMED, "mock"): 2 * hour, ("", "mock"): 5 * hour}


async def test_nothing_waiting_is_shown_as_nothing_and_old_series_end(pool: Pool) -> None:
    """A series that is gone is no series that stays as it was."""
    await Stocks(pool, FakeClock(LATER), pause_seconds=1, named_tenants=frozenset({NAMED})).count()

    assert shown("defter_holds_due") == {("",): 0}
    assert shown("defter_parked_events") == {("",): 0}
    # Each class is told, so that no open finding looks like no answer.
    assert shown("defter_findings_open") == {
        ("", each.name.lower(), rule.severity.name.lower()): 0 for each, rule in RULES.items()
    }
    assert set(shown("defter_payments_open").values()) == {0}
    assert shown("defter_reconciliation_age_seconds") == {}
    assert len(shown("defter_stocks_counted_timestamp_seconds")) == 1


async def test_account_whose_runs_never_complete_ages_from_its_first_run(
    server: Service, database_url: str, pool: Pool
) -> None:
    """An account that fails all the time must not look as if it had no scheduler."""
    await server.new_ledger(NAMED)
    for number, hours_ago in enumerate((7, 4, 1), start=1):
        await run(database_url, NAMED, number, 3, hours_ago)

    await Stocks(pool, FakeClock(LATER), pause_seconds=1, named_tenants=frozenset()).count()

    assert shown("defter_reconciliation_age_seconds") == {("", "mock"): 7 * 3_600.0}


@pytest.mark.parametrize(
    ("statement", "count", "index"),
    [
        (stock_reads._HOLDS_DUE, 2, "holds_due_idx"),
        (stock_reads._PARKED, 1, "provider_events_parked_idx"),
        (stock_reads._FINDINGS, 3, "reconciliation_findings_unresolved_idx"),
        (stock_reads._PAYMENTS, 5, "payments_state_idx"),
        (stock_reads._RECONCILED, 3, "reconciliation_runs_begin_time_idx"),
    ],
)
async def test_each_count_enters_an_index(database_url: str, statement: str, count: int, index: str) -> None:
    """No metric costs more the longer the ledger runs."""
    plan = await plan_of(database_url, statement, count)

    assert f"using {index} on" in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_counts_stop_at_their_bounds(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, server: Service
) -> None:
    """What has piled up is not counted to its end."""
    for tenant_id in TENANTS:
        await fill(server, tenant_id)
    monkeypatch.setattr(stock_reads, "MOST", 2)
    monkeypatch.setattr(stock_reads, "MOST_OF_STATE", 0)

    tenants = await stock_reads.tenants_after(pool, "")

    assert [tenant_id for _, tenant_id in tenants] == sorted(TENANTS)
    assert sum(each.total for each in await stock_reads.holds_due(pool, LATER)) == 2
    assert sum(each.total for each in await stock_reads.events_parked(pool)) == 2
    assert {each.total for each in await stock_reads.payments_open(pool, tenants, OPEN_STATES)} == {0}
    assert await stock_reads.findings_open(pool, tenants) == []
    monkeypatch.setattr(stock_reads, "MOST_OF_STATE", 1)
    # One tenant's many findings hide nobody else's.
    assert len(await stock_reads.findings_open(pool, tenants)) == len(TENANTS)
