"""The mock provider's rules: what each thing that happens tells, moves and leaves behind."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from mock_psp.errors import ApiError, InvalidRequest, NotFound, Refused
from mock_psp.objects import Payment, Payout
from mock_psp.state import State
from tests.support.clock import FakeClock
from tests.unit.mock_psp.states import moved, payment, payout, state, told


@dataclass(frozen=True)
class Script:
    """What happens to a payment of 1,000 cents, what is told and moved by it, and how it ends."""

    name: str
    steps: Callable[[State, str], object]
    told: list[tuple[str, int]]
    moved: list[tuple[str, int]] = field(default_factory=list)
    ends: str = "pending"

    def __str__(self) -> str:
        """Return the name of the test case."""
        return self.name


def captured_then(*steps: Callable[[State, str], object]) -> Callable[[State, str], object]:
    """Return a script that captures everything first."""

    def run(psp: State, payment_id: str) -> None:
        psp.payments.capture(payment_id)
        for step in steps:
            step(psp, payment_id)

    return run


def refunded(psp: State, payment_id: str) -> None:
    """Refund 400 and let it leave."""
    psp.refunds.succeed(psp.refunds.create(payment_id, amount_minor=400).id)


def refund_came_back(psp: State, payment_id: str) -> None:
    """Refund everything, and let it come back."""
    refund = psp.refunds.create(payment_id)
    psp.refunds.succeed(refund.id)
    psp.refunds.fail(refund.id)


CAPTURED = ("payment.captured", 1_000)
CAPTURE = ("capture", 1_000)

PAYMENTS = [
    Script(
        "authorize",
        lambda psp, id_: psp.payments.authorize(id_),
        [("payment.authorized", 1_000)],
        ends="authorized",
    ),
    Script("capture", lambda psp, id_: psp.payments.capture(id_), [CAPTURED], [CAPTURE], "captured"),
    Script(
        "capture-part",
        lambda psp, id_: psp.payments.capture(id_, amount_minor=300),
        [("payment.captured", 300)],
        [("capture", 300)],
        "captured",
    ),
    Script(
        "attempt-fails", lambda psp, id_: psp.payments.attempt_fail(id_), [("payment.attempt_failed", 1_000)]
    ),
    Script("fail", lambda psp, id_: psp.payments.fail(id_), [("payment.failed", 1_000)], ends="failed"),
    Script(
        "fail-after-capture",
        captured_then(lambda psp, id_: psp.payments.fail(id_)),
        [CAPTURED, ("payment.failed", 1_000)],
        [CAPTURE],
        "captured",
    ),
    Script(
        "capture-fails",
        captured_then(lambda psp, id_: psp.payments.capture_fail(id_)),
        [CAPTURED, ("payment.capture_failed", 1_000)],
        [CAPTURE, ("capture_failure", -1_000)],
        "failed",
    ),
    Script(
        "recapture",
        captured_then(
            lambda psp, id_: psp.payments.capture_fail(id_), lambda psp, id_: psp.payments.recapture(id_)
        ),
        [CAPTURED, ("payment.capture_failed", 1_000), CAPTURED],
        [CAPTURE, ("capture_failure", -1_000), ("recapture", 1_000)],
        "captured",
    ),
    Script(
        "fee",
        captured_then(lambda psp, id_: psp.payments.fee(id_, amount_minor=29)),
        [CAPTURED, ("fee.charged", 29)],
        [CAPTURE, ("fee", -29)],
        "captured",
    ),
    Script(
        "refund",
        captured_then(refunded),
        [CAPTURED, ("refund.pending", 400), ("refund.succeeded", 400)],
        [CAPTURE, ("refund", -400)],
        "captured",
    ),
    Script(
        "refund-comes-back",
        captured_then(refund_came_back),
        [CAPTURED, ("refund.pending", 1_000), ("refund.succeeded", 1_000), ("refund.failed", 1_000)],
        [CAPTURE, ("refund", -1_000), ("refund_failure", 1_000)],
        "captured",
    ),
    Script(
        "dispute-won",
        captured_then(
            lambda psp, id_: psp.disputes.open(id_),
            lambda psp, id_: psp.disputes.withdraw(id_, stage="chargeback"),
            lambda psp, id_: psp.disputes.reinstate(id_, stage="chargeback"),
            lambda psp, id_: psp.disputes.win(id_),
        ),
        [
            CAPTURED,
            ("dispute.opened", 1_000),
            ("dispute.funds_withdrawn", 1_000),
            ("dispute.funds_reinstated", 1_000),
            ("dispute.won", 1_000),
        ],
        [CAPTURE, ("dispute_withdrawal", -1_000), ("dispute_reinstatement", 1_000)],
        "captured",
    ),
    Script(
        "dispute-lost-unannounced",
        captured_then(
            lambda psp, id_: psp.disputes.withdraw(id_, amount_minor=700),
            lambda psp, id_: psp.disputes.lose(id_),
        ),
        [CAPTURED, ("dispute.funds_withdrawn", 700), ("dispute.lost", 700)],
        [CAPTURE, ("dispute_withdrawal", -700)],
        "captured",
    ),
]

PAYOUTS = [
    Script(
        "submit", lambda psp, id_: psp.payouts.submit(id_), [("payout.submitted", 1_000)], ends="submitted"
    ),
    Script(
        "pay", lambda psp, id_: psp.payouts.pay(id_), [("payout.paid", 1_000)], [("payout", -1_000)], "paid"
    ),
    Script(
        "pay-twice-told",
        lambda psp, id_: (psp.payouts.pay(id_), psp.payouts.pay(id_)),
        [("payout.paid", 1_000)] * 2,
        [("payout", -1_000)],
        "paid",
    ),
    Script("fail", lambda psp, id_: psp.payouts.fail(id_), [("payout.failed", 1_000)], ends="failed"),
    Script(
        "return",
        lambda psp, id_: (psp.payouts.pay(id_), psp.payouts.return_(id_)),
        [("payout.paid", 1_000), ("payout.failed", 1_000)],
        [("payout", -1_000), ("payout_return", 1_000)],
        "returned",
    ),
    Script(
        "pay-after-failure",
        lambda psp, id_: (psp.payouts.fail(id_), psp.payouts.pay(id_)),
        [("payout.failed", 1_000), ("payout.paid", 1_000)],
        [("payout", -1_000)],
        "paid",
    ),
    Script(
        "fee",
        lambda psp, id_: psp.payouts.fee(id_, amount_minor=50),
        [("fee.charged", 50)],
        [("fee", -50)],
    ),
]


def check(psp: State, made: Payment | Payout, script: Script) -> None:
    """Run a script and compare everything that it leaves behind."""
    script.steps(psp, made.id)

    assert told(psp) == script.told
    assert moved(psp) == script.moved
    assert made.state == script.ends
    assert psp.books.balances["EUR"] == sum(amount for _, amount in script.moved)
    assert len({event.id for event in psp.books.events}) == len(script.told)
    assert len({movement.id for movement in psp.books.movements}) == len(script.moved)


@pytest.mark.parametrize("script", PAYMENTS, ids=str)
def test_run_script_of_payment_tells_and_moves_what_happened(script: Script) -> None:
    """Each thing that happens to a payment tells one event, and moves what really moved."""
    psp = state()

    check(psp, payment(psp), script)


@pytest.mark.parametrize("script", PAYOUTS, ids=str)
def test_run_script_of_payout_tells_and_moves_what_happened(script: Script) -> None:
    """Each thing that happens to a payout tells one event, and moves what really moved."""
    psp = state()

    check(psp, payout(psp), script)


def test_recapture_keeps_the_id_of_the_capture() -> None:
    """Providers may tell again of a capture that had failed, under the same id."""
    psp = state()
    made = payment(psp)
    psp.payments.capture(made.id)
    psp.payments.capture_fail(made.id)

    psp.payments.recapture(made.id)

    assert {event.data.object_id for event in psp.books.events} == {made.captures[0].id}


def test_open_second_dispute_leaves_the_first_alone() -> None:
    """What happens to disputes means the latest."""
    psp = state()
    made = payment(psp)
    psp.payments.capture(made.id)
    first, second = psp.disputes.open(made.id), psp.disputes.open(made.id, amount_minor=10)

    psp.disputes.lose(made.id)

    assert (first.state, second.state) == ("open", "lost")


REFUSALS: dict[str, tuple[Callable[[State, Payment, Payout], object], type[ApiError], str]] = {
    "unknown-payment": (lambda psp, _p, _o: psp.payments.capture("mp_pay_0"), NotFound, "not_found"),
    "unknown-payout": (lambda psp, _p, _o: psp.payouts.pay("mp_out_0"), NotFound, "not_found"),
    "unknown-refund": (lambda psp, _p, _o: psp.refunds.fail("mp_ref_0"), NotFound, "not_found"),
    "refund-too-early": (lambda psp, p, _o: psp.refunds.create(p.id), Refused, "payment_not_captured"),
    "return-unpaid": (lambda psp, _p, o: psp.payouts.return_(o.id), InvalidRequest, "not_paid"),
    "no-capture": (lambda psp, p, _o: psp.payments.capture_fail(p.id), InvalidRequest, "no_such_capture"),
    "no-failed-capture": (lambda psp, p, _o: psp.payments.recapture(p.id), InvalidRequest, "no_such_capture"),
    "no-fee": (lambda psp, p, _o: psp.payments.fee(p.id), InvalidRequest, "no_fee"),
    "nothing-left": (
        lambda psp, p, _o: (psp.payments.capture(p.id), psp.payments.capture(p.id)),
        InvalidRequest,
        "nothing_to_capture",
    ),
    "refund-too-much": (
        lambda psp, p, _o: (psp.payments.capture(p.id), psp.refunds.create(p.id, amount_minor=1_001)),
        Refused,
        "refund_exceeds_captured",
    ),
    "refund-nothing": (
        lambda psp, p, _o: (psp.payments.capture(p.id), psp.refunds.create(p.id), psp.refunds.create(p.id)),
        InvalidRequest,
        "nothing_to_refund",
    ),
    "bad-destination": (
        lambda psp, _p, _o: payout(psp, destination="rejected-iban"),
        Refused,
        "destination_rejected",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_ask_for_what_cannot_be_is_refused(name: str) -> None:
    """Each refusal has its code."""
    psp = state()
    step, refusal, code = REFUSALS[name]

    with pytest.raises(refusal) as caught:
        step(psp, payment(psp), payout(psp))

    assert caught.value.code == code


def test_pay_out_more_than_came_in_is_refused_only_when_asked_for() -> None:
    """The balance counts payouts under way, and is looked at only if the knob says so."""
    psp = state(enforce_balance=True)
    psp.payments.capture(payment(psp).id)
    payout(psp, 600)

    with pytest.raises(Refused) as caught:
        payout(psp, 401)

    psp.knobs.enforce_balance = False
    payout(psp, 401)
    assert caught.value.code == "insufficient_balance"


def test_count_executions_by_reference() -> None:
    """Two payouts for one reference are two, whatever became of them; refusals are none."""
    psp = state()
    payout(psp)
    psp.payouts.fail(payout(psp).id)
    with pytest.raises(Refused):
        payout(psp, destination="rejected")

    assert psp.executions == {"wd_1": 2}
    assert [made.reference for made in psp.books.made_for("wd_1")] == ["wd_1", "wd_1"]
    assert psp.books.made_for("wd_2") == []


def test_complete_by_itself_only_once_the_time_has_come() -> None:
    """Payments, refunds and payouts come to their end `settle_seconds` after they were asked for."""
    clock = FakeClock()
    psp = state(clock, auto_complete=True, settle_seconds=2, fee_minor=9)
    made = payment(psp)

    clock.advance(seconds=1)
    early = psp.run_due()
    clock.advance(seconds=1)
    psp.run_due()
    psp.refunds.create(made.id, reference="ref_1")
    payout(psp)
    clock.advance(seconds=2)
    psp.run_due()

    assert early == 0
    assert moved(psp) == [("capture", 1_000), ("fee", -9), ("refund", -1_000), ("payout", -1_000)]


def test_complete_payment_with_manual_capture_stops_at_authorized() -> None:
    """Whoever wants to capture by hand does so."""
    psp = state(auto_complete=True, settle_seconds=0)
    psp.payments.create(reference="dep_1", amount_minor=5, currency="EUR", capture="manual")

    psp.run_due()

    assert told(psp) == [("payment.authorized", 5)]


def test_complete_leaves_alone_what_was_decided_already() -> None:
    """What a person or test has decided is not overturned by what would have come by itself."""
    psp = state(auto_complete=True, settle_seconds=0)
    psp.payments.fail(payment(psp).id)
    psp.payouts.fail(payout(psp).id)

    psp.run_due()

    assert moved(psp) == []


def test_fail_late_takes_back_what_had_succeeded() -> None:
    """The knob hits the next so many captures and payouts, after they were done."""
    psp = state(auto_complete=True, settle_seconds=0, late_failure=2)
    first, second, third = payment(psp), payout(psp), payout(psp)

    psp.run_due()

    assert (first.state, second.state, third.state) == ("failed", "returned", "paid")


def test_tell_wrong_amount_and_currency_leaves_the_money_right() -> None:
    """Only events lie; the payment and its movements do not."""
    psp = state(wrong_amount=5, wrong_currency="USD")
    made = payment(psp)

    psp.payments.capture(made.id)

    (event,) = psp.books.events
    assert (event.data.amount_minor, event.data.currency) == (1_005, "USD")
    assert (made.captured_minor, psp.books.movements[0].currency) == (1_000, "EUR")


def test_skew_clock_moves_every_time_that_is_told() -> None:
    """The provider's clock is its own."""
    psp = state(clock_skew_seconds=-90)

    psp.payments.authorize(payment(psp).id)

    assert psp.books.events[0].created_at == "2030-01-01T11:58:30.000000Z"


def test_seed_equally_makes_equal_ids() -> None:
    """Nothing is random that a test cannot repeat."""
    assert payment(state()).id == payment(state()).id
