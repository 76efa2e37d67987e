"""Own what deposits do to a wallet, from the RPC to the disk."""

from __future__ import annotations

from defter.payments.v1 import payment_pb2

from tests.support.cashier import CAPTURED, PLAYER, WALLET, Cashier
from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import PROVIDER
from tests.support.requests import timestamp
from tests.support.wire import refusal

CLEARING = f"psp:{PROVIDER}:clearing:EUR"


async def test_initiate_deposit_holds_money_that_is_not_spendable(cashier: Cashier, clock: FakeClock) -> None:
    """The amount is pending in, the accounts are opened, and what was asked for is told back."""
    deposit = await cashier.initiate(500, provider_ref="pay", reference="cart", metadata={"shop": "1"})

    money = (await cashier.wallet()).balances[0].real
    assert (money.posted_minor, money.available_minor, money.pending_in_minor) == (0, 0, 500)
    assert (deposit.player_id, deposit.provider, deposit.provider_ref) == (PLAYER, PROVIDER, "pay")
    assert (deposit.amount_minor, deposit.currency_code) == (500, "EUR")
    assert deposit.state == payment_pb2.DEPOSIT_STATE_INITIATED
    assert (deposit.reference, dict(deposit.metadata)) == ("cart", {"shop": "1"})
    assert deposit.initiate_time == timestamp(clock.now)
    assert await cashier.deposit(deposit.deposit_id) == deposit
    await assert_ledger_coherent(cashier.ledger)


async def test_capture_deposit_credits_player(cashier: Cashier) -> None:
    """The event moves the money from the provider's clearing account into the wallet."""
    deposit = await cashier.captured(500)

    assert deposit.state == payment_pb2.DEPOSIT_STATE_CAPTURED
    assert (deposit.captured_minor, deposit.balance_after_minor) == (500, 500)
    assert await cashier.ledger.posted(WALLET) == 500
    assert await cashier.ledger.posted(CLEARING) == 500
    await assert_ledger_coherent(cashier.ledger)


async def test_initiate_deposit_without_ref_has_payment_created(cashier: Cashier) -> None:
    """The provider is told in the background, and its id becomes known."""
    deposit = await cashier.initiate(500, provider_ref="")
    await cashier.until_called()

    told = await cashier.deposit(deposit.deposit_id)

    assert deposit.call_state == payment_pb2.CALL_STATE_PENDING
    assert told.call_state == payment_pb2.CALL_STATE_ACCEPTED
    assert told.provider_ref == f"at-{deposit.deposit_id}"


async def test_refund_deposit_holds_money_until_provider_confirms(cashier: Cashier) -> None:
    """What is asked back is out of reach at once and gone with the event."""
    deposit = await cashier.captured(500)
    asked = await cashier.refund(deposit.deposit_id, 200)
    await cashier.until_called()
    held = await cashier.ledger.available(WALLET)
    event = cashier.event(
        payment_pb2.PROVIDER_EVENT_TYPE_REFUND_SUCCEEDED,
        deposit.deposit_id,
        200,
        object_id=asked.refunds[0].refund_id,
    )
    await cashier.ingest(event)

    after = await cashier.deposit(deposit.deposit_id)

    assert asked.refunds[0].state == payment_pb2.REFUND_STATE_PENDING
    assert held == 300
    assert after.state == payment_pb2.DEPOSIT_STATE_PARTIALLY_REFUNDED
    assert await cashier.ledger.posted(WALLET) == 300
    await assert_ledger_coherent(cashier.ledger)


async def test_read_deposit_of_other_kind_or_tenant_is_refused(cashier: Cashier) -> None:
    """An id means one deposit of one tenant; a withdrawal's number is none."""
    await cashier.captured(500)
    withdrawal = await cashier.request(100)
    number = withdrawal.withdrawal_id.rsplit("_", 1)[1]
    deposit = await cashier.initiate()
    prefix = deposit.deposit_id.rsplit("_", 1)[0]

    for wrong in (f"{prefix}_{number}", f"{prefix}_999999", "dep_nothing", withdrawal.withdrawal_id):
        refused = await refusal(cashier.deposit(wrong))
        assert (refused.reason, refused.metadata) == ("DEPOSIT_NOT_FOUND", {"deposit_id": wrong})


async def test_capture_deposit_with_other_currency_is_recorded_and_moves_nothing(cashier: Cashier) -> None:
    """What contradicts the books is kept for a person to look at."""
    deposit = await cashier.initiate(500)

    event = cashier.event(CAPTURED, deposit.deposit_id, 500, currency_code="USD")
    [ingested] = await cashier.ingest(event)

    assert ingested.event.state == payment_pb2.PROVIDER_EVENT_STATE_CONTRADICTED
    assert await cashier.ledger.posted(WALLET) == 0
    await assert_ledger_coherent(cashier.ledger)
