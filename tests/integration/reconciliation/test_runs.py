"""What runs find between a real provider and a real ledger, and what they leave alone."""

from __future__ import annotations

from defter.reconciliation.v1 import reconciliation_pb2

from tests.integration.reconciliation.good_payments import everything
from tests.integration.reconciliation.world import World

COMPLETE = reconciliation_pb2.RUN_STATE_COMPLETE


async def test_run_where_all_agrees_finds_nothing_and_matches_every_record(world: World) -> None:
    """Captures, refunds, fees, disputes and payouts, with what came back: each has its line."""
    await everything(world)
    await world.later(hours=2)

    run = await world.run()

    assert run.state == COMPLETE
    assert await world.classes(unresolved=False) == []
    assert (run.fetched_count, run.matched_count) == (len(world.psp.state.books.movements),) * 2
    assert run.in_transit_count == 0
    [total] = run.totals
    assert total.ledger_minor == total.provider_minor == world.psp.state.books.balances["EUR"]
    before = await world.row_counts()
    assert (await world.run()).state == COMPLETE
    assert await world.row_counts() == before
