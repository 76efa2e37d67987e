"""Reviewers who work on one withdrawal at a time: claims, notes, and what they have seen when they decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger_server.domain.errors import (
    IllegalTransition,
    Rejected,
    SecondReviewerRequired,
    TooManyNotes,
    WithdrawalClaimed,
    WithdrawalNotFound,
    WithdrawalStateMismatch,
)
from ledger_server.domain.payments.calls import CallKind
from ledger_server.domain.payments.commands import AddWithdrawalNote, ClaimWithdrawal, Seen
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.payments.withdrawal import MAX_NOTES, WithdrawalState
from tests.support.payments import NOW, PaymentBooks, an_event

State = WithdrawalState
REVIEWERS = st.sampled_from(["ada", "Ada", "bob", "eve"])
SECONDS = st.integers(60, 86_400)


def requested() -> tuple[PaymentBooks, int]:
    """Return books whose player has 1000 and wants 400 of it, and the withdrawal's number."""
    books = PaymentBooks()
    books.fund(1000)
    return books, books.request(400)


def test_claim_withdrawal_says_who_since_when_and_until_when() -> None:
    """The times follow from the one that the decision is given."""
    books, number = requested()

    books.claim(number, "ada", seconds=600, identity="token:ada")

    claim = books.withdrawal(number).claim
    assert claim is not None
    assert (claim.reviewer, claim.identity) == ("ada", "token:ada")
    assert (claim.time, claim.expire_time) == (NOW, NOW + timedelta(seconds=600))


@pytest.mark.parametrize(
    ("later", "take_over", "reviewer", "taken"),
    [
        (599, False, "bob", False),
        (600, False, "bob", True),
        (1, True, "bob", True),
        (1, False, "ada", True),
        (1, False, " ADA", True),
    ],
)
def test_claim_what_a_colleague_works_on(later: int, take_over: bool, reviewer: str, taken: bool) -> None:
    """It takes the end of their claim, or that one says so; one's own claim begins anew."""
    books, number = requested()
    books.claim(number, "ada", seconds=600)
    books.now = NOW + timedelta(seconds=later)

    for seconds in (None, 60):
        if taken:
            books.claim(number, reviewer, seconds=seconds, take_over=take_over)
        else:
            with pytest.raises(WithdrawalClaimed) as caught:
                books.claim(number, reviewer, seconds=seconds, take_over=take_over)
            assert caught.value.metadata["reviewer"] == "ada"

    claim = books.withdrawal(number).claim
    assert claim is not None
    assert claim.reviewer == (reviewer if taken else "ada")


@pytest.mark.parametrize("other", ["approve", "reject"])
def test_claim_of_a_colleague_forbids_no_decision(other: str) -> None:
    """Whoever went home with a claim locks up nobody's money."""
    books, number = requested()
    books.claim(number, "ada")

    books.approve(number, "bob") if other == "approve" else books.reject(number)

    assert books.withdrawal(number).state is (State.APPROVED if other == "approve" else State.REJECTED)


def test_claim_what_has_ended_is_refused_and_notes_are_not() -> None:
    """Nobody works on it any more; what is found out later can be noted."""
    books, number = requested()
    books.approve(number)
    books.claim(number, "ada")
    books.report(CallKind.CREATE_PAYOUT, number)
    books.ingest(an_event(EventType.PAYOUT_PAID, 400, ref="po-1", payment=number, at=5))

    with pytest.raises(IllegalTransition):
        books.claim(number, "ada")
    with pytest.raises(IllegalTransition):
        books.claim(number, "ada", seconds=None)
    books.add_note(number, "the bank called")

    paid = books.withdrawal(number)
    assert (paid.state, [note.text for note in paid.notes]) == (State.PAID, ["the bank called"])


def test_add_one_note_too_many_is_refused() -> None:
    """Each record of a withdrawal has all of them, so there is a bound."""
    books, number = requested()
    for text in map(str, range(MAX_NOTES)):
        books.add_note(number, text)
    with pytest.raises(TooManyNotes):
        books.add_note(number, "one more")
    assert [note.text for note in books.withdrawal(number).notes] == [*map(str, range(MAX_NOTES))]
    books.approve(number)
    assert books.withdrawal(number).state is State.APPROVED


def test_claim_or_note_what_is_unknown_is_refused() -> None:
    """A number that no withdrawal has, and no number at all."""
    books, _ = requested()
    for number in (None, 77):
        claim = ClaimWithdrawal(
            withdrawal_id="wd_unknown",
            number=number,
            reviewer="ada",
            identity="",
            claim_for=timedelta(seconds=60),
            take_over=False,
        )
        note = AddWithdrawalNote(
            withdrawal_id="wd_unknown", number=number, reviewer="ada", identity="", text="?"
        )
        for command in (claim, note):
            with pytest.raises(WithdrawalNotFound):
                books.do(command)


