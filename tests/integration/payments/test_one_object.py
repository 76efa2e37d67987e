"""One object of the provider is booked on one payment, whoever decides and whatever was forgotten since."""

from __future__ import annotations

import pytest

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.payments.events import EventState, EventType
from tests.integration.dispatch.engine_cashier import OPENING, EngineCashier, cashier_on, ledger_on

AMOUNT = 2_500


async def told(cashier: EngineCashier, kind: EventType, number: int, ref: str, object_ref: str) -> int:
    """Take in what the provider tells under our id of a deposit; return where the event stands."""
    event = await cashier.tell(
        kind, ref, amount=AMOUNT, object_ref=object_ref, payment=number, our_id=cashier.ids.deposit_id(number)
    )
    return await cashier.event_state(event)


@pytest.mark.parametrize("elsewhere", [True, False])
@pytest.mark.parametrize(
    ("kind", "ref"),
    [
        (EventType.PAYMENT_CAPTURED, "at-provider"),
        (EventType.PAYMENT_CAPTURED, ""),
        (EventType.REFUND_SUCCEEDED, ""),
        (EventType.DISPUTE_FUNDS_WITHDRAWN, ""),
    ],
)
async def test_tell_of_one_object_under_two_deposits_books_it_once(
    database_url: str, kind: EventType, ref: str, elsewhere: bool
) -> None:
    """Another process, which has nothing in memory, finds whose it is as well."""
    async with cashier_on(database_url) as cashier:
        first = await cashier.captured_deposit("pay-1", 2 * AMOUNT)
        second = await cashier.captured_deposit("pay-2", 2 * AMOUNT)
        assert await told(cashier, kind, first, ref, "object") == EventState.APPLIED
        money = await cashier.player_money()
        if kind is not EventType.PAYMENT_CAPTURED:
            assert money == (OPENING + 3 * AMOUNT, 0)

        if elsewhere:
            async with ledger_on(database_url) as (ledger, pool):
                other = EngineCashier(database_url, ledger, pool)
                assert await told(other, kind, second, ref, "object") == EventState.CONTRADICTED
        else:
            assert await told(cashier, kind, second, ref, "object") == EventState.CONTRADICTED

        assert await cashier.player_money() == money
        assert FindingClass.DUPLICATE_IN_LEDGER in await cashier.finding_classes()
        await cashier.assert_sound()
