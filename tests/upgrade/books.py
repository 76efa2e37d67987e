"""Own the sums of a tenant's books: as they were sent, and as the ledger has them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

import grpc
from defter.ledger.v1 import journal_pb2, posting_pb2

from tests.support.ledger import Ledger
from tests.support.load import COME_BACK
from tests.support.patience import HANG_SECONDS
from tests.support.requests import DEBIT


@dataclass
class Books:
    """What is posted, and what is held, in cents; debits and credits are equal."""

    posted: int = 0
    held: int = 0

    @classmethod
    async def of(cls, ledger: Ledger) -> Self:
        """Return what a ledger has.

        Raises:
            AssertionError: debits and credits differ.
        """
        [balance] = await _trial_balances(ledger)
        assert balance.currency_code == "EUR"
        assert balance.posted_debits_minor == balance.posted_credits_minor
        debits = sum(int(line.pending_debits_minor) for line in balance.lines)
        assert debits == sum(int(line.pending_credits_minor) for line in balance.lines)
        return cls(posted=int(balance.posted_debits_minor), held=debits)

    def __add__(self, other: Books) -> Books:
        """Return the sums of both."""
        return Books(posted=self.posted + other.posted, held=self.held + other.held)

    def post(self, transaction: posting_pb2.NewTransaction) -> None:
        """Count a transaction."""
        self.posted += sum(leg.amount_minor for leg in transaction.postings if leg.direction == DEBIT)

    def hold(self, amount: int) -> None:
        """Count a hold, or its end: then the amount is negative."""
        self.held += amount

    def capture(self, amount: int, *, moved: int) -> None:
        """Count a capture that frees an amount, of which some was moved."""
        self.held -= amount
        self.posted += moved


async def _trial_balances(ledger: Ledger) -> list[journal_pb2.TrialBalance]:
    """Return the trial balances; a server that reads a large cold database for them may ask to come back."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                return await ledger.trial_balances()
            except grpc.aio.AioRpcError as error:
                if error.code() not in COME_BACK:
                    raise
