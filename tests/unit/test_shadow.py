"""SHADOW and ENFORCED decide the same, except that what a limit refuses passes with a mark in SHADOW."""

from __future__ import annotations

import contextlib
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.decisions.decide import Decision, decide
from ledger_server.domain.decisions.ledger import decide_ledger
from ledger_server.domain.errors import (
    BegunDepositsTooLarge,
    CallUnderWay,
    IllegalTransition,
    Reason,
    RefundExceedsCaptured,
)
from ledger_server.domain.ledger.accounts import AccountKind, Limits
from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.domain.payments.commands import PaymentCommand
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.state.commands import (
    CaptureHold,
    Command,
    Enforcement,
    IncreaseHold,
    PlaceHold,
    ReleaseHold,
    ReverseTransaction,
    SetAccountLimits,
)
from ledger_server.domain.state.facts import Fact, HoldChanged, RequestRejected, TransactionPosted
from ledger_server.domain.state.working_set import PostedEntry, PostedLeg, WorkingSet
from tests.support.payments import NOW as THEN
from tests.support.payments import WALLET, PaymentBooks, an_event
from tests.unit.books import NOW, Books, transfer

OF_LIMITS: Final = {int(Reason.INSUFFICIENT_FUNDS), int(Reason.BALANCE_LIMIT_EXCEEDED)}
# No limit of an account: these are refused in both modes.
BESIDE_LIMITS: Final = (BegunDepositsTooLarge, CallUnderWay, IllegalTransition, RefundExceedsCaptured)
ACCOUNTS: Final = ("ann", "bob", "till", "house")
AMOUNTS: Final = st.integers(1, 9)
SETTINGS: Final = settings(deadline=None, max_examples=150)


def marked(fact: Fact) -> bool:
    """Whether a fact says that something from the inside broke a limit and passed."""
    if isinstance(fact, TransactionPosted):
        return fact.transaction.limit_breached and not fact.transaction.outside
    return isinstance(fact, HoldChanged) and fact.hold.limit_breached


def decide_in_both(working_set: WorkingSet, command: Command) -> Decision:
    """Decide a command in both modes, compare, and return what SHADOW decides; nothing is changed."""
    now = max(working_set.record_time, THEN)
    decided = {}
    for mode in (Enforcement.ENFORCED, Enforcement.SHADOW):
        working_set.enforcement = mode
        decided[mode] = decide(working_set, command, now)
    enforced, shadow = decided[Enforcement.ENFORCED], decided[Enforcement.SHADOW]
    refused = [fact for fact in enforced.facts if isinstance(fact, RequestRejected)]
    if refused and refused[0].reason in OF_LIMITS:
        assert not any(isinstance(fact, RequestRejected) for fact in shadow.facts)
        assert any(marked(fact) for fact in shadow.facts)
    else:
        assert shadow.facts == enforced.facts
    return shadow


def ledger_commands(books: Books, data: st.DataObject) -> Command:
    """Draw a command on accounts, transactions or holds, of which some exist."""
    known = books.working_set
    debit, credit = data.draw(st.permutations(ACCOUNTS))[:2]
    holds = sorted(known.holds)
    wanted = data.draw(st.sampled_from(["post", "hold", "limits", "reverse", *(["step"] * bool(holds))]))
    match wanted:
        case "post":
            return transfer(debit, credit, data.draw(AMOUNTS))
        case "hold":
            return PlaceHold(
                debit_account_id=debit,
                credit_account_id=credit,
                amount=data.draw(AMOUNTS),
                currency="EUR",
                expire_time=None,
                type=TransactionType.BET,
                reference="",
                metadata={},
            )
        case "limits":
            low = data.draw(st.none() | st.integers(-5, 5))
            high = data.draw(st.none() | st.integers(5, 9))
            limits = Limits(min_available=low, max_balance=high)
            return SetAccountLimits(account_id=debit, limits=limits)
        case "reverse":
            legs = tuple(
                PostedLeg(leg.account_id, leg.direction, leg.amount, leg.currency)
                for leg in transfer(debit, credit, data.draw(AMOUNTS)).postings
            )
            known.transactions[1] = PostedEntry(legs)
            return ReverseTransaction(
                transaction_id="tx", sequence=1, reference="", effective_time=None, metadata={}
            )
    number = data.draw(st.sampled_from(holds))
    match data.draw(st.sampled_from(["increase", "capture", "release"])):
        case "increase":
            return IncreaseHold(hold_id="hold", number=number, additional=data.draw(AMOUNTS))
        case "capture":
            return CaptureHold(
                hold_id="hold",
                number=number,
                amount=data.draw(st.none() | AMOUNTS),
                final=data.draw(st.booleans()),
                reference="",
                effective_time=None,
                metadata={},
            )
    return ReleaseHold(hold_id="hold", number=number)


