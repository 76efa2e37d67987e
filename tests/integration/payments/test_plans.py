"""Own the promise that every filter of a list enters an index, on a database that nobody has analysed."""

from __future__ import annotations

from typing import Any

import pytest

from ledger_server.domain.payments.events import EventState
from ledger_server.store.database import AnyConnection, open_pool
from ledger_server.store.migrate import APPLICATION_ROLE
from ledger_server.store.queries import payments, wallets

PAYMENTS = [
    ({"kind"}, "payments_kind_idx"),
    ({"kind", "state"}, "payments_state_idx"),
    ({"kind", "provider"}, "payments_provider_idx"),
    ({"kind", "state", "provider"}, "payments_state_idx"),
    ({"kind", "player_id"}, "payments_player_idx"),
    ({"kind", "player_id", "state", "provider"}, "payments_player_idx"),
]
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
    assert f"using {index} on" in plan, plan
    assert "Seq Scan" not in plan, plan
    assert "Sort" not in plan, plan


@pytest.mark.parametrize(("asked", "index"), PAYMENTS)
async def test_list_payments_by_any_filter_enters_its_index(
    database_url: str, asked: set[str], index: str
) -> None:
    """The narrowest index that the filter has."""
    statement = payments._payments(frozenset(asked))

    plan = await plan_of(database_url, statement.page.text, len(statement.page.names))

    assert_enters(plan, index)


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