@pytest.mark.parametrize(
    ("state", "approvals", "fits"),
    [
        (None, None, True),
        (State.REQUESTED, None, True),
        (State.REQUESTED, 1, True),
        (None, 1, True),
        (State.REQUESTED, 0, False),
        (None, 0, False),
        (None, 2, False),
        (State.APPROVED, None, False),
        (State.APPROVED, 1, False),
    ],
)
@pytest.mark.parametrize("approving", [True, False])
def test_decide_about_what_was_seen_otherwise_changes_nothing(
    state: WithdrawalState | None,
    approvals: int | None,
    fits: bool,
    approving: bool,
) -> None:
    """A colleague has approved it first: whoever has not seen that is told, and nobody is paid."""
    books, number = requested()
    books.set_policy(second_review_from={"EUR": 1})
    books.approve(number, "ada")
    seen = Seen(state=state, approvals=approvals)
    before = books.withdrawal(number)

    if not fits:
        with pytest.raises(WithdrawalStateMismatch) as caught:
            books.approve(number, "bob", seen=seen) if approving else books.reject(number, seen=seen)
        assert (caught.value.metadata["state"], caught.value.metadata["approvals"]) == ("REQUESTED", "1")
        assert (books.withdrawal(number), books.owed) == (before, [])
        return
    books.approve(number, "bob", seen=seen) if approving else books.reject(number, seen=seen)
    assert books.withdrawal(number).state is (State.APPROVED if approving else State.REJECTED)


def test_decide_about_what_has_ended_tells_what_was_seen_first() -> None:
    """It says that somebody was faster, and not only that the step can't be made."""
    books, number = requested()
    books.reject(number)
    with pytest.raises(WithdrawalStateMismatch):
        books.approve(number, seen=Seen(state=State.REQUESTED, approvals=0))
    with pytest.raises(IllegalTransition):
        books.approve(number)


@dataclass
class Model:
    """What reviewers know of one withdrawal that wants two of them; written without the ledger's rules."""

    state: str = "REQUESTED"
    claimed_by: str = ""
    claimed_until: datetime = NOW
    notes: list[str] = field(default_factory=list)
    approved_by: list[str] = field(default_factory=list)


class Reviewers(RuleBasedStateMachine):
    """Some reviewers claim, note, approve and reject in any order while time goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    @initialize()
    def ask(self) -> None:
        """Let a player ask for a withdrawal that wants two reviewers."""
        self.books, self.number = requested()
        self.books.set_policy(second_review_from={"EUR": 1})
        self.held = self.books.balances()

    @rule(seconds=st.integers(0, 100_000))
    def let_time_go_by(self, seconds: int) -> None:
        """Put the clock on."""
        self.books.now += timedelta(seconds=seconds)

    @rule(who=REVIEWERS, seconds=st.none() | SECONDS, take_over=st.booleans())
    def claim(self, who: str, seconds: int | None, take_over: bool) -> None:
        """Claim or release it."""
        model = self.model
        standing = model.claimed_by if self.books.now < model.claimed_until else ""
        refused: type[Rejected] | None = None
        if model.state == "REJECTED":
            refused = IllegalTransition
        elif standing not in ("", who.lower()) and not take_over:
            refused = WithdrawalClaimed
        if refused is not None:
            with pytest.raises(refused):
                self.books.claim(self.number, who, seconds=seconds, take_over=take_over)
            return
        self.books.claim(self.number, who, seconds=seconds, take_over=take_over)
        model.claimed_by = "" if seconds is None else who.lower()
        model.claimed_until = self.books.now + timedelta(seconds=seconds or 0)

    @rule(who=REVIEWERS, text=st.text(min_size=1, max_size=5))
    def note(self, who: str, text: str) -> None:
        """Note something."""
        self.books.add_note(self.number, text, who)
        self.model.notes.append(f"{who}: {text}")

    @precondition(lambda self: self.model.state == "REQUESTED")
    @rule(who=REVIEWERS, seen=st.none() | st.integers(0, 2))
    def approve(self, who: str, seen: int | None) -> None:
        """Approve it, having seen so many approvals; the second person's pays out, once."""
        model = self.model
        expected = Seen(state=State.REQUESTED, approvals=seen)
        refused: type[Rejected] | None = None
        if seen not in (None, len(model.approved_by)):
            refused = WithdrawalStateMismatch
        elif who.lower() in model.approved_by:
            refused = SecondReviewerRequired
        if refused is not None:
            with pytest.raises(refused):
                self.books.approve(self.number, who, seen=expected)
            return
        self.books.approve(self.number, who, seen=expected)
        model.approved_by.append(who.lower())
        if len(model.approved_by) == 2:
            model.state = "APPROVED"

    @precondition(lambda self: self.model.state == "REQUESTED")
    @rule()
    def reject(self) -> None:
        """Refuse it, whoever has claimed it."""
        self.books.reject(self.number)
        self.model.state = "REJECTED"

    @invariant()
    def stands_as_in_the_model(self) -> None:
        """State, claim, notes and money are what they should be; nothing but an approval owes a call."""
        if not hasattr(self, "books"):
            return
        withdrawal = self.books.withdrawal(self.number)
        model = self.model
        assert withdrawal.state.name == model.state
        claim = withdrawal.claim
        assert ("" if claim is None else claim.reviewer.lower()) == model.claimed_by
        assert claim is None or claim.expire_time == model.claimed_until
        assert [f"{note.reviewer}: {note.text}" for note in withdrawal.notes] == model.notes
        assert [each.reviewer.lower() for each in withdrawal.approvals] == model.approved_by
        assert len(self.books.owed) == (model.state == "APPROVED")
        if model.state != "REJECTED":
            assert self.books.balances() == self.held


TestReviewers = Reviewers.TestCase
TestReviewers.settings = settings(max_examples=60, stateful_step_count=30)
