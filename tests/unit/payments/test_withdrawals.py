"""The life of a withdrawal as tables: review from inside, then what the provider says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import (
    AccountNotFound,
    CallUnderWay,
    IllegalTransition,
    InsufficientFunds,
    PlayerCancelNotAllowed,
    SecondReviewerRequired,
    WithdrawalNotFound,
)
from ledger_server.domain.ledger.holds import HoldState
from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallKind, CallRejected
from ledger_server.domain.payments.commands import ApproveWithdrawal
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent
from ledger_server.domain.payments.knowledge import CallState
from ledger_server.domain.payments.withdrawal import WithdrawalState
from tests.support.payments import Balances, PaymentBooks, an_event

State = WithdrawalState
PAYOUT = CallKind.CREATE_PAYOUT
FULL = Balances(posted=1000, available=1000, clearing=1000)
HELD = Balances(posted=1000, available=600, clearing=1000)
PAID = Balances(posted=600, available=600, clearing=600)

Step = Callable[[PaymentBooks, int], object]


def approve(books: PaymentBooks, number: int) -> None:
    """Let it pass."""
    books.approve(number)


def reject(books: PaymentBooks, number: int) -> None:
    """Refuse it."""
    books.reject(number)


def cancel(books: PaymentBooks, number: int) -> None:
    """Take it back, which the tenant allows."""
    books.set_policy(player_may_cancel=True)
    books.cancel(number)


def mark_paid(books: PaymentBooks, number: int) -> None:
    """Record by hand that it was paid."""
    books.mark_paid(number)


def begun(books: PaymentBooks, number: int) -> None:
    """Begin the call."""
    books.report(PAYOUT, number, CallBegun())


def accepted(books: PaymentBooks, number: int) -> None:
    """Let the provider take the payout on."""
    books.accepted(PAYOUT, number, "po-1")


def rejected(books: PaymentBooks, number: int) -> None:
    """Let the provider refuse the payout."""
    books.rejected(PAYOUT, number)


def heard(kind: EventType, amount: int | None = 400, *, at: int = 5) -> Step:
    """Return a step in which the provider speaks of the payout."""

    def step(books: PaymentBooks, number: int) -> EventState:
        return books.ingest(payout(kind, number, amount, at=at)).state

    return step


def payout(kind: EventType, number: int, amount: int | None = 400, *, at: int = 5) -> ProviderEvent:
    """Return an event of a payout that echoes our id."""
    return an_event(kind, amount, ref="po-1", payment=number, at=at, event_id=f"{kind.name}-{at}")


submitted = heard(EventType.PAYOUT_SUBMITTED, at=4)
paid = heard(EventType.PAYOUT_PAID)
failed_before = heard(EventType.PAYOUT_FAILED, at=4)
failed = heard(EventType.PAYOUT_FAILED, at=9)
paid_again = heard(EventType.PAYOUT_PAID, at=20)


def requested() -> tuple[PaymentBooks, int]:
    """Return books whose player has 1000 and wants 400 of it, and the withdrawal's number."""
    books = PaymentBooks()
    books.fund(1000)
    return books, books.request(400)


