"""Own the ways in which a provider and a ledger come to disagree, each made by what happens in the world."""

from __future__ import annotations

from defter.payments.v1 import payment_pb2

from tests.integration.reconciliation.world import PROVIDER, World

CAPTURED = payment_pb2.DEPOSIT_STATE_CAPTURED


# Each makes one fault and returns our id of the payment that it is about; empty where the ledger has none.


async def capture_unheard(world: World) -> str:
    """The provider captures a deposit of 1,000, and its webhooks are lost."""
    async with world.unheard():
        deposit = await world.begin(1_000)
        await world.charged(deposit.deposit_id)
    return deposit.deposit_id


async def capture_failure_unheard(world: World) -> str:
    """A captured deposit of 1,000 is taken back by the player's bank, and the webhook is lost."""
    deposit = await world.deposit(1_000)
    async with world.unheard():
        world.psp.state.payments.capture_fail(deposit.payment_ref)
    return deposit.deposit_id


async def return_unheard(world: World) -> str:
    """A payout of 400 comes back, and the webhook is lost."""
    withdrawal = await world.withdrawal(400)
    async with world.unheard():
        world.psp.state.payouts.return_(withdrawal.provider_ref)
    return withdrawal.withdrawal_id


async def payout_unheard(world: World) -> str:
    """A payout of 400 is paid, and its webhooks are lost."""
    async with world.unheard():
        withdrawal = await world.cashier.request(400, provider=PROVIDER)
        await world.cashier.approve(withdrawal.withdrawal_id)
        await world.paid_out(withdrawal.withdrawal_id)
    return withdrawal.withdrawal_id


async def refund_unheard(world: World) -> str:
    """Somebody refunds 200 on the provider's own pages, and the webhooks are lost."""
    deposit = await world.deposit(1_000)
    async with world.unheard():
        world.psp.state.refunds.create(deposit.payment_ref, amount_minor=200)
    return deposit.deposit_id


async def refund_return_unheard(world: World) -> str:
    """A refund of 200 that we asked for comes back, and the webhook is lost."""
    deposit = await world.refunded(await world.deposit(1_000), 200)
    async with world.unheard():
        world.psp.state.refunds.fail(deposit.refunds[0].provider_ref)
    return deposit.deposit_id


async def dispute_unheard(world: World) -> str:
    """A dispute takes 1,000, and the webhook is lost."""
    deposit = await world.deposit(1_000)
    async with world.unheard():
        world.psp.state.disputes.withdraw(deposit.payment_ref)
    return deposit.deposit_id


async def fee_unheard(world: World) -> str:
    """The provider keeps a fee of 30, and the webhook is lost."""
    deposit = await world.deposit(1_000)
    async with world.unheard():
        world.psp.state.payments.fee(deposit.payment_ref, amount_minor=30)
    return deposit.deposit_id


async def capture_vanished(world: World) -> str:
    """The capture of a deposit of 1,000 is listed no more."""
    deposit = await world.deposit(1_000)
    world.psp.state.books.listing.vanish(world.captured(deposit).id)
    return deposit.deposit_id


async def payout_vanished(world: World) -> str:
    """A payout of 400 is listed no more."""
    withdrawal = await world.withdrawal(400)
    world.psp.state.books.listing.vanish(world.movement(withdrawal.provider_ref).id)
    return withdrawal.withdrawal_id


async def refund_vanished(world: World) -> str:
    """A refund of 200 is listed no more."""
    deposit = await world.refunded(await world.deposit(1_000), 200)
    world.psp.state.books.listing.vanish(world.movement(deposit.refunds[0].provider_ref).id)
    return deposit.deposit_id


async def dispute_vanished(world: World) -> str:
    """A dispute's withdrawal of 1,000 is listed no more."""
    deposit = await world.deposit(1_000)
    dispute = world.psp.state.disputes.withdraw(deposit.payment_ref)
    await world.until_deposit(deposit, payment_pb2.DEPOSIT_STATE_REVERSED)
    world.psp.state.books.listing.vanish(world.movement(dispute.id).id)
    return deposit.deposit_id


async def fee_vanished(world: World) -> str:
    """A fee of 30 is listed no more."""
    deposit = await world.with_fee(await world.deposit(1_000), 30)
    world.psp.state.books.listing.vanish(world.movement(deposit.fees[0].provider_ref).id)
    return deposit.deposit_id


async def capture_misstated(world: World) -> str:
    """The capture of a deposit of 1,000 is listed with 900."""
    deposit = await world.deposit(1_000)
    world.psp.state.books.listing.misstate(world.captured(deposit).id, amount_minor=900)
    return deposit.deposit_id


async def payout_misstated(world: World) -> str:
    """A payout of 400 is listed with 4,000."""
    withdrawal = await world.withdrawal(400)
    world.psp.state.books.listing.misstate(world.movement(withdrawal.provider_ref).id, amount_minor=4_000)
    return withdrawal.withdrawal_id


async def currency_misstated(world: World) -> str:
    """The capture of a deposit of 1,000 EUR is listed as 1,000 USD."""
    deposit = await world.deposit(1_000)
    world.psp.state.books.listing.misstate(world.captured(deposit).id, currency="USD")
    return deposit.deposit_id


async def currency_unknown(world: World) -> str:
    """The capture of a deposit of 1,000 EUR is listed in a currency that nobody knows."""
    deposit = await world.deposit(1_000)
    world.psp.state.books.listing.misstate(world.captured(deposit).id, currency="ZZZ")
    return deposit.deposit_id


