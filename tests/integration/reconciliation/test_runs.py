"""What runs find between a real provider and a real ledger, and what they leave alone."""

from __future__ import annotations

from defter.reconciliation.v1 import reconciliation_pb2

from tests.integration.reconciliation.world import World

COMPLETE = reconciliation_pb2.RUN_STATE_COMPLETE


async def everything(world: World) -> None:
    """Let one of everything happen that is as it should be, a minute apart."""
    state = world.psp.state
    deposit = await world.deposit(10_000)
    state.payments.fee(deposit.payment_ref, amount_minor=30)
    state.refunds.create(deposit.payment_ref, amount_minor=200)
    await world.later()
    await world.cashier.refund(deposit.deposit_id, 300)
    disputed = await world.deposit(700)
    state.disputes.withdraw(disputed.payment_ref, amount_minor=700)
    await world.later()
    state.disputes.reinstate(disputed.payment_ref)
    failed = await world.deposit(900)
    await world.later()
    state.payments.capture_fail(failed.payment_ref)
    await world.later()
    state.payments.recapture(failed.payment_ref)
    await world.withdrawal(500)
    returned = await world.withdrawal(400)
    await world.later()
    state.payouts.return_(returned.provider_ref)
    await world.later()


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
