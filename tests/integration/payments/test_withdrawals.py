"""Own the way of a withdrawal, from the RPC to the disk."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from defter.payments.v1 import payment_pb2

from tests.support.cashier import WALLET, Cashier
from tests.support.coherence import assert_ledger_coherent
from tests.support.wire import read_refusal, refusal

APPROVED = payment_pb2.WITHDRAWAL_STATE_APPROVED
PAID = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID


async def test_request_withdrawal_holds_money_in_same_commit(cashier: Cashier) -> None:
    """What is asked for can't be spent any more."""
    await cashier.captured(500)

    withdrawal = await cashier.request(200, reference="cash out")

    assert withdrawal.state == payment_pb2.WITHDRAWAL_STATE_REQUESTED
    assert (withdrawal.amount_minor, withdrawal.balance_after_minor) == (200, 300)
    assert (withdrawal.destination, withdrawal.reference) == ("bank-1", "cash out")
    money = (await cashier.wallet()).balances[0].real
    assert (money.posted_minor, money.available_minor, money.pending_out_minor) == (500, 300, 200)
    assert await cashier.withdrawal(withdrawal.withdrawal_id) == withdrawal
    await assert_ledger_coherent(cashier.ledger)


async def test_approve_and_pay_withdrawal_debits_player(cashier: Cashier) -> None:
    """Approval tells the provider; its event takes the money out of the wallet."""
    await cashier.captured(500)
    withdrawal = await cashier.request(200)

    approved = await cashier.approve(withdrawal.withdrawal_id, note="known player")
    await cashier.until_called()
    await cashier.ingest(cashier.event(PAID, withdrawal.withdrawal_id, 200))

    paid = await cashier.withdrawal(withdrawal.withdrawal_id)
    assert (approved.state, approved.approvals[0].note) == (APPROVED, "known player")
    assert paid.state == payment_pb2.WITHDRAWAL_STATE_PAID
    assert (paid.paid_minor, paid.debited_minor, paid.balance_after_minor) == (200, 200, 300)
    assert paid.provider_ref == f"at-{withdrawal.withdrawal_id}"
    assert await cashier.ledger.posted(WALLET) == 300
    await assert_ledger_coherent(cashier.ledger)


async def test_reject_or_cancel_withdrawal_releases_money_once(cashier: Cashier) -> None:
    """The wallet is as before, and neither can be done again."""
    await cashier.captured(500)
    await cashier.set_policy(player_may_cancel=True)
    rejected, cancelled = await cashier.request(200), await cashier.request(100)

    await cashier.reject(rejected.withdrawal_id, reason="limits")
    await cashier.cancel(cancelled.withdrawal_id)

    assert await cashier.ledger.available(WALLET) == 500
    for withdrawal in (rejected, cancelled):
        again = await refusal(cashier.reject(withdrawal.withdrawal_id))
        assert again.reason == "ILLEGAL_TRANSITION"
    await assert_ledger_coherent(cashier.ledger)


async def test_approve_above_limit_needs_second_reviewer(cashier: Cashier) -> None:
    """The first approval leaves it REQUESTED; from the second reviewer on the provider is told."""
    await cashier.captured(500)
    await cashier.set_policy(second_review_from_minor={"EUR": 200})
    withdrawal = await cashier.request(200)

    first = await cashier.approve(withdrawal.withdrawal_id, "eve")
    second = await cashier.approve(withdrawal.withdrawal_id, "mallory")

    assert first.state == payment_pb2.WITHDRAWAL_STATE_REQUESTED
    assert (second.state, len(second.approvals)) == (APPROVED, 2)


async def test_mark_withdrawal_paid_by_hand_debits_player(cashier: Cashier) -> None:
    """A reviewer's word counts as the provider's."""
    await cashier.captured(500)
    withdrawal = await cashier.request(200)
    await cashier.approve(withdrawal.withdrawal_id)
    await cashier.until_called()

    paid = await cashier.mark_paid(withdrawal.withdrawal_id, provider_ref="bank-7")

    assert (paid.state, paid.provider_ref) == (payment_pb2.WITHDRAWAL_STATE_PAID, "bank-7")
    assert await cashier.ledger.posted(WALLET) == 300
    await assert_ledger_coherent(cashier.ledger)


async def test_read_policy_follows_what_was_set(cashier: Cashier) -> None:
    """Nothing is demanded until a policy is set; a new one replaces the old one whole."""
    before = await cashier.policy()
    await cashier.set_policy(player_may_cancel=True, second_review_from_minor={"EUR": 200})
    between = await cashier.policy()
    after = await cashier.set_policy(second_review_from_minor={"USD": 1})

    assert before == payment_pb2.WithdrawalPolicy()
    assert between.player_may_cancel
    assert dict(between.second_review_from_minor) == {"EUR": 200}
    assert dict(after.second_review_from_minor) == {"USD": 1}
    assert await cashier.policy() == after


async def test_request_a_hundred_withdrawals_at_once_lets_pass_what_is_covered(cashier: Cashier) -> None:
    """A balance for thirty lets thirty pass, and seventy are refused by name."""
    await cashier.captured(3_000)

    answers = await asyncio.gather(*(cashier.request(100) for _ in range(100)), return_exceptions=True)

    refused = [read_refusal(answer).reason for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert Counter(refused) == {"INSUFFICIENT_FUNDS": 70}
    assert sum(isinstance(answer, payment_pb2.Withdrawal) for answer in answers) == 30
    assert await cashier.ledger.available(WALLET) == 0
    assert len(await cashier.withdrawals()) == 30
    await assert_ledger_coherent(cashier.ledger)


async def test_touch_hold_of_payment_through_hold_service_is_refused(cashier: Cashier) -> None:
    """A payment's hold ends with the payment and in no other way."""
    await cashier.captured(500)
    withdrawal = await cashier.request(200)
    hold_id = withdrawal.hold_id

    for call in (
        cashier.ledger.capture(hold_id),
        cashier.ledger.release(hold_id),
        cashier.ledger.increase(hold_id, 1),
    ):
        refused = await refusal(call)
        assert refused.reason == "HOLD_OWNED_BY_PAYMENT"
        assert refused.metadata == {"hold_id": hold_id, "payment_id": withdrawal.withdrawal_id}
    assert await cashier.ledger.available(WALLET) == 300


async def test_mark_paid_with_the_ref_of_another_payment_is_refused(cashier: Cashier) -> None:
    """A ref belongs to one payment, also after the ledger has forgotten which one and looks it up."""
    deposit = await cashier.initiate(provider_ref="pay_1")
    await cashier.captured(500)
    withdrawal = await cashier.request(200)
    await cashier.approve(withdrawal.withdrawal_id)
    await cashier.until_called()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await cashier.mark_paid(withdrawal.withdrawal_id, provider_ref="pay_1")

    told = read_refusal(caught.value)
    assert told.reason == "PROVIDER_REF_TAKEN"
    assert told.metadata == {"provider_ref": "pay_1", "payment_id": deposit.deposit_id}
    assert (await cashier.withdrawal(withdrawal.withdrawal_id)).state == APPROVED