@pytest.mark.parametrize(
    ("steps", "state", "hold", "after"),
    [
        pytest.param([], State.REQUESTED, HoldState.OPEN, HELD, id="requested"),
        pytest.param([approve], State.APPROVED, HoldState.OPEN, HELD, id="approved"),
        pytest.param([reject], State.REJECTED, HoldState.RELEASED, FULL, id="rejected"),
        pytest.param([cancel], State.CANCELLED, HoldState.RELEASED, FULL, id="cancelled"),
        pytest.param(
            [approve, begun], State.APPROVED, HoldState.OPEN, HELD, id="call under way, outcome unknown"
        ),
        pytest.param([approve, accepted], State.APPROVED, HoldState.OPEN, HELD, id="call accepted"),
        pytest.param([approve, rejected], State.FAILED, HoldState.RELEASED, FULL, id="call refused"),
        pytest.param([approve, accepted, submitted], State.APPROVED, HoldState.OPEN, HELD, id="submitted"),
        pytest.param([approve, accepted, paid], State.PAID, HoldState.CAPTURED, PAID, id="paid"),
        pytest.param(
            [approve, begun, paid], State.PAID, HoldState.CAPTURED, PAID, id="paid before the answer"
        ),
        pytest.param(
            [approve, accepted, heard(EventType.PAYOUT_PAID, None)],
            State.PAID,
            HoldState.CAPTURED,
            PAID,
            id="paid without an amount",
        ),
        pytest.param(
            [approve, accepted, failed], State.FAILED, HoldState.RELEASED, FULL, id="failed before paid"
        ),
        pytest.param(
            [approve, accepted, paid, failed],
            State.REVERSED,
            HoldState.CAPTURED,
            FULL,
            id="paid, then returned",
        ),
        pytest.param(
            [approve, accepted, failed, paid],
            State.REVERSED,
            HoldState.RELEASED,
            FULL,
            id="returned heard before paid",
        ),
        pytest.param(
            [approve, accepted, failed_before, paid],
            State.PAID,
            HoldState.RELEASED,
            PAID,
            id="paid after failure",
        ),
        pytest.param(
            [approve, accepted, paid, failed, paid_again],
            State.PAID,
            HoldState.CAPTURED,
            PAID,
            id="paid again after it was returned",
        ),
        pytest.param(
            [approve, rejected, paid],
            State.PAID,
            HoldState.RELEASED,
            PAID,
            id="paid though the call was refused",
        ),
        pytest.param([approve, mark_paid], State.PAID, HoldState.CAPTURED, PAID, id="marked paid"),
        pytest.param(
            [approve, accepted, mark_paid], State.PAID, HoldState.CAPTURED, PAID, id="marked after call"
        ),
        pytest.param(
            [approve, accepted, mark_paid, paid], State.PAID, HoldState.CAPTURED, PAID, id="marked, then paid"
        ),
        pytest.param(
            [approve, accepted, mark_paid, failed],
            State.REVERSED,
            HoldState.CAPTURED,
            FULL,
            id="marked, then returned",
        ),
        pytest.param(
            [approve, accepted, heard(EventType.PAYOUT_PAID, 300)],
            State.PAID,
            HoldState.CAPTURED,
            Balances(posted=700, available=700, clearing=700),
            id="paid less",
        ),
        pytest.param(
            [approve, accepted, heard(EventType.PAYOUT_PAID, 500)],
            State.PAID,
            HoldState.CAPTURED,
            Balances(posted=500, available=500, clearing=500),
            id="paid more",
        ),
        pytest.param(
            [approve, accepted, paid, heard(EventType.FEE_CHARGED, 7)],
            State.PAID,
            HoldState.CAPTURED,
            Balances(posted=600, available=600, clearing=593, fees=7),
            id="fee",
        ),
        pytest.param([paid], State.PAID, HoldState.CAPTURED, PAID, id="paid while requested"),
        pytest.param([reject, paid], State.PAID, HoldState.RELEASED, PAID, id="paid while rejected"),
        pytest.param([reject, failed], State.REJECTED, HoldState.RELEASED, FULL, id="failed while rejected"),
        pytest.param(
            [reject, paid, failed], State.REVERSED, HoldState.RELEASED, FULL, id="rejected, paid, returned"
        ),
    ],
)
def test_go_through_review_and_provider_moves_what_the_step_means(
    steps: list[Step], state: WithdrawalState, hold: HoldState, after: Balances
) -> None:
    """A player with 1000 asks for 400."""
    books, number = requested()
    for step in steps:
        step(books, number)
    withdrawal = books.withdrawal(number)
    assert withdrawal.state is state
    assert books.hold(withdrawal.hold).state is hold
    assert books.balances() == after
    assert withdrawal.balance_after == after.available


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        ([approve, accepted, paid, failed], []),
        ([approve, accepted, failed], []),
        ([paid], ["STATUS_MISMATCH"]),
        ([reject, paid], ["STATUS_MISMATCH"]),
        ([reject, failed], ["STATUS_MISMATCH"]),
        ([cancel, paid], ["STATUS_MISMATCH"]),
        ([approve, rejected, paid], ["STATUS_MISMATCH"]),
        ([approve, accepted, failed_before, paid], ["STATUS_MISMATCH"]),
        ([approve, accepted, paid, failed_before], ["STATUS_MISMATCH"]),
        ([approve, accepted, heard(EventType.PAYOUT_PAID, 300)], ["AMOUNT_MISMATCH"]),
        ([approve, accepted, heard(EventType.PAYOUT_PAID, 1200)], ["AMOUNT_MISMATCH", "WALLET_OVERDRAWN"]),
    ],
)
def test_hear_what_no_step_allows_raises_findings(steps: list[Step], names: list[str]) -> None:
    """What the provider did is booked, and a finding tells what does not fit."""
    books, number = requested()
    for step in steps:
        step(books, number)
    assert books.finding_names() == names


