"""Own what the tests of the provider's rules share: a provider without HTTP, and what it has told."""

from random import Random

from mock_psp.knobs import Knobs
from mock_psp.objects import Payment, Payout
from mock_psp.state import State
from tests.support.clock import FakeClock


def state(clock: FakeClock | None = None, **knobs: object) -> State:
    """Return a provider whose ids are always the same."""
    turned = Knobs(auto_complete=False)
    turned.patch(knobs)
    return State(clock=clock or FakeClock(), random=Random(1), knobs=turned)


def payment(psp: State, amount_minor: int = 1_000) -> Payment:
    """Ask for a payment of `dep_1`."""
    return psp.payments.create(reference="dep_1", amount_minor=amount_minor, currency="EUR")


def payout(psp: State, amount_minor: int = 1_000, destination: str = "iban") -> Payout:
    """Ask for a payout of `wd_1`."""
    return psp.payouts.create(
        reference="wd_1", amount_minor=amount_minor, currency="EUR", destination=destination
    )


def told(psp: State) -> list[tuple[str, int]]:
    """Return the type and amount of every event."""
    return [(event.type, event.data.amount_minor) for event in psp.books.events]


def moved(psp: State) -> list[tuple[str, int]]:
    """Return the type and amount of every movement."""
    return [(movement.type, movement.amount_minor) for movement in psp.books.movements]
