"""Owns transactions, and their checks that need no state."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from ledger_server.domain.code import Code
from ledger_server.domain.errors import SameAccount, UnbalancedTransaction
from ledger_server.domain.ledger.accounts import Account, Counters, Direction


class TransactionType(Code):
    """What a transaction is for."""

    DEPOSIT = 1
    WITHDRAWAL = 2
    ADJUSTMENT = 3
    REVERSAL = 4
    FEE = 5
    TRANSFER = 6
    BET = 7
    WIN = 8
    BONUS = 9
    OPENING_BALANCE = 10
    REFUND = 11
    DISPUTE = 12
    CONTINUATION = 13


class Phase(Code):
    """What a statement line did to its account."""

    POSTED = 1
    HELD = 2
    CAPTURED = 3
    RELEASED = 4
    EXPIRED = 5


class NewPosting(Struct, frozen=True, gc=False):
    """One leg as asked for; the amount in minor units, at least 1."""

    account_id: str
    direction: Direction
    amount: int
    currency: str


class Line(Struct, frozen=True, gc=False):
    """One line of an account's statement, with the counters after it.

    `amount` is posted money (0 for a line that only changes pending money); `pending_change` is
    the change of pending money on the same side. Both in minor units.
    """

    account: Account
    phase: Phase
    direction: Direction
    amount: int
    pending_change: int
    after: Counters


class Transaction(Struct, frozen=True, kw_only=True):
    """A balanced set of posted lines; the fact that carries the transaction has the lines.

    `reverses`, `hold` and `adjustment` are numbers of what it belongs to, if anything: the transaction that
    it takes back, the hold that it captures, the adjustment that it was asked for by.
    """

    type: TransactionType
    reference: str
    effective_time: datetime
    metadata: Mapping[str, str]
    reverses: int | None
    hold: int | None
    limit_breached: bool
    outside: bool
    adjustment: int | None


def check_balanced(postings: Sequence[NewPosting]) -> None:
    """Refuse postings whose debits and credits differ in any currency.

    Raises:
        UnbalancedTransaction: names the first such currency in alphabetical order.
    """
    if len(postings) == 2:  # the usual case, without building sums
        one, two = postings
        if one.amount == two.amount and one.currency == two.currency and one.direction != two.direction:
            return
    debits: dict[str, int] = {}
    credits_: dict[str, int] = {}
    for posting in postings:
        side = debits if posting.direction == Direction.DEBIT else credits_
        side[posting.currency] = side.get(posting.currency, 0) + posting.amount
    for currency in sorted(debits.keys() | credits_.keys()):
        if debits.get(currency, 0) != credits_.get(currency, 0):
            raise UnbalancedTransaction(
                currency_code=currency,
                debits_minor=debits.get(currency, 0),
                credits_minor=credits_.get(currency, 0),
            )


def check_sides(postings: Sequence[NewPosting]) -> None:
    """Refuse postings that have an account on both sides.

    Limits look at an account's net change. An account posted against itself would pass any limit with any
    amount, and use up its counters. Several postings on one side are one sum.

    Raises:
        SameAccount: names the first such account in the order of the postings.
    """
    if len(postings) == 2:  # the usual case, without building sets
        one, two = postings
        if one.account_id != two.account_id:
            return
    sides: dict[str, Direction] = {}
    for posting in postings:
        if sides.setdefault(posting.account_id, posting.direction) != posting.direction:
            raise SameAccount(account_id=posting.account_id)