async def fee_misstated(world: World) -> str:
    """A fee of 30 is listed with 31."""
    deposit = await world.with_fee(await world.deposit(1_000), 30)
    fee = world.movement(deposit.fees[0].provider_ref)
    world.psp.state.books.listing.misstate(fee.id, amount_minor=31)
    return deposit.deposit_id


async def fee_in_another_currency(world: World) -> str:
    """A fee of 0.30 EUR is listed as one of 0.30 USD."""
    deposit = await world.with_fee(await world.deposit(1_000), 30)
    fee = world.movement(deposit.fees[0].provider_ref)
    world.psp.state.books.listing.misstate(fee.id, currency="USD")
    return deposit.deposit_id


async def payout_twice(world: World) -> str:
    """The provider pays a payout of 400 a second time, without a word."""
    withdrawal = await world.withdrawal(400)
    world.psp.state.payouts.duplicate(withdrawal.provider_ref)
    return withdrawal.withdrawal_id


async def charged_twice_unheard(world: World) -> str:
    """The provider charges a deposit of 1,000 twice, and the second time's webhooks are lost."""
    deposit = await world.deposit(1_000)
    async with world.unheard():
        _charge_again(world, deposit)
    return deposit.deposit_id


async def charged_twice(world: World) -> str:
    """The provider charges a deposit of 1,000 twice and tells both."""
    deposit = await world.deposit(1_000)
    _charge_again(world, deposit)
    await world.later()
    assert len((await world.cashier.deposit(deposit.deposit_id)).captures) == 2
    return deposit.deposit_id


def _charge_again(world: World, deposit: payment_pb2.Deposit) -> None:
    world.psp.state.payments.create(reference=deposit.deposit_id, amount_minor=1_000, currency="EUR")


async def payment_of_nobody(world: World) -> str:
    """Somebody takes 1,000 in on the provider's own pages."""
    async with world.unheard():
        world.psp.state.payments.create(reference="", amount_minor=1_000, currency="EUR")
    return ""


async def payout_of_nobody(world: World) -> str:
    """Somebody pays 400 out on the provider's own pages."""
    async with world.unheard():
        world.psp.state.payouts.create(reference="", amount_minor=400, currency="EUR", destination="me")
    return ""


async def refund_of_nobody(world: World) -> str:
    """200 of a payment is given back that nobody here has heard of, and that was made long ago."""
    state = world.psp.state
    async with world.unheard():
        payment = state.payments.create(reference="", amount_minor=1_000, currency="EUR")
        await world.psp.settled()
        state.books.listing.vanish(payment.captures[0].id)
        state.refunds.create(payment.id, amount_minor=200)
    return ""


async def dispute_of_nobody(world: World) -> str:
    """A dispute takes 1,000 of a payment that nobody here has heard of, and that was made long ago."""
    state = world.psp.state
    async with world.unheard():
        payment = state.payments.create(reference="", amount_minor=1_000, currency="EUR")
        await world.psp.settled()
        state.books.listing.vanish(payment.captures[0].id)
        state.disputes.withdraw(payment.id)
    return ""


async def unknown_type(world: World) -> str:
    """The provider takes 70 for a reason that nobody has heard of."""
    world.psp.state.account.surprise(currency="EUR", amount_minor=-70)
    return ""


async def correction(world: World) -> str:
    """The provider corrects its balance by hand by 50."""
    world.psp.state.account.correct(currency="EUR", amount_minor=50)
    return ""


async def account_fee(world: World) -> str:
    """The provider keeps the month's fee of 25."""
    world.psp.state.account.fee(currency="EUR", amount_minor=25)
    return ""


async def settlement(world: World) -> str:
    """The provider pays its whole balance out to our bank, and nobody here confirms it."""
    world.psp.state.account.settle(currency="EUR")
    return ""


async def deposit_left(world: World) -> str:
    """A deposit is begun, and the player never pays."""
    world.psp.knobs.auto_complete = False
    deposit = await world.begin(1_000)
    await world.cashier.until_called()
    return deposit.deposit_id


async def payout_left(world: World) -> str:
    """A payout is asked for, and the provider never gets round to it."""
    world.psp.knobs.auto_complete = False
    withdrawal = await world.cashier.request(400, provider=PROVIDER)
    await world.cashier.approve(withdrawal.withdrawal_id)
    await world.cashier.until_called()
    return withdrawal.withdrawal_id


async def refund_left(world: World) -> str:
    """A refund is asked for, and the provider never gets round to it."""
    deposit = await world.deposit(1_000)
    world.psp.knobs.auto_complete = False
    await world.cashier.refund(deposit.deposit_id, 200)
    await world.cashier.until_called()
    return deposit.deposit_id


async def paid_by_hand(world: World) -> str:
    """A reviewer says that a payout of 400 was paid, and the provider has never paid it."""
    withdrawal_id = await payout_left(world)
    await world.cashier.mark_paid(withdrawal_id)
    world.psp.knobs.auto_complete = True
    return withdrawal_id


async def ref_taken(world: World) -> str:
    """A page registers the provider's payment as a deposit of its own, while our call's answer is missing.

    Whoever named the object first has it; what events say of ours moves nothing until a person has looked.
    """
    world.psp.knobs.timeout_after_execute = 1
    world.psp.knobs.late_webhooks_seconds = 60.0
    ours = await world.begin(1_000)
    payment = await world.charged(ours.deposit_id)
    await world.cashier.initiate(1_000, provider=PROVIDER, provider_ref=payment.id)
    world.psp.webhooks.flush()
    await world.later()
    await world.cashier.until_called()
    return ours.deposit_id
