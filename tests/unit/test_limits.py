"""Limits, freezing and overflow: what a posting may do to an account, as tables."""

import pytest
from msgspec.structs import replace

from ledger_server.domain.errors import (
    AccountClosed,
    AccountFrozen,
    AccountNotFound,
    AmountOverflow,
    BalanceLimitExceeded,
    CurrencyMismatch,
    InsufficientFunds,
    Rejected,
)
from ledger_server.domain.ledger.accounts import (
    MAX_AMOUNT,
    ZERO,
    Account,
    AccountKind,
    AccountState,
    Limits,
)
from ledger_server.domain.state.commands import Enforcement
from ledger_server.domain.state.facts import TransactionPosted
from ledger_server.domain.state.working_set import AccountEntry
from tests.unit.books import Books, transfer

ASSET, LIABILITY = AccountKind.ASSET, AccountKind.LIABILITY


@pytest.mark.parametrize(
    ("kind", "counters", "minimum", "debit", "credit", "refused"),
    [
        # A liability is lowered by debits: down to the limit, never below.
        (LIABILITY, (0, 100, 0, 0), 0, "a", "b", False),
        (LIABILITY, (0, 99, 0, 0), 0, "a", "b", True),
        (LIABILITY, (0, 99, 0, 0), -1, "a", "b", False),
        (LIABILITY, (0, 0, 0, 0), None, "a", "b", False),
        # Money on hold is not there to be spent; money that is only announced is not either.
        (LIABILITY, (0, 100, 1, 0), 0, "a", "b", True),
        (LIABILITY, (0, 0, 0, 500), 0, "a", "b", True),
        # An asset is lowered by credits.
        (ASSET, (100, 0, 0, 0), 0, "b", "a", False),
        (ASSET, (99, 0, 0, 0), 0, "b", "a", True),
        (ASSET, (100, 0, 0, 1), 0, "b", "a", True),
        # Whoever is below the limit already may still rise.
        (LIABILITY, (500, 100, 0, 0), 0, "b", "a", False),
        (ASSET, (100, 500, 0, 0), 0, "a", "b", False),
    ],
)
def test_lower_limit_refuses_what_would_fall_below_it(
    kind: AccountKind,
    counters: tuple[int, int, int, int],
    minimum: int | None,
    debit: str,
    credit: str,
    refused: bool,
) -> None:
    """The available balance after a transfer of 100 decides, and only on the side that falls."""
    books = Books()
    books.account("a", kind, minimum=minimum, counters=counters)
    books.account("b", ASSET)
    if refused:
        with pytest.raises(InsufficientFunds):
            books.post(debit, credit, 100)
        assert books.counters("a") == counters
    else:
        books.post(debit, credit, 100)


@pytest.mark.parametrize(
    ("counters", "maximum", "refused"),
    [
        ((0, 0, 0, 0), 100, False),
        ((0, 1, 0, 0), 100, True),
        ((0, 0, 0, 1), 100, True),  # what is announced takes up room
        ((0, 0, 1, 0), 100, False),  # what is about to leave does not make any
        ((0, 1, 0, 0), None, False),
    ],
)
def test_upper_limit_counts_posted_and_announced_money(
    counters: tuple[int, int, int, int], maximum: int | None, refused: bool
) -> None:
    """A credit of 100 may raise the account to its upper limit, holds included, and not above."""
    books = Books()
    books.account("bank", ASSET)
    books.account("a", maximum=maximum, counters=counters)
    if refused:
        with pytest.raises(BalanceLimitExceeded):
            books.post("bank", "a", 100)
    else:
        books.post("bank", "a", 100)


def test_limits_are_checked_after_the_whole_transaction() -> None:
    """Legs may dip below the limit on the way, as long as the end is within it."""
    books = Books()
    books.account("a", minimum=0)
    books.account("bank", ASSET)
    there, back = transfer("a", "bank", 50), transfer("bank", "a", 50)
    command = type(there)(there.type, (*there.postings, *back.postings), "", None, {})
    fact = books.decide(command)
    assert isinstance(fact, TransactionPosted)
    assert [line.after.version for line in fact.lines] == [1, 1, 2, 2]
    assert books.counters("a") == (50, 50, 0, 0)