@pytest.mark.parametrize("step", [approve, reject, cancel, mark_paid])
@pytest.mark.parametrize(
    "given",
    [
        [reject],
        [cancel],
        [approve, rejected],
        [approve, accepted, paid],
        [approve, accepted, paid, failed],
        [paid],
    ],
)
def test_review_what_has_ended_is_refused(given: list[Step], step: Step) -> None:
    """Rejected, cancelled, failed, paid and returned withdrawals can't be reviewed."""
    books, number = requested()
    for before in given:
        before(books, number)
    balances = books.balances()
    with pytest.raises(IllegalTransition):
        step(books, number)
    assert books.balances() == balances


@pytest.mark.parametrize(
    ("given", "step"), [([], mark_paid), ([approve], approve), ([approve], reject), ([approve], cancel)]
)
def test_review_out_of_turn_is_refused(given: list[Step], step: Step) -> None:
    """Only what was approved can be marked paid, and an approval can't be taken back."""
    books, number = requested()
    for before in given:
        before(books, number)
    with pytest.raises(IllegalTransition):
        step(books, number)
    assert books.balances() == HELD


def test_approve_below_the_limit_owes_one_call() -> None:
    """One reviewer is enough below the limit."""
    books, number = requested()
    books.set_policy(second_review_from={"EUR": 401})
    books.approve(number)
    [call] = books.owed[-1:]
    assert (call.kind, call.payment, call.subject) == (PAYOUT, number, number)
    assert books.withdrawal(number).call_state is CallState.PENDING


def test_approve_from_the_limit_on_needs_a_second_reviewer() -> None:
    """The limit itself counts; nothing is owed before the second approval, by somebody else."""
    books, number = requested()
    books.set_policy(second_review_from={"EUR": 400})
    books.approve(number, "rita")
    assert (books.withdrawal(number).state, books.owed) == (State.REQUESTED, [])
    with pytest.raises(SecondReviewerRequired):
        books.approve(number, "rita")
    books.approve(number, "saul")
    withdrawal = books.withdrawal(number)
    assert (withdrawal.state, [each.reviewer for each in withdrawal.approvals]) == (
        State.APPROVED,
        ["rita", "saul"],
    )
    assert [call.kind for call in books.owed] == [PAYOUT]


APPROVALS = st.tuples(
    st.sampled_from(["ada", "Ada", "ADA", "bob", "Bob", "eve"]), st.sampled_from(["", "token:", "console"])
)


@given(st.lists(APPROVALS, max_size=6))
def test_two_proved_persons_pay_out_and_never_one(asked: list[tuple[str, str]]) -> None:
    """By whatever service or token, in whatever spelling; a name that was typed counts for nobody proved."""
    books, number = requested()
    books.set_policy(second_review_from={"EUR": 1})
    proved: set[str] = set()
    names: set[str] = set()
    for reviewer, by in asked:
        identity = f"token:{reviewer}" if by == "token:" else by
        if reviewer.lower() in (proved if identity else names):
            with pytest.raises(SecondReviewerRequired):
                books.approve(number, reviewer, identity)
            continue
        books.approve(number, reviewer, identity)
        names.add(reviewer.lower())
        if identity:
            proved.add(reviewer.lower())
        enough = len(proved if identity else names) >= 2
        assert (books.withdrawal(number).state is State.APPROVED) == enough
        assert len(books.owed) == int(enough)
        if enough:
            return


