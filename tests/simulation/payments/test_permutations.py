"""Any order and any repetition of what is heard of a payment ends in one and the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventState
from ledger_server.domain.payments.withdrawal import Withdrawal
from tests.simulation.payments.model import PaymentModel
from tests.simulation.payments.scripts import (
    AMOUNT,
    ECHOING,
    OUR_REFUND,
    SCRIPTS,
    Script,
    answer,
    begin,
    fund,
)
from tests.simulation.payments.sequences import Heard, Order, Sequences, sequences
from tests.support.payments import NOW, Balances, PaymentBooks, Snapshot

# `test_every_order.py` follows every order; here a sample runs event by event.
MOST = 1_200
MOST_WITH_BEGIN = 600
DEPOSITS = [script for script in SCRIPTS if script.kind == "deposit"]
# If the beginning of a deposit is one of the steps, the result must not depend on its number.
DEPOSIT_NUMBER = 1_000

RecordProperty = Callable[[str, object], None]


class Ended(NamedTuple):
    """Everything that must be the same at the end of every order."""

    payment: Deposit | Withdrawal
    balances: Balances
    findings: frozenset[str]


class Listener:
    """Hears the steps of a script in some order, and can go back to any earlier moment."""

    def __init__(self, script: Script, *, begun: bool, replays_at_once: bool = False) -> None:
        self.script = script
        self.books = PaymentBooks()
        if begun:
            self.payment = begin(self.books, script)
        else:
            fund(self.books)
            self.payment = DEPOSIT_NUMBER
        self.subject = self.books.owed[-1].subject if self.books.owed else 0
        self.replays_at_once = replays_at_once
        self.delivered: frozenset[str] = frozenset()
        self._moments: list[tuple[Snapshot, frozenset[str]]] = []
        self._heard: Order = ()

    def run(self, found: Sequences) -> Iterator[Order]:
        """Hear sequences one after the other; the common beginning of two neighbours is heard once."""
        for sequence in found.run:
            shared = _shared(self._heard, sequence)
            if shared < len(self._moments):
                self._return_to(shared)
            for heard in sequence[shared:]:
                self._moments.append((self.books.snapshot(), self.delivered))
                self.hear(heard)
            self._heard = sequence
            self._moments.append((self.books.snapshot(), self.delivered))
            yield sequence
            self._return_to(len(sequence))

    def hear(self, heard: Heard) -> None:
        """Let one thing be heard."""
        if heard.step == len(self.script.steps):
            self.initiate()
            return
        happening = self.script.steps[heard.step].happening
        if isinstance(happening, str):
            self.books.do(answer(self.script, self.payment, self.subject))
            return
        event_id = f"{happening.event_id}-{heard.identity}"
        if event_id in self.delivered:
            # The journal answers a repeated delivery by its unique key; the rules never see it.
            return
        self.delivered |= {event_id}
        event = replace(happening, event_id=event_id)
        echoes = self.script.kind == "withdrawal" or (self.script.kind == "created" and event.type in ECHOING)
        if event.object_id == OUR_REFUND:
            event = replace(event, refund=self.subject)
        self.books.ingest(replace(event, payment=self.payment) if echoes else event)

    def initiate(self) -> None:
        """Begin the deposit, of which events may have been heard before."""
        self.books.working_set.sequence = DEPOSIT_NUMBER - 2  # one for its hold
        assert self.books.initiate(AMOUNT) == self.payment
        if self.replays_at_once:
            self.replay_parked()

    def replay_parked(self) -> None:
        """Apply parked events again, the oldest first."""
        events = self.books.working_set.events.values()
        parked = [each.stored.number for each in events if each.stored and each.stored.state is _PARKED]
        for number in parked:
            self.books.replay(number)

    def ended(self) -> Ended:
        """Return what stands now."""
        payment = self.books.working_set.payments[self.payment].payment
        assert payment is not None
        return Ended(
            replace(payment, update_time=NOW),
            self.books.balances(),
            frozenset(name for name, _ in self.books.findings),
        )

    def states(self) -> set[EventState]:
        """Return what became of the events."""
        events = self.books.working_set.events.values()
        return {each.stored.state for each in events if each.stored}

    def _return_to(self, length: int) -> None:
        snapshot, self.delivered = self._moments[length]
        self.books.restore(snapshot)
        del self._moments[length:]


_PARKED = EventState.PARKED


def _shared(one: Order, other: Order) -> int:
    count = 0
    for ours, theirs in zip(one, other, strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def in_order(script: Script) -> Ended:
    """Return the end of a script whose steps are heard once each, as they happened."""
    listener = Listener(script, begun=True)
    for step in range(len(script.steps)):
        listener.hear(Heard(step, 0))
    return listener.ended()


def assert_as_the_model(ended: Ended, model: PaymentModel) -> None:
    """Compare an end with what the design says."""
    assert ended.payment.state.name == model.state
    assert ended.balances == Balances(
        posted=model.wallet,
        available=model.wallet - model.held_out,
        incoming=model.incoming,
        clearing=model.clearing,
        fees=model.fees,
    )
    assert ended.findings == model.findings


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_hear_in_any_order_with_repetitions_ends_alike(
    script: Script, record_property: RecordProperty
) -> None:
    """Knowledge, state, balances and findings are those of the order in which it happened."""
    expected = in_order(script)
    assert_as_the_model(expected, script.expected())
    found = sequences(len(script.steps), most=MOST, name=script.name)
    listener = Listener(script, begun=True)
    run_count = 0
    for sequence in listener.run(found):
        if script.kind != "created":  # some of these are parked until an event tells the payment's ref
            assert listener.ended() == expected, sequence
        listener.replay_parked()
        assert listener.ended() == expected, sequence
        assert listener.states() == {EventState.APPLIED}, sequence
        run_count += 1
    assert run_count == len(found.run) > 0
    record_property("sequences", (script.name, found.full_count, run_count))


@pytest.mark.parametrize("replays_at_once", [True, False], ids=["replayed at once", "replayed at last"])
@pytest.mark.parametrize("script", DEPOSITS, ids=lambda script: script.name)
def test_hear_before_the_deposit_begins_ends_alike_once_replayed(
    script: Script, replays_at_once: bool, record_property: RecordProperty
) -> None:
    """Events that come before their deposit are parked; replaying them makes up for it."""
    begin_step = len(script.steps)
    expected = in_order(script)
    found = sequences(
        begin_step + 1, once=frozenset({begin_step}), most=MOST_WITH_BEGIN, name=f"{script.name}, begin"
    )
    listener = Listener(script, begun=False, replays_at_once=replays_at_once)
    run_count = 0
    for sequence in listener.run(found):
        listener.replay_parked()
        # A finding about two things is reported when the second one is applied, so another round changes
        # nothing.
        ended = listener.ended()
        assert ended.balances == expected.balances, sequence
        assert ended.findings == expected.findings, sequence
        assert knowledge(ended.payment) == knowledge(expected.payment), sequence
        listener.replay_parked()
        assert listener.states() == {EventState.APPLIED}, sequence
        run_count += 1
    assert run_count == len(found.run) > 0
    when = "at once" if replays_at_once else "at last"
    record_property("sequences", (f"{script.name}; begun anywhere, {when}", found.full_count, run_count))


def knowledge(payment: Deposit | Withdrawal) -> Deposit | Withdrawal:
    """Return what is known of a payment, without its numbers."""
    return replace(payment, number=0, hold=0)


def test_count_sequences_of_three_steps_agrees_with_the_formula() -> None:
    """What is called the full set is the full set."""
    found = sequences(3, most=1_000, name="")
    assert len(set(found.run)) == len(found.run) == found.full_count == 678
    once = sequences(3, once=frozenset({2}), most=1_000, name="")
    assert len(set(once.run)) == len(once.run) == once.full_count
    assert all(sequence.count(Heard(2, 0)) == 1 for sequence in once.run)
