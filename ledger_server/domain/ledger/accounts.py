"""Owns accounts: kind, state, limits, counters and the balances that follow from them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from ledger_server.domain.code import Code
from ledger_server.domain.errors import (
    AmountOverflow,
    BalanceLimitExceeded,
    InsufficientFunds,
)

MAX_AMOUNT: Final = 2**63 - 1


class AccountKind(Code):
    """What an account is in accounting terms; it fixes the normal side."""

    ASSET = 1
    LIABILITY = 2
    EQUITY = 3
    REVENUE = 4
    EXPENSE = 5


class AccountState(Code):
    """Whether an account may be used."""

    OPEN = 1
    FROZEN = 2
    CLOSED = 3


class Direction(Code):
    """The side of a posting."""

    DEBIT = 1
    CREDIT = 2


_DEBIT: Final = Direction.DEBIT

# The legal transitions of an account's state; every other one is refused.
STATE_TRANSITIONS: Final[frozenset[tuple[AccountState, AccountState]]] = frozenset(
    {
        (AccountState.OPEN, AccountState.FROZEN),
        (AccountState.FROZEN, AccountState.OPEN),
        (AccountState.OPEN, AccountState.CLOSED),
        (AccountState.FROZEN, AccountState.CLOSED),
    }
)

DEBIT_NORMAL: Final = frozenset({AccountKind.ASSET, AccountKind.EXPENSE})
"""The kinds that debits raise."""


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds that the engine enforces, in minor units; None is no bound."""

    min_available: int | None
    max_balance: int | None


_DEFAULT_LIMITS: Final[Mapping[AccountKind, Limits]] = {
    AccountKind.ASSET: Limits(min_available=None, max_balance=None),
    # Money that is owed to players may not go below zero unless a caller sets another limit.
    AccountKind.LIABILITY: Limits(min_available=0, max_balance=None),
    AccountKind.EQUITY: Limits(min_available=None, max_balance=None),
    AccountKind.REVENUE: Limits(min_available=None, max_balance=None),
    AccountKind.EXPENSE: Limits(min_available=None, max_balance=None),
}


def default_limits(kind: AccountKind) -> Limits:
    """Return the limits of an account that is opened without any."""
    return _DEFAULT_LIMITS[kind]


class WantedLimits(Struct, frozen=True, kw_only=True):
    """Limits as a caller asks for them, in minor units: each a number, unlimited, or the kind's default.

    A number and `…_unlimited` exclude each other.
    """

    min_available: int | None
    max_balance: int | None
    min_unlimited: bool
    max_unlimited: bool

    def on(self, kind: AccountKind) -> Limits:
        """Return the limits that an account of that kind gets: an absent limit is the kind's default."""
        default = default_limits(kind)
        return Limits(
            min_available=_wanted(self.min_available, self.min_unlimited, default.min_available),
            max_balance=_wanted(self.max_balance, self.max_unlimited, default.max_balance),
        )


def _wanted(number: int | None, unlimited: bool, default: int | None) -> int | None:
    if unlimited:
        return None
    return default if number is None else number


class Account(Struct, frozen=True, kw_only=True):
    """A bucket of one currency. Its number is the sequence of the record that opened it.

    Attributes:
        continues, continued_by: the accounts before and after it, if it was continued; see `continuation.py`.
    """

    number: int
    account_id: str
    kind: AccountKind
    currency: str
    state: AccountState
    limits: Limits
    open_time: datetime
    metadata: Mapping[str, str]
    continues: str
    continued_by: str

    @property
    def raised_by(self) -> Direction:
        """The direction that raises the balance: the account's normal side."""
        return Direction.DEBIT if self.kind in DEBIT_NORMAL else Direction.CREDIT