def test_typed_approval_does_not_count_for_a_proved_one() -> None:
    """Somebody may have typed another name on a server without identities, and then proved their own."""
    books, number = requested()
    books.set_policy(second_review_from={"EUR": 1})
    books.approve(number, "ada")
    for reviewer, identity in (("bob", "token:bob"), ("ada", "spiffe://d/console")):
        assert books.withdrawal(number).state is State.REQUESTED
        books.approve(number, reviewer, identity)
    withdrawal = books.withdrawal(number)
    assert withdrawal.state is State.APPROVED
    assert [(each.reviewer, each.identity) for each in withdrawal.approvals] == [
        ("ada", ""),
        ("bob", "token:bob"),
        ("ada", "spiffe://d/console"),
    ]


def test_approve_in_currency_without_limit_needs_one_reviewer() -> None:
    """A limit holds for its own currency."""
    books, number = requested()
    books.set_policy(second_review_from={"USD": 1})
    books.approve(number)
    assert books.withdrawal(number).state is State.APPROVED


def test_reject_after_first_of_two_approvals_releases_the_hold() -> None:
    """The second pair of eyes may say no."""
    books, number = requested()
    books.set_policy(second_review_from={"EUR": 1})
    books.approve(number)
    books.reject(number)
    assert books.balances() == FULL


def test_cancel_where_the_tenant_forbids_it_is_refused() -> None:
    """Some jurisdictions forbid that a player takes a withdrawal back; that is the default."""
    books, number = requested()
    with pytest.raises(PlayerCancelNotAllowed):
        books.cancel(number)
    assert books.balances() == HELD


def test_mark_paid_while_the_call_is_under_way_is_refused() -> None:
    """Nobody can say yet whether that very call has paid."""
    books, number = requested()
    approve(books, number)
    begun(books, number)
    with pytest.raises(CallUnderWay):
        books.mark_paid(number)
    assert books.balances() == HELD


def test_mark_paid_before_the_call_was_begun_drops_it() -> None:
    """The call would pay a second time; it can't be begun any more."""
    books, number = requested()
    approve(books, number)
    books.mark_paid(number, "po-7")
    assert books.withdrawal(number).call_state is CallState.DROPPED
    assert books.withdrawal(number).provider_ref == "po-7"
    before = books.snapshot()
    books.report(PAYOUT, number, CallBegun(), CallAccepted(provider_ref="po-7"), CallRejected(reason="no"))
    assert books.snapshot() == before


@pytest.mark.parametrize("first", [CallAccepted(provider_ref="po-1"), CallRejected(reason="no")])
@pytest.mark.parametrize("second", [CallBegun(), CallAccepted(provider_ref=""), CallRejected(reason="oh")])
def test_report_call_twice_changes_nothing(
    first: CallAccepted | CallRejected, second: CallBegun | CallAccepted | CallRejected
) -> None:
    """What the provider has answered first is its answer for ever."""
    books, number = requested()
    approve(books, number)
    books.report(PAYOUT, number, CallBegun(), first)
    before = books.snapshot()
    books.report(PAYOUT, number, second)
    assert books.snapshot() == before


def test_report_answer_of_a_call_that_was_not_begun_changes_nothing() -> None:
    """An answer belongs to a call that was recorded as begun."""
    books, number = requested()
    approve(books, number)
    before = books.snapshot()
    books.report(PAYOUT, number, CallAccepted(provider_ref="po-1"))
    assert books.snapshot() == before


def test_request_more_than_available_is_refused() -> None:
    """What is held for another withdrawal can't be asked for again."""
    books, _ = requested()
    with pytest.raises(InsufficientFunds):
        books.request(601)
    assert books.balances() == HELD


def test_request_from_unknown_wallet_is_refused() -> None:
    """Who never had money has no wallet."""
    with pytest.raises(AccountNotFound):
        PaymentBooks().request(1)


@pytest.mark.parametrize("number", [None, 7])
def test_approve_unknown_withdrawal_is_refused(number: int | None) -> None:
    """An id of nobody's withdrawal is named as such."""
    with pytest.raises(WithdrawalNotFound):
        PaymentBooks().do(
            ApproveWithdrawal(withdrawal_id="wd_x", number=number, reviewer="rita", note="", identity="")
        )
