"""A call goes on only while its payment waits for it, and always asks for the same thing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import pytest
from defter.payments.v1 import payment_pb2

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.provider_record import RemoteState
from ledger_server.jobs.dispatcher import Dispatcher, DispatchLimits
from ledger_server.providers.adapter import Accepted, Adapter, Answer, NotFound, ProviderCall, Unknown, Unsent
from ledger_server.providers.sending import Proof, Unproven
from tests.integration.dispatch.engine_cashier import OPENING, EngineCashier
from tests.support.fake_provider import FakeAdapter

LIMITS: Final = DispatchLimits(
    pause_seconds=3600.0,
    lease_seconds=30.0,
    call_seconds=10.0,
    first_back_off_seconds=3600.0,
    max_back_off_seconds=3600.0,
    poll_seconds=3600.0,
    max_poll_seconds=3600.0,
)
AMOUNT: Final = 2_500
APPROVED: Final = payment_pb2.WITHDRAWAL_STATE_APPROVED
PAID: Final = payment_pb2.WITHDRAWAL_STATE_PAID
FAILED: Final = payment_pb2.WITHDRAWAL_STATE_FAILED


@dataclass
class Desk(FakeAdapter):
    """A provider whose answers a test decides: what was asked of it, and where each of its objects stands.

    `overtaking` happens after a call has been carried out and before its answer is there.
    """

    answers: list[Answer] = field(default_factory=list)
    states: dict[str, RemoteState] = field(default_factory=dict)
    asked: list[ProviderCall] = field(default_factory=list)
    overtaking: Callable[[], Awaitable[object]] | None = None

    async def call(self, call: ProviderCall, proof: Proof) -> Answer:
        """Note what was asked for, and give the next answer; without one, none comes."""
        try:
            await proof.ask()
            proof.check()
        except Unproven as error:
            return Unsent(reason=str(error))
        self.asked.append(call)
        if self.overtaking is not None:
            await self.overtaking()
        return self.answers.pop(0) if self.answers else Unknown(reason="no answer")

    async def find(self, call: ProviderCall, provider_ref: str) -> Accepted | NotFound | Unknown:
        """Tell where an object stands; by our id nothing can be told."""
        del call
        if provider_ref not in self.states:
            return Unknown(reason="nobody knows")
        return Accepted(provider_ref=provider_ref, state=self.states[provider_ref])


async def told(cashier: EngineCashier, kind: EventType, ref: str, number: int, amount: int = AMOUNT) -> None:
    """Take in what the provider tells under our id."""
    out = kind.name.startswith("PAYOUT")
    our_id = cashier.ids.withdrawal_id(number) if out else cashier.ids.deposit_id(number)
    await cashier.tell(kind, ref, amount=amount, payment=number, our_id=our_id)


async def dispatch(cashier: EngineCashier, desk: Adapter, *, times: int = 3) -> None:
    """Let a process take up whatever is owed, several times, each time as if its pause were over."""
    for _ in range(times):
        await cashier.hurry()
        dispatcher = Dispatcher(cashier.ledger, cashier.pool, None, {"mock": desk}, LIMITS)
        await dispatcher.dispatch()
        await dispatcher.stop()


class Slow(Desk):
    """A provider to which the connection takes so long that something happens before it is there."""

    async def call(self, call: ProviderCall, proof: Proof) -> Answer:
        """Let it happen, and then ask whether the call may leave."""
        if self.overtaking is not None:
            await self.overtaking()
        return await super().call(call, proof)


@pytest.mark.parametrize("kind", [EventType.PAYOUT_PAID, EventType.PAYOUT_FAILED, EventType.PAYOUT_SUBMITTED])
async def test_dispatch_sends_nothing_that_was_told_of_while_it_connects(
    cashier: EngineCashier, kind: EventType
) -> None:
    """The proof that a call may leave says that it is awaited too: it was taken up before."""
    number = await cashier.approved_withdrawal(AMOUNT)
    desk = Slow()
    desk.overtaking = partial(told, cashier, kind, "po-1", number)
    await dispatch(cashier, desk, times=1)
    desk.overtaking = None
    await dispatch(cashier, desk)

    assert desk.asked == []
    assert (await cashier.withdrawal(number)).debited_minor == (
        AMOUNT if kind is EventType.PAYOUT_PAID else 0
    )
    await cashier.assert_sound()


@pytest.mark.parametrize("ref", ["", "po-1"])
@pytest.mark.parametrize(
    ("kind", "state", "debited"),
    [
        (EventType.PAYOUT_PAID, PAID, AMOUNT),
        (EventType.PAYOUT_FAILED, FAILED, 0),
        (EventType.PAYOUT_SUBMITTED, APPROVED, 0),
    ],
)
@pytest.mark.parametrize("tries", [0, 1])
async def test_dispatch_after_a_payout_was_told_of_asks_for_no_other(
    cashier: EngineCashier, kind: EventType, state: int, debited: int, ref: str, tries: int
) -> None:
    """Neither a call that waits nor one without an answer is made once the provider has told of it."""
    number = await cashier.approved_withdrawal(AMOUNT)
    desk = Desk()
    if tries:
        await dispatch(cashier, desk, times=1)
    await told(cashier, kind, ref, number)
    told_of_nothing = kind is EventType.PAYOUT_SUBMITTED and not ref

    await dispatch(cashier, desk)

    assert len(desk.asked) == (tries + 3 if told_of_nothing else tries)
    withdrawal = await cashier.withdrawal(number)
    assert (withdrawal.state, withdrawal.debited_minor) == (state, debited)
    held = AMOUNT if state == APPROVED else 0
    assert await cashier.player_money() == (OPENING - debited, held)
    if not tries and state != APPROVED:
        assert withdrawal.call_state == payment_pb2.CALL_STATE_DROPPED
        assert await cashier.open_calls() == 0
    await cashier.assert_sound()


async def test_dispatch_finds_the_end_of_a_payout_that_was_told_of_before_the_call(
    cashier: EngineCashier,
) -> None:
    """What is at the provider without our asking is looked at until it has ended: no hold waits for ever."""
    number = await cashier.approved_withdrawal(AMOUNT)
    await told(cashier, EventType.PAYOUT_SUBMITTED, "po-1", number)
    desk = Desk(states={"po-1": RemoteState.PENDING})
    await dispatch(cashier, desk)
    assert await cashier.open_calls() == 1

    desk.states["po-1"] = RemoteState.SUCCEEDED
    await dispatch(cashier, desk, times=1)

    assert desk.asked == []
    assert (await cashier.withdrawal(number)).state == PAID
    assert await cashier.open_calls() == 0
    await cashier.assert_sound()


OVERTAKING: Final = {
    "failed before the answer": EventType.PAYOUT_FAILED,
    "paid before the answer": EventType.PAYOUT_PAID,
}


@pytest.mark.parametrize("end", [RemoteState.SUCCEEDED, RemoteState.FAILED])
@pytest.mark.parametrize("other", [*OVERTAKING, "paid by hand"])
async def test_poll_looks_at_each_payout_until_it_has_ended(
    cashier: EngineCashier, other: str, end: RemoteState
) -> None:
    """That one payout has ended says nothing of the other one, whose event may have been lost."""
    number = await cashier.approved_withdrawal(AMOUNT)
    desk = Desk(answers=[Accepted(provider_ref="po-2")], states={"po-2": RemoteState.PENDING})
    if other in OVERTAKING:
        desk.overtaking = partial(told, cashier, OVERTAKING[other], "po-1", number)
    await dispatch(cashier, desk, times=1)
    if other == "paid by hand":
        await cashier.mark_paid(number, provider_ref="bank-77")
    assert await cashier.open_calls() == 1

    desk.states["po-2"] = end
    await dispatch(cashier, desk, times=1)

    paid = ("paid" in other) + (end is RemoteState.SUCCEEDED)
    withdrawal = await cashier.withdrawal(number)
    assert withdrawal.debited_minor == paid * AMOUNT
    assert len(desk.asked) == 1
    assert await cashier.open_calls() == 0
    assert FindingClass.DUPLICATE_AT_PROVIDER in await cashier.finding_classes()
    await cashier.assert_sound()


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_retry_refund_asks_for_the_same_payment_whatever_was_told_meanwhile(
    cashier: EngineCashier, lost: int
) -> None:
    """A refund whose answers were lost never becomes one of another payment of the deposit."""
    number = await cashier.captured_deposit("pay-m", AMOUNT)
    subject = await cashier.asked_refund(number, AMOUNT)
    desk = Desk()
    refs = ["pay-z", "pay-a", "pay-zz"]
    for ref in refs[:lost]:
        await dispatch(cashier, desk, times=1)
        await told(cashier, EventType.PAYMENT_AUTHORIZED, ref, number)
        await told(cashier, EventType.PAYMENT_CAPTURED, ref, number, 2 * AMOUNT)
    desk.answers = [Accepted(provider_ref="re-1", state=RemoteState.SUCCEEDED)]
    await dispatch(cashier, desk)

    assert [call.payment_ref for call in desk.asked] == ["pay-m"] * (lost + 1)
    assert {call.idempotency_key for call in desk.asked} == {f"tx_{cashier.ids.refund_id(subject)}"}
    [refund] = (await cashier.deposit(number)).refunds
    assert (refund.payment_ref, refund.state) == ("pay-m", payment_pb2.REFUND_STATE_SUCCEEDED)
    await cashier.assert_sound()
