"""The mock provider's account: settlement to our bank, and movements that belong to no payment."""

from collections.abc import Callable

import pytest

from mock_psp.errors import InvalidRequest
from mock_psp.listing import Movement
from mock_psp.state import State
from tests.unit.mock_psp.states import moved, payment, payout, state, told


def test_settle_pays_the_balance_out_with_all_that_made_it_up() -> None:
    """The settlement and what it is of carry one batch id, and sum up to nothing."""
    psp = state()
    made = payment(psp)
    psp.payments.capture(made.id)
    psp.payments.fee(made.id, amount_minor=30)

    settlement = psp.account.settle(currency="EUR")

    assert (settlement.kind, settlement.amount_minor) == ("settlement", -970)
    assert settlement.id == settlement.object_id
    assert {movement.batch_id for movement in psp.books.movements} == {settlement.batch_id}
    assert psp.books.balances == {"EUR": 0}


def test_settle_again_takes_only_what_moved_since() -> None:
    """A movement is paid out with one batch, that of its own currency."""
    psp = state()
    psp.payments.capture(payment(psp).id)
    first = psp.account.settle(currency="EUR")
    psp.account.correct(currency="USD", amount_minor=5)
    psp.payments.capture(payment(psp, 400).id)

    second = psp.account.settle(currency="EUR")

    assert [movement.batch_id for movement in psp.books.movements] == [
        *[first.batch_id] * 2, "", *[second.batch_id] * 2
    ]  # fmt: skip
    assert first.batch_id != second.batch_id
    assert second.amount_minor == -400


@pytest.mark.parametrize("paid_out", [0, 1])
def test_settle_without_a_balance_is_refused(paid_out: int) -> None:
    """Neither nothing nor a debt is paid out."""
    psp = state()
    if paid_out:
        psp.payouts.pay(payout(psp, paid_out).id)

    with pytest.raises(InvalidRequest) as caught:
        psp.account.settle(currency="EUR")

    assert caught.value.code == "nothing_to_settle"


Enter = Callable[[State], Movement]


@pytest.mark.parametrize(
    ("enter", "kind", "type_", "amount"),
    [
        (lambda psp: psp.account.fee(currency="EUR", amount_minor=99), "fee", "account_fee", -99),
        (lambda psp: psp.account.correct(currency="EUR", amount_minor=5), "other", "manual_correction", 5),
        (lambda psp: psp.account.correct(currency="EUR", amount_minor=-5), "other", "manual_correction", -5),
        (
            lambda psp: psp.account.surprise(currency="EUR", amount_minor=-8),
            "loyalty_points",
            "loyalty_points",
            -8,
        ),
        (lambda psp: psp.account.surprise(currency="EUR", amount_minor=8, kind="levy"), "levy", "levy", 8),
    ],
)
def test_enter_what_belongs_to_no_payment_is_only_listed(
    enter: Enter, kind: str, type_: str, amount: int
) -> None:
    """It moves money and names no payment; no event tells of it."""
    psp = state()

    movement = enter(psp)

    assert (movement.kind, movement.payment_id, movement.reference) == (kind, "", "")
    assert moved(psp) == [(type_, amount)]
    assert told(psp) == []
    assert psp.books.balances == {"EUR": amount}


@pytest.mark.parametrize(
    "enter",
    [
        lambda psp: psp.account.fee(currency="EUR", amount_minor=-1),
        lambda psp: psp.account.fee(currency="EUR", amount_minor=0),
        lambda psp: psp.account.correct(currency="EUR", amount_minor=0),
    ],
)
def test_enter_no_money_is_refused(enter: Enter) -> None:
    """What moves nothing is a mistake in a test's script."""
    psp = state()

    with pytest.raises(InvalidRequest):
        enter(psp)

    assert moved(psp) == []


def test_duplicate_payout_pays_twice_and_tells_once() -> None:
    """The second payout is the provider's own doing: nobody asked for it, and only lists show it."""
    psp = state()
    first = payout(psp)
    psp.payouts.pay(first.id)

    second = psp.payouts.duplicate(first.id)

    rows = [(movement.object_id, movement.reference) for movement in psp.books.movements]
    assert rows == [(first.id, "wd_1"), (second.id, "wd_1")]
    assert moved(psp) == [("payout", -1_000)] * 2
    assert told(psp) == [("payout.paid", 1_000)]
    assert psp.executions == {"wd_1": 1}
    assert psp.books.made_for("wd_1") == [first, second]
