"""Own the promise that every filter of a list enters an index, on a database that nobody has analysed."""

from __future__ import annotations

from typing import Any

import pytest

from ledger_server.domain.payments.events import EventState
from ledger_server.store import payment_store
from ledger_server.store.database import AnyConnection, open_pool
from ledger_server.store.migrate import APPLICATION_ROLE
from ledger_server.store.queries import counts, payments, wallets

PAYMENTS = [
    (set(), 0, "payments_kind_idx"),
    ({"states"}, 1, "payments_state_idx"),
    ({"states"}, 3, "payments_state_idx"),
    ({"provider"}, 0, "payments_provider_idx"),
    ({"states", "provider"}, 1, "payments_state_idx"),
    ({"states", "provider", "currency", "min_amount"}, 2, "payments_state_idx"),
    ({"currency", "min_amount", "max_amount"}, 0, "payments_kind_idx"),
    ({"player_id"}, 0, "payments_player_idx"),
    ({"player_id", "states", "provider"}, 2, "payments_player_idx"),
    ({"player_id", "reference"}, 0, "payments_player_idx"),
    ({"reference"}, 0, "payments_reference_idx"),
    ({"reference", "states", "provider", "currency", "max_amount"}, 7, "payments_reference_idx"),
]
LEADS = {"player_id", "states", "provider"}
EVENTS: list[tuple[set[str], EventState | None, str]] = [
    (set(), None, "provider_events_pkey"),
    (set(), EventState.APPLIED, "provider_events_pkey"),
    (set(), EventState.PARKED, "provider_events_state_idx"),
    (set(), EventState.CONTRADICTED, "provider_events_state_idx"),
    ({"provider"}, None, "provider_events_provider_idx"),
    ({"provider"}, EventState.APPLIED, "provider_events_provider_idx"),
    ({"provider"}, EventState.IGNORED, "provider_events_state_idx"),
    ({"payment_number"}, None, "provider_events_payment_idx"),
    ({"payment_number", "provider"}, EventState.PARKED, "provider_events_payment_idx"),
]


async def plan_of(database_url: str, text: str, count: int) -> str:
    """Return the generic plan of a statement, under the settings of the ledger's own connections."""
    async with (
        await open_pool(database_url, role=APPLICATION_ROLE, size=1) as pool,
        pool.acquire() as connection,
    ):
        return await explained(connection, text, count)


async def explained(connection: AnyConnection, text: str, count: int) -> str:
    """Return the plan of a statement with that many parameters."""
    await connection.execute(f"PREPARE asked AS {text}")
    rows: list[Any] = await connection.fetch(f"EXPLAIN EXECUTE asked({', '.join(['NULL'] * count)})")
    return "\n".join(row[0] for row in rows)


def assert_enters(plan: str, index: str) -> None:
    """The rows come out of that index in order, and no table is read whole."""
    assert f"using {index} on" in plan.replace(" Backward", ""), plan
    assert "Seq Scan" not in plan, plan
    assert "->  Sort" not in plan, plan
    assert not plan.startswith("Sort"), plan


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest", "newest"])
@pytest.mark.parametrize(("asked", "states", "index"), PAYMENTS)
async def test_list_payments_by_any_filter_enters_its_index(
    database_url: str, asked: set[str], states: int, index: str, *, newest_first: bool
) -> None:
    """The narrowest index that the filter has, for the page and for its end, in either order."""
    statement = payments._payments(frozenset(asked), states, newest_first=newest_first)

    plan = await plan_of(database_url, statement.page.text, len(statement.page.names))

    assert_enters(plan, index)
    assert (
        "reference" not in asked - {"player_id"}
        or "player_id" in asked
        or ("using payments_unread_reference_idx on" in plan.replace(" Backward", ""))
    ), plan
    assert (statement.scan_end is None) == (len(asked) <= 1 and "reference" not in asked and asked <= LEADS)
    if statement.scan_end is not None:
        end = await plan_of(database_url, statement.scan_end.text, len(statement.scan_end.names))
        assert_enters(end, index)


async def test_find_payments_by_ref_alone_enters_an_index(database_url: str) -> None:
    """At whatever provider account it is."""
    plan = await plan_of(database_url, payment_store._REFS_NAMED, 2)

    assert "payment_refs_ref_idx" in plan, plan
    assert "Seq Scan" not in plan, plan


@pytest.mark.parametrize("state", range(1, 8))
async def test_count_of_a_state_enters_an_index(database_url: str, state: int) -> None:
    """That of what is open where it is, and a bounded part of it in any case."""
    plan = await plan_of(database_url, counts._PAYMENTS.format(state=state), 5)

    # On an empty table, PostgreSQL may take either of the two for what is open.
    entered = (
        {"payments_state_idx", "payments_open_idx"} if state in counts.OPEN_STATES else {"payments_state_idx"}
    )
    assert any(f"using {index} on" in plan for index in entered), plan
    assert "Seq Scan" not in plan, plan
    assert "Limit" in plan, plan


@pytest.mark.parametrize(
    ("statement", "count", "index"),
    [
        (counts._OPEN_FINDINGS, 2, "reconciliation_findings_unresolved_idx"),
        (counts._ENDED_FINDINGS, 4, "reconciliation_findings_open_time_idx"),
    ],
)
async def test_count_of_findings_enters_an_index(
    database_url: str, statement: str, count: int, index: str
) -> None:
    """Findings that are open, and those that were opened within a window."""
    plan = await plan_of(database_url, statement, count)

    assert f"using {index} on" in plan, plan
    assert "Seq Scan" not in plan, plan
    assert "Limit" in plan, plan


@pytest.mark.parametrize(("asked", "state", "index"), EVENTS)
async def test_list_events_by_any_filter_enters_its_index(
    database_url: str, asked: set[str], state: EventState | None, index: str
) -> None:
    """The narrowest index that the filter has."""
    statement = payments._events(frozenset(asked), state)

    plan = await plan_of(database_url, statement.page.text, len(statement.page.names))

    assert_enters(plan, index)


async def test_read_wallets_enters_index_of_account_ids(database_url: str) -> None:
    """Players are found one look-up each, and a wallet's accounts by the beginnings of their ids."""
    own = wallets._accounts()

    by_player = await plan_of(database_url, wallets._PLAYERS, 3)
    by_id = await plan_of(database_url, own.text, len(own.names))

    for plan in (by_player, by_id):
        assert "using accounts_tenant_key_account_id_key on" in plan, plan
        assert "Seq Scan" not in plan, plan
