"""Every order without exception, by walking through every state that orders can pass through.

Sequences are too many to run each of them (797,040 for six events), but they pass through few states. Two
sequences that have heard the same and stand at the same state can't be told apart by anything that comes
later, so each such pair is followed once. A state holds all that later decisions depend on: the knowledge,
the balances, what is held, who has which ref, what is parked, and the findings so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from msgspec.structs import replace

from ledger_server.domain.payments.events import EventState, ProviderEvent
from tests.simulation.payments.scripts import SCRIPTS, Script
from tests.simulation.payments.sequences import MOST_REPETITIONS, Heard, count_all
from tests.simulation.payments.test_permutations import Listener, in_order
from tests.support.payments import NOW, Snapshot

RecordProperty = Callable[[str, object], None]
Place = frozenset[Heard]
State = tuple[object, ...]
_NOWHERE: Final[Place] = frozenset()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_hear_in_every_order_ends_alike(script: Script, record_property: RecordProperty) -> None:
    """Whatever state was passed through, the end is that of the order in which it happened."""
    expected = in_order(script)
    listener = Listener(script, begun=True)
    level: dict[Place, dict[State, Snapshot]] = {_NOWHERE: {state_of(listener): listener.books.snapshot()}}
    state_count = end_count = 0
    while level:
        beyond: dict[Place, dict[State, Snapshot]] = {}
        for place, ways in level.items():
            for snapshot in ways.values():
                state_count += 1
                for heard in next_heard(script, place):
                    come_back(listener, snapshot, place)
                    listener.hear(heard)
                    beyond.setdefault(place | {heard}, {})[state_of(listener)] = listener.books.snapshot()
                if {heard.step for heard in place} == set(range(len(script.steps))):
                    come_back(listener, snapshot, place)
                    listener.replay_parked()
                    assert listener.ended() == expected, sorted(place)
                    assert listener.states() == {EventState.APPLIED}
                    end_count += 1
        level = beyond
    assert end_count > 0
    count = count_all(len(script.steps))
    record_property(
        "sequences", (f"{script.name}; every order, through {state_count:,} states", count, count)
    )


def state_of(listener: Listener) -> State:
    """Return everything that later decisions depend on."""
    books = listener.books
    known = books.working_set
    payment = known.payments[listener.payment].payment
    assert payment is not None
    parked = {
        entry.stored.event.event_id
        for entry in known.events.values()
        if entry.stored and entry.stored.state is EventState.PARKED
    }
    return (
        repr(replace(payment, update_time=NOW, balance_after=0)),
        books.balances(),
        frozenset((number, entry.hold.remaining) for number, entry in known.holds.items() if entry.hold),
        frozenset((place, ref.number) for place, ref in known.refs.items() if ref.number is not None),
        frozenset(parked),
        frozenset(books.findings),
    )


def next_heard(script: Script, place: Place) -> list[Heard]:
    """Return what may be heard next: a step for the first time, or again while repetitions are left.

    Hearing an identity again is not a step: the journal answers it by its key, and nothing changes.
    """
    steps = [heard.step for heard in place]
    repetitions = len(steps) - len(set(steps))
    return [
        Heard(step, steps.count(step))
        for step in range(len(script.steps))
        if step not in steps or repetitions < MOST_REPETITIONS
    ]


def come_back(listener: Listener, snapshot: Snapshot, place: Place) -> None:
    """Take the listener back to an earlier state."""
    listener.books.restore(snapshot)
    delivered = set()
    for heard in place:
        happening = listener.script.steps[heard.step].happening
        if isinstance(happening, ProviderEvent):
            delivered.add(f"{happening.event_id}-{heard.identity}")
    listener.delivered = frozenset(delivered)
