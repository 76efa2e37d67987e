"""Every list and look-up of adjustments enters an index, on a database that nobody has analysed."""

from __future__ import annotations

import pytest

from ledger_server.domain.adjustments.adjustment import AdjustmentState
from ledger_server.store import adjustment_store
from ledger_server.store.queries import adjustments
from tests.integration.payments.test_plans import plan_of

State = AdjustmentState


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(
    ("states", "index"),
    [
        ((), "adjustments_pkey"),
        ((State.REQUESTED,), "adjustments_state_idx"),
        ((State.POSTED, State.REJECTED), "adjustments_state_idx"),
        (tuple(State), "adjustments_state_idx"),
    ],
)
async def test_list_by_any_states_enters_its_index(
    database_url: str, states: tuple[State, ...], index: str, newest_first: bool
) -> None:
    """Each state by itself: what waits among millions that are over costs what waits."""
    statement = adjustments._statement(states, newest_first=newest_first)

    plan = await plan_of(database_url, statement.page.text, len(statement.page.names))

    assert plan.count(f"using {index} on adjustments") == max(len(states), 1), plan
    assert "Seq Scan" not in plan, plan


async def test_look_up_enters_the_primary_key(database_url: str) -> None:
    """Whatever else begins with the tenant."""
    plan = await plan_of(database_url, adjustment_store._LOAD, 2)

    assert "using adjustments_pkey on adjustments" in plan, plan
    assert "Seq Scan" not in plan, plan