@SETTINGS
@given(st.data())
def test_shadow_refuses_nothing_for_a_limit_and_marks_it(data: st.DataObject) -> None:
    """Postings, reversals, holds and their steps, in any order, on accounts of any kind and limit."""
    books = Books(enforcement=Enforcement.SHADOW)
    for name in ACCOUNTS:
        kind = AccountKind.ASSET if name in ("till", "house") else AccountKind.LIABILITY
        books.account(name, kind, minimum=None if name == "house" else 0)
    for _ in range(data.draw(st.integers(1, 12))):
        for fact in decide_in_both(books.working_set, ledger_commands(books, data)).facts:
            books.working_set.apply(fact)


class InBothModes(PaymentBooks):
    """Payments that are decided in both modes, and go on as SHADOW decides."""

    def do(self, command: PaymentCommand) -> tuple[Fact, ...]:
        """Compare, then let it take effect."""
        decide_in_both(self.working_set, command)
        return super().do(command)


def take(books: PaymentBooks, deposit: int, step: str, amount: int) -> None:
    """Take one step with the player's payments."""
    named = f"{step}-{books.working_set.sequence}"
    match step:
        case "deposit":
            books.initiate(amount, ref=named)
        case "withdraw":
            books.request(amount)
        case "refund":
            books.ask_refund(deposit, amount)
        case "spend":
            books.spend(amount)
        case "pay":
            books.mark_paid(books.request(amount), ref=named)
        case "return":
            event = an_event(EventType.REFUND_SUCCEEDED, amount, payment=deposit, ref="", object_ref=named)
            books.ingest(event)
        case "limit":
            entry = books.working_set.accounts[WALLET]
            assert entry.account is not None
            limits = Limits(min_available=0, max_balance=amount)
            entry.account = replace(entry.account, limits=limits)


PAYMENTS: Final = st.lists(
    st.tuples(
        st.sampled_from(["deposit", "withdraw", "refund", "spend", "pay", "return", "limit"]),
        st.integers(1, 600),
    ),
    min_size=1,
    max_size=8,
)


@SETTINGS
@given(PAYMENTS)
def test_shadow_lets_payments_pass_that_a_limit_would_refuse(steps: list[tuple[str, int]]) -> None:
    """Deposits, withdrawals and refunds: their holds carry the mark; outside facts pass anyway."""
    books = InBothModes(enforcement=Enforcement.SHADOW)
    books.open_house()
    deposit = books.fund(500)
    for step, amount in steps:
        with contextlib.suppress(*BESIDE_LIMITS):
            take(books, deposit, step, amount)


def test_what_is_marked_is_what_would_be_refused() -> None:
    """The comparison above can fail: a hold within its limits has no mark, one beyond them has."""
    books = Books(enforcement=Enforcement.SHADOW)
    books.account("ann", minimum=0)
    books.account("house", AccountKind.ASSET)
    books.post("house", "ann", 5)

    within, beyond = (decide_ledger(books.working_set, transfer("ann", "house", n), NOW) for n in (5, 6))

    assert (marked(within), marked(beyond)) == (False, True)
