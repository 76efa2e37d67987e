"""What a refund of ours moves, as tables: the provider's word on the amount, whenever it is heard."""

from __future__ import annotations

from itertools import permutations
from typing import Final

import pytest
from msgspec.structs import replace

from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.ledger.holds import HoldState
from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallKind
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.domain.payments.events import EventState, EventType
from ledger_server.domain.payments.knowledge import Refund
from tests.support.payments import Balances, PaymentBooks, an_event

PENDING, SUCCEEDED, FAILED = EventType.REFUND_PENDING, EventType.REFUND_SUCCEEDED, EventType.REFUND_FAILED
AMOUNT: Final = 1000
ASKED: Final = 300
REF: Final = "re-1"
MINUTES: Final = {PENDING: 4, SUCCEEDED: 5, FAILED: 9}
"""When each happened at the provider, in whichever order it is heard."""
TOLD_OTHERWISE: Final = ["AMOUNT_MISMATCH"]

Told = tuple[EventType, int | None]


class Refunding:
    """A captured deposit of 1000 of which 300 were asked back; the call has begun."""

    def __init__(self) -> None:
        self.books = PaymentBooks()
        self.deposit = self.books.initiate(AMOUNT)
        self.books.ingest(an_event(EventType.PAYMENT_CAPTURED, AMOUNT, object_ref="cap-1", at=1))
        self.asked = self.books.ask_refund(self.deposit, ASKED)
        self.books.report(CallKind.REFUND, self.deposit, CallBegun(), subject=self.asked)

    def answer(self) -> None:
        """Let the provider's answer arrive: from here on its ref of the refund is known."""
        news = CallAccepted(provider_ref=REF)
        self.books.report(CallKind.REFUND, self.deposit, news, subject=self.asked)

    def tell(self, kind: EventType, amount: int | None, *, echoed: bool = False) -> None:
        """Let an event of the refund be heard."""
        stored = self.books.ingest(
            an_event(
                kind,
                amount,
                object_ref=REF,
                refund=self.asked if echoed else None,
                at=MINUTES[kind],
                event_id=f"{kind.name}-{amount}-{echoed}",
            )
        )
        assert stored.state is EventState.APPLIED

    @property
    def refund(self) -> Refund:
        """The refund, which is one."""
        [refund] = self.books.deposit(self.deposit).refunds
        return refund

    @property
    def hold(self) -> tuple[HoldState, int]:
        """Where its hold stands, and how much of it was captured."""
        hold = self.books.hold(self.refund.hold)
        return hold.state, hold.captured


def after(moved: int) -> Balances:
    """Return what stands when so much has gone and nothing is held."""
    left = AMOUNT - moved
    return Balances(posted=left, available=left, clearing=left)


@pytest.mark.parametrize("echoed", [True, False], ids=["echoed", "by ref"])
@pytest.mark.parametrize(
    ("told", "moved", "captured", "findings"),
    [
        ([(SUCCEEDED, 300)], 300, 300, []),
        ([(SUCCEEDED, None)], 300, 300, []),
        ([(SUCCEEDED, 250)], 250, 250, TOLD_OTHERWISE),
        ([(SUCCEEDED, 340)], 340, 300, TOLD_OTHERWISE),
        ([(PENDING, 250), (SUCCEEDED, None)], 250, 250, TOLD_OTHERWISE),
        # The amount comes after the money was booked: the difference goes back, or follows.
        ([(SUCCEEDED, None), (PENDING, 250)], 250, 300, TOLD_OTHERWISE),
        ([(SUCCEEDED, None), (PENDING, 340)], 340, 300, TOLD_OTHERWISE),
        # Of two amounts the larger one counts, whichever is heard first.
        ([(SUCCEEDED, 250), (SUCCEEDED, 280)], 280, 250, TOLD_OTHERWISE),
        ([(SUCCEEDED, 280), (SUCCEEDED, 250)], 280, 280, TOLD_OTHERWISE),
        # Nothing that is worth a movement is told by these.
        ([(SUCCEEDED, 0)], 300, 300, []),
        ([(SUCCEEDED, -5)], 300, 300, []),
    ],
)
def test_tell_amount_of_refund_books_what_was_told(
    echoed: bool, told: list[Told], moved: int, captured: int, findings: list[str]
) -> None:
    """The hold gives what it can, its rest is free again, and what goes beyond it is posted."""
    refunding = Refunding()
    refunding.answer()
    for kind, amount in told:
        refunding.tell(kind, amount, echoed=echoed)
    assert (refunding.refund.amount, refunding.refund.moved) == (ASKED, moved)
    assert refunding.hold == (HoldState.CAPTURED, captured)
    assert refunding.books.balances() == after(moved)
    assert refunding.books.finding_names() == findings


