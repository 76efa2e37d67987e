"""Own that there is one door to decide: refusals are facts, what is told is kept, nothing is changed."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from ledger_server.domain.decisions.decide import NOTHING, decide
from ledger_server.domain.ledger.accounts import ZERO
from ledger_server.domain.payments.commands import IngestEvent
from ledger_server.domain.payments.events import EventState, EventType
from ledger_server.domain.state.commands import Command, ExpireHolds
from ledger_server.domain.state.facts import EventRecorded, FindingChanged, RequestRejected
from tests.support.any_fact import COMMANDS
from tests.support.payments import REF, PaymentBooks, an_event
from tests.support.stored import any_of
from tests.unit.test_additions import SETTINGS, snapshot


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
@SETTINGS
@given(st.data())
def test_decide_any_command_answers_with_a_fact_and_changes_nothing(
    kind: type[Struct], data: st.DataObject
) -> None:
    """Whatever is asked of an empty tenant, by whatever command, goes through the one door."""
    command: Command = data.draw(any_of(kind))
    books = PaymentBooks()
    for name in ("accounts", "holds", "transactions", "findings", "adjustments"):
        setattr(books.working_set, name, _Absent())
    before = said(books)

    decision = decide(books.working_set, command, books.now)

    assert said(books) == before
    assert books.working_set.sequence == PaymentBooks().working_set.sequence
    assert (decision is NOTHING) == (decision.answer is None) == (not decision.facts)
    assert decision.fault is None
    if decision.answer is not None:
        refused = isinstance(decision.facts[decision.answer], RequestRejected)
        assert not refused or len(decision.facts) == 1, "a refusal has no consequences"


def said(books: PaymentBooks) -> object:
    """Return what a working set says; an entry of what is not there says nothing."""
    known, *of_tenant = cast("tuple[Any, ...]", snapshot(books.working_set))
    return [entry for entry in known if entry[-1] not in (None, 0, ZERO)], of_tenant


class _Absent(dict[Any, Any]):
    """A table of a working set in which everything was looked for and nothing is there."""

    def __missing__(self, key: object) -> Any:
        return _Nothing()


class _Nothing:
    """An entry of what is not there."""

    account = hold = legs = finding = adjustment = None
    stamp = size = 0


@pytest.mark.parametrize("table", ["payments", "refs"])
def test_event_is_kept_whatever_fails(table: str) -> None:
    """An event that a faulty rule can't book is parked; a request of a caller fails alone."""
    books = PaymentBooks()
    number = books.initiate()
    # What a rule names and nobody has loaded: the fault of ours that is likeliest.
    setattr(books.working_set, table, {})

    decision = decide(
        books.working_set,
        IngestEvent(event=an_event(EventType.PAYMENT_CAPTURED, payment=number, ref=REF)),
        books.now,
    )

    assert isinstance(decision.fault, KeyError)
    assert decision.answer == 0
    [fact] = decision.facts
    assert isinstance(fact, EventRecorded)
    assert fact.stored.state is EventState.PARKED


def test_findings_of_a_payment_stand_behind_its_answer() -> None:
    """A capture of more than was asked for opens a finding, which does not answer."""
    books = PaymentBooks()
    number = books.initiate(amount=1000)
    event = an_event(EventType.PAYMENT_CAPTURED, payment=number, ref=REF, amount=1200)

    decision = decide(books.working_set, IngestEvent(event=event), books.now)

    kinds = [type(fact) for fact in decision.facts]
    assert FindingChanged in kinds
    assert decision.answer is not None
    assert kinds.index(FindingChanged) == decision.answer + 1


def test_expire_holds_is_no_news() -> None:
    """The lane expires what is due before it decides; the command only names accounts."""
    assert decide(PaymentBooks().working_set, ExpireHolds(numbers=()), PaymentBooks().now) is NOTHING


def test_event_is_kept_where_only_its_consequences_fail() -> None:
    """A capture that opens a finding is parked if that finding can't be decided, and captures nothing."""
    books = PaymentBooks()
    number = books.initiate(amount=1000)
    books.working_set.findings = _Broken()
    event = an_event(EventType.PAYMENT_CAPTURED, payment=number, ref=REF, amount=1200)

    decision = decide(books.working_set, IngestEvent(event=event), books.now)

    assert isinstance(decision.fault, LookupError)
    [fact] = decision.facts
    assert isinstance(fact, EventRecorded)
    assert (fact.stored.state, fact.stored.payment) == (EventState.PARKED, None)


class _Broken(dict[Any, Any]):
    """Findings of which none can be looked up, once an event is booked."""

    looked = 0

    def get(self, key: object, default: Any = None) -> Any:
        self.looked += 1
        if self.looked == 2:  # the first look is for a finding that the event puts right
            raise LookupError(key)
        return default