class Counters(Struct, frozen=True, gc=False):
    """Four sums in minor units, none ever negative, and how many statement lines made them."""

    posted_debits: int
    posted_credits: int
    pending_debits: int
    pending_credits: int
    version: int

    def changed(self, direction: Direction, posted: int, pending: int) -> "Counters":
        """Return the counters after one more line.

        Args:
            posted: change of posted money on that side, minor units, ≥ 0.
            pending: change of pending money on that side, minor units, may be negative.
        """
        if direction == _DEBIT:
            return Counters(
                self.posted_debits + posted,
                self.posted_credits,
                self.pending_debits + pending,
                self.pending_credits,
                self.version + 1,
            )
        return Counters(
            self.posted_debits,
            self.posted_credits + posted,
            self.pending_debits,
            self.pending_credits + pending,
            self.version + 1,
        )

    @property
    def empty(self) -> bool:
        """Whether there is neither posted nor pending money."""
        return (
            self.posted_debits == self.posted_credits and not self.pending_debits and not self.pending_credits
        )


ZERO: Final = Counters(posted_debits=0, posted_credits=0, pending_debits=0, pending_credits=0, version=0)


def posted_balance(kind: AccountKind, counters: Counters) -> int:
    """Return the posted money on the account's normal side, minor units; negative when overdrawn."""
    if kind in DEBIT_NORMAL:
        return counters.posted_debits - counters.posted_credits
    return counters.posted_credits - counters.posted_debits


def available_balance(kind: AccountKind, counters: Counters) -> int:
    """Return what may be spent, minor units: pending money out counts, pending money in does not."""
    if kind in DEBIT_NORMAL:
        return counters.posted_debits - counters.posted_credits - counters.pending_credits
    return counters.posted_credits - counters.posted_debits - counters.pending_debits


def committed_balance(kind: AccountKind, counters: Counters) -> int:
    """Return what the account will hold once all pending money in has come, minor units."""
    if kind in DEBIT_NORMAL:
        return counters.posted_debits - counters.posted_credits + counters.pending_debits
    return counters.posted_credits - counters.posted_debits + counters.pending_credits


def check_overflow(account: Account, after: Counters) -> None:
    """Refuse counters that an int64 can't hold.

    Raises:
        AmountOverflow: posted plus pending money of one side exceeds 2^63-1.
    """
    if (
        after.posted_debits + after.pending_debits > MAX_AMOUNT
        or after.posted_credits + after.pending_credits > MAX_AMOUNT
    ):
        raise AmountOverflow(account_id=account.account_id)


def check_funds(account: Account, before: Counters, after: Counters) -> None:
    """Hold an account to its lower limit, if the change lowers what is available.

    A balance that is below its limit already may still rise: deposits repay an overdraft step by step.

    Raises:
        InsufficientFunds: retrying helps only after money has come in, and only with a new key.
    """
    limit = account.limits.min_available
    if limit is None:
        return
    available = available_balance(account.kind, after)
    if available >= limit:
        return
    had = available_balance(account.kind, before)
    if available < had:
        raise InsufficientFunds(
            account_id=account.account_id,
            available_balance_minor=had,
            min_available_minor=limit,
            change_minor=available - had,
        )


def stands_below(account: Account, counters: Counters) -> bool:
    """Whether an account has less available than its lower limit allows; closed accounts are done with."""
    limit = account.limits.min_available
    if limit is None or account.state is AccountState.CLOSED:
        return False
    return available_balance(account.kind, counters) < limit


def check_maximum(account: Account, before: Counters, after: Counters) -> None:
    """Hold an account to its upper limit, if the change raises what it will hold.

    Raises:
        BalanceLimitExceeded: posted balance plus pending money in would exceed the limit.
    """
    limit = account.limits.max_balance
    if limit is None:
        return
    committed = committed_balance(account.kind, after)
    had = committed_balance(account.kind, before)
    if committed > limit and committed > had:
        raise BalanceLimitExceeded(
            account_id=account.account_id,
            max_balance_minor=limit,
            change_minor=committed - had,
        )
