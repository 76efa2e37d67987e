"""Own that nobody decides to have money leave a frozen account; what has happened lands all the same."""

from __future__ import annotations

import pytest
from defter.payments.v1 import payment_pb2

from tests.support.cashier import WALLET, Cashier
from tests.support.coherence import assert_ledger_coherent
from tests.support.wire import refusal

REQUESTED = payment_pb2.WITHDRAWAL_STATE_REQUESTED
APPROVED = payment_pb2.WITHDRAWAL_STATE_APPROVED
PAID = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID


@pytest.mark.parametrize("approvals_before", [0, 1])
@pytest.mark.parametrize("which", ["wallet", "clearing account"])
async def test_approval_for_a_frozen_account_is_refused(
    cashier: Cashier, which: str, approvals_before: int
) -> None:
    """Frozen after the request, or between two approvals: nothing changes, until it is unfrozen."""
    ledger = cashier.ledger
    await cashier.captured(500)
    await cashier.set_policy(second_review_from_minor={"EUR": 200} if approvals_before else {})
    withdrawal = await cashier.request(200)
    for number in range(approvals_before):
        await cashier.approve(withdrawal.withdrawal_id, f"before-{number}")
    frozen = WALLET if which == "wallet" else f"psp:{withdrawal.provider}:clearing:EUR"
    await ledger.freeze(frozen)
    seen = await cashier.withdrawal(withdrawal.withdrawal_id)

    refused = await refusal(cashier.approve(withdrawal.withdrawal_id))

    assert (refused.reason, refused.metadata["account_id"]) == ("ACCOUNT_FROZEN", frozen)
    assert await cashier.withdrawal(withdrawal.withdrawal_id) == seen
    await ledger.unfreeze(frozen)
    assert (await cashier.approve(withdrawal.withdrawal_id)).state == APPROVED
    await assert_ledger_coherent(ledger)


async def test_withdrawal_of_a_frozen_wallet_can_be_rejected(cashier: Cashier) -> None:
    """The money goes back, which lowers nothing."""
    await cashier.captured(500)
    withdrawal = await cashier.request(200)
    await cashier.ledger.freeze(WALLET)

    await cashier.reject(withdrawal.withdrawal_id, reason="frozen")

    assert (await cashier.wallet()).balances[0].real.available_minor == 500
    await assert_ledger_coherent(cashier.ledger)


async def test_what_was_paid_before_the_freeze_lands(cashier: Cashier) -> None:
    """The provider was told already, and has paid: the books say so."""
    await cashier.captured(500)
    withdrawal = await cashier.request(200)
    await cashier.approve(withdrawal.withdrawal_id)
    await cashier.ledger.freeze(WALLET)

    await cashier.ingest(cashier.event(PAID, withdrawal.withdrawal_id, 200))

    assert (await cashier.wallet()).balances[0].real.posted_minor == 300
    await assert_ledger_coherent(cashier.ledger)