@pytest.mark.parametrize(
    ("told", "moved", "hold", "findings"),
    [
        (300, 300, (HoldState.RELEASED, 0), []),
        (250, 250, (HoldState.RELEASED, 0), TOLD_OTHERWISE),
        (340, 340, (HoldState.RELEASED, 0), TOLD_OTHERWISE),
        # What has no amount was not booked, so it is booked out of the hold once it is known as ours.
        (None, 300, (HoldState.CAPTURED, 300), ["STATUS_MISMATCH"]),
    ],
)
def test_tell_amount_before_the_answer_books_it_once(
    told: int | None, moved: int, hold: tuple[HoldState, int], findings: list[str]
) -> None:
    """It looks like a refund of the provider's own until the answer says that it is ours."""
    refunding = Refunding()
    refunding.tell(SUCCEEDED, told)
    held = AMOUNT - (told or 0)
    assert refunding.books.balances() == Balances(posted=held, available=held - ASKED, clearing=held)
    refunding.answer()
    assert (refunding.refund.number, refunding.refund.moved) == (refunding.asked, moved)
    assert refunding.hold == hold
    assert refunding.books.balances() == after(moved)
    assert refunding.books.finding_names() == findings


@pytest.mark.parametrize(("told", "again"), [(250, 280), (280, 250), (250, None), (340, 300)])
def test_tell_twice_before_the_answer_once_echoed_books_the_larger_amount(
    told: int, again: int | None
) -> None:
    """The event that echoes our id makes one of the two, before the call is answered."""
    refunding = Refunding()
    refunding.tell(SUCCEEDED, told)
    refunding.tell(SUCCEEDED, again, echoed=True)
    moved = max(told, again or 0)
    assert refunding.hold == (HoldState.RELEASED, 0)
    assert refunding.books.balances() == after(moved)
    refunding.answer()
    assert refunding.books.balances() == after(moved)


@pytest.mark.parametrize("told", [250, 300, 340])
def test_fail_after_other_amount_gives_back_what_was_told(told: int) -> None:
    """What comes back is what had left, not what was asked for."""
    refunding = Refunding()
    refunding.answer()
    refunding.tell(SUCCEEDED, told)
    refunding.tell(FAILED, None)
    assert refunding.books.deposit(refunding.deposit).state is DepositState.CAPTURED
    assert refunding.books.balances() == after(0)
    assert refunding.books.deposit(refunding.deposit).refundable == AMOUNT


@pytest.mark.parametrize("failed", [True, False], ids=["failed", "succeeded"])
@pytest.mark.parametrize("told", [None, 250, 300, 340])
def test_tell_amount_in_any_order_ends_alike(told: int | None, failed: bool) -> None:
    """Whatever is heard first, the same has moved, nothing stays held, and the same is wrong."""
    steps: list[Told | None] = [None, (PENDING, told), (SUCCEEDED, told)]
    if failed:
        steps.append((FAILED, None))
    for order in permutations(steps):
        refunding = Refunding()
        for step in order:
            if step is None:
                refunding.answer()
            else:
                refunding.tell(*step)
        assert refunding.refund.moved == (told or ASKED)
        assert refunding.books.balances() == after(0 if failed else told or ASKED), order
        assert refunding.hold[0] is not HoldState.OPEN
        mismatch = "AMOUNT_MISMATCH" in refunding.books.finding_names()
        assert mismatch is (told not in {None, ASKED}), order


def test_refund_more_than_the_wallet_has_overdraws_it() -> None:
    """The money has left; what was not held is taken all the same, and both are findings."""
    refunding = Refunding()
    refunding.answer()
    refunding.books.open_house()
    refunding.books.spend(AMOUNT - ASKED)
    refunding.tell(SUCCEEDED, 340)
    assert refunding.books.balances().available == -40
    assert refunding.books.finding_names() == ["AMOUNT_MISMATCH", "WALLET_OVERDRAWN"]


def test_tell_other_amount_says_both_amounts() -> None:
    """Who looks after the finding sees what was asked for and what was told."""
    refunding = Refunding()
    refunding.answer()
    refunding.tell(SUCCEEDED, 250)
    finding: Discrepancy = refunding.books.findings["AMOUNT_MISMATCH", refunding.deposit]
    assert (finding.evidence["expected_minor"], finding.evidence["actual_minor"]) == ("300", "250")


def test_ask_again_after_less_was_refunded_may_take_the_rest() -> None:
    """What was asked for and did not move may be asked for again."""
    refunding = Refunding()
    refunding.answer()
    assert refunding.books.deposit(refunding.deposit).refundable == AMOUNT - ASKED
    refunding.tell(SUCCEEDED, 250)
    assert refunding.books.deposit(refunding.deposit).refundable == AMOUNT - 250
    refunding.books.ask_refund(refunding.deposit, AMOUNT - 250)


@pytest.mark.parametrize("again", [None, 250, 200])
def test_tell_refund_again_that_an_older_record_knows_moves_nothing(again: int | None) -> None:
    """An older server's record of a refund has its amount alone; that is what was told."""
    refunding = Refunding()
    refunding.tell(SUCCEEDED, 250)
    entry = refunding.books.working_set.payments[refunding.deposit]
    deposit = refunding.books.deposit(refunding.deposit)
    ours, theirs = deposit.refunds
    entry.payment = replace(deposit, refunds=(ours, replace(theirs, told=0)))
    refunding.tell(SUCCEEDED, again, echoed=True)
    refunding.answer()
    assert refunding.refund.moved == 250
    assert refunding.books.balances() == after(250)
