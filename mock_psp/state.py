"""Owns the whole provider without its HTTP: its rules, its memory, and the log of calls."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from random import Random

from msgspec import Struct

from mock_psp.account import Account
from mock_psp.agenda import Agenda
from mock_psp.books import Books
from mock_psp.disputes import Disputes
from mock_psp.knobs import Knobs
from mock_psp.objects import view
from mock_psp.payments import Payments
from mock_psp.payouts import Payouts
from mock_psp.refunds import Refunds


class Call(Struct, kw_only=True):
    """One call of the API; `status` is 0 while it is under way or when its connection was dropped."""

    method: str
    path: str
    idempotency_key: str = ""
    status: int = 0
    replayed: bool = False
    received_at: str


class State:
    """All that the provider knows and does, in memory.

    Attributes:
        books: movements of money, events, and what was made for whom.
        calls: every call of the API, the oldest first.
    """

    def __init__(self, *, clock: Callable[[], datetime], random: Random, knobs: Knobs | None = None) -> None:
        self.knobs = knobs or Knobs()
        self.books = Books(clock=clock, knobs=self.knobs, random=random)
        self.payments = Payments(self.books)
        self.refunds = Refunds(self.books, self.payments)
        self.disputes = Disputes(self.books, self.payments)
        self.payouts = Payouts(self.books)
        self.account = Account(self.books)
        self.calls: list[Call] = []

    @property
    def executions(self) -> Counter[str]:
        """How many payments, payouts and refunds were made for each reference."""
        return self.books.executions

    @property
    def agenda(self) -> Agenda:
        """What will happen by itself."""
        return self.books.agenda

    def run_due(self) -> int:
        """Run everything that is due by the clock; return how many actions ran."""
        return self.agenda.run_due()

    def view(self) -> dict[str, object]:
        """Return everything, for people and tests that look from outside."""
        return {
            "knobs": self.knobs,
            "executions": self.executions,
            "balances": self.books.balances,
            "payments": [view(payment) for payment in self.payments.all.values()],
            "payouts": [view(payout) for payout in self.payouts.all.values()],
            "refunds": [view(refund) for refund in self.refunds.all.values()],
            "movement_count": len(self.books.movements),
            "events": self.books.events,
            "calls": self.calls,
        }
