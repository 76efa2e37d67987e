"""What limits an account gets: each a number, unlimited, or the kind's default; and accounts on one side."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_server.domain.decisions.ledger import decide_ledger
from ledger_server.domain.errors import LimitsContradictDefault, SameAccount
from ledger_server.domain.ledger.accounts import AccountKind, AccountState, Direction, Limits, WantedLimits
from ledger_server.domain.ledger.transactions import NewPosting, check_sides
from ledger_server.domain.state.commands import SetAccountLimits
from ledger_server.domain.state.facts import AccountChanged
from tests.unit.books import NOW, Books

numbers = st.integers(-1_000, 1_000)
wishes = st.none() | st.just("unlimited") | numbers


def wanted(low: int | str | None, high: int | str | None) -> WantedLimits:
    """Return limits as they are asked for."""
    return WantedLimits(
        min_available=low if isinstance(low, int) else None,
        max_balance=high if isinstance(high, int) else None,
        min_unlimited=low == "unlimited",
        max_unlimited=high == "unlimited",
    )


@settings(deadline=None)
@given(
    kind=st.sampled_from(AccountKind),
    before=st.tuples(st.none() | numbers, st.none() | numbers),
    low=wishes,
    high=wishes,
)
def test_set_limits_never_takes_absent_for_unlimited(
    kind: AccountKind, before: tuple[int | None, int | None], low: int | str | None, high: int | str | None
) -> None:
    """Whatever an account had: what is absent is the kind's default, what is unlimited says so."""
    books = Books()
    books.account("a", kind, minimum=before[0], maximum=before[1])
    floor = low if isinstance(low, int) else 0 if low is None and kind is AccountKind.LIABILITY else None
    cap = high if isinstance(high, int) else None
    command = SetAccountLimits(account_id="a", limits=wanted(low, high))

    if floor is not None and cap is not None and floor > cap:
        with pytest.raises(LimitsContradictDefault):
            decide_ledger(books.working_set, command, NOW)
        return
    fact = decide_ledger(books.working_set, command, NOW)

    assert isinstance(fact, AccountChanged)
    assert fact.account.limits == Limits(min_available=floor, max_balance=cap)
    assert fact.account.state is AccountState.OPEN


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Direction)), min_size=2, max_size=6))
def test_check_sides_refuses_exactly_accounts_on_both(legs: list[tuple[str, Direction]]) -> None:
    """In whatever order and number the postings come."""
    postings = [NewPosting(name, direction, 1, "EUR") for name, direction in legs]
    both = {name for name, direction in legs if direction is Direction.DEBIT} & {
        name for name, direction in legs if direction is Direction.CREDIT
    }
    if both:
        with pytest.raises(SameAccount) as refused:
            check_sides(postings)
        assert refused.value.metadata["account_id"] in both
    else:
        check_sides(postings)
