"""Own payments of every kind of which both sides know the same."""

from __future__ import annotations

import asyncio

from tests.integration.reconciliation.world import World


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


async def a_dozen(world: World) -> None:
    """Let everything happen, and besides so many ordinary payments that it makes a dozen."""
    await everything(world)
    amounts = (1_000, 1_000, 1_100, 1_200)
    await asyncio.gather(*(world.deposit(amount) for amount in amounts))
    await asyncio.gather(*(world.withdrawal(amount // 10) for amount in amounts))
    await world.later()