@pytest.mark.parametrize(
    ("state", "kind", "debit", "credit", "error"),
    [
        (AccountState.FROZEN, LIABILITY, "a", "b", AccountFrozen),
        (AccountState.FROZEN, LIABILITY, "b", "a", None),  # wins and refunds still land
        (AccountState.FROZEN, ASSET, "b", "a", AccountFrozen),
        (AccountState.FROZEN, ASSET, "a", "b", None),
        (AccountState.CLOSED, LIABILITY, "a", "b", AccountClosed),
        (AccountState.CLOSED, LIABILITY, "b", "a", AccountClosed),
    ],
)
def test_frozen_and_closed_accounts_take_only_what_they_may(
    state: AccountState, kind: AccountKind, debit: str, credit: str, error: type[Rejected] | None
) -> None:
    """Frozen refuses what lowers the account, closed refuses everything."""
    books = Books()
    books.account("a", kind, state=state, counters=(1000, 1000, 0, 0))
    books.account("b", LIABILITY)
    if error is None:
        books.post(debit, credit, 1)
    else:
        with pytest.raises(error):
            books.post(debit, credit, 1)


@pytest.mark.parametrize(
    "counters",
    [(0, MAX_AMOUNT, 0, 0), (0, MAX_AMOUNT - 5, 0, 5), (0, 0, 0, MAX_AMOUNT)],
)
def test_counter_beyond_int64_is_refused_even_in_shadow(counters: tuple[int, int, int, int]) -> None:
    """No mode lets a counter wrap around."""
    books = Books(enforcement=Enforcement.SHADOW)
    books.account("a", counters=counters)
    books.account("b", ASSET)
    with pytest.raises(AmountOverflow):
        books.post("b", "a", 1)


def test_shadow_lets_an_overdraft_pass_and_marks_it() -> None:
    """In SHADOW a broken limit is recorded instead of refused."""
    books = Books(enforcement=Enforcement.SHADOW)
    books.account("a", minimum=0)
    books.account("b", ASSET)
    fact = books.post("a", "b", 100)
    assert isinstance(fact, TransactionPosted)
    assert fact.transaction.limit_breached
    assert books.counters("a") == (100, 0, 0, 0)


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        # Each row breaks two rules on two legs; the rule that comes first in the order is reported.
        ("other-currency", "absent", AccountNotFound),
        ("closed", "other-currency", CurrencyMismatch),
        ("frozen", "closed", AccountClosed),
        ("full", "frozen", AccountFrozen),
        ("poor", "full", AmountOverflow),
    ],
)
def test_precedence_is_by_rule_and_not_by_leg(first: str, second: str, error: type[Rejected]) -> None:
    """Whichever leg comes first, the reason with the lower number wins."""
    for debit, credit in ((first, second), (second, first)):
        books = Books()
        books.absent("absent")
        books.account("other-currency", currency="USD")
        books.account("closed", state=AccountState.CLOSED)
        raised_by_debit = debit == "frozen"
        books.account("frozen", LIABILITY if raised_by_debit else ASSET, state=AccountState.FROZEN)
        books.account("full", counters=(MAX_AMOUNT, MAX_AMOUNT, 0, 0))
        books.account("poor", LIABILITY if debit == "poor" else ASSET, minimum=0)
        with pytest.raises(error):
            books.post(debit, credit, 1)


def limited(name: str, value: int) -> Account:
    """Return a liability that has one limit and no other."""
    books = Books()
    books.account("a")
    account = books.working_set.accounts["a"].account
    assert account is not None
    none = Limits(**dict.fromkeys(Limits.__struct_fields__))
    return replace(account, limits=replace(none, **{name: value}))


# What each limit refuses, and what is as large as it allows: debit, credit and amounts.
BOUNDS = {
    "min_available": (-100, ("a", "bank"), 101, InsufficientFunds),
    "max_balance": (100, ("bank", "a"), 101, BalanceLimitExceeded),
}


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_each_limit_is_kept(name: str) -> None:
    """A limit that is stored and never asked for would be a promise that nobody keeps."""
    value, (debit, credit), too_much, reason = BOUNDS[name]
    books = Books()
    books.account("bank", ASSET)
    books.working_set.accounts["a"] = AccountEntry(limited(name, value), ZERO)

    with pytest.raises(reason):
        books.post(debit, credit, too_much)
    with pytest.raises(reason):
        books.hold(debit, credit, too_much)
    books.post(debit, credit, too_much - 1)
