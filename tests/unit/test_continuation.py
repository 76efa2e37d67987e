"""Own that what a continued account has always fits, and that successors' ids never meet others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.decisions.continuation import MAX_SUCCESSOR, carry, newest, successor_id
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import (
    MAX_AMOUNT,
    Account,
    AccountKind,
    AccountState,
    Counters,
    Direction,
    Limits,
    available_balance,
    posted_balance,
)
from ledger_server.domain.ledger.transactions import Line, Phase
from ledger_server.domain.ledger.turnover import SHARES, share_passed
from ledger_server.domain.state.commands import Enforcement
from ledger_server.domain.state.working_set import AccountEntry, WorkingSet

NOW = datetime(2030, 1, 1, tzinfo=UTC)
IDS = TenantIds(tenant_key(TenantId("casino")))
amounts = st.integers(0, MAX_AMOUNT) | st.integers(0, 100) | st.integers(MAX_AMOUNT - 100, MAX_AMOUNT)


@st.composite
def counters(draw: st.DrawFn) -> Counters:
    """Counters that an account can have: each side fits, its pending money included."""
    sides = []
    for _ in range(2):
        counted = draw(amounts)
        pending = min(draw(amounts), counted)
        sides.append((counted - pending, pending))
    (debits, pending_debits), (credits_, pending_credits) = sides
    return Counters(debits, credits_, pending_debits, pending_credits, 7)


def overflows(of: Counters) -> bool:
    """Whether one side, pending money included, exceeds what an int64 can count."""
    debits, credits_ = of.posted_debits + of.pending_debits, of.posted_credits + of.pending_credits
    return max(debits, credits_) > MAX_AMOUNT


def account(name: str, kind: AccountKind, *, continues: str = "", continued_by: str = "") -> Account:
    """Return an account in a line of them."""
    return Account(
        number=len(name),
        account_id=name,
        kind=kind,
        currency="EUR",
        state=AccountState.CLOSED if continued_by else AccountState.OPEN,
        limits=Limits(min_available=None, max_balance=None),
        open_time=NOW,
        metadata={},
        continues=continues,
        continued_by=continued_by,
    )


def line(kind: AccountKind, old: Counters, new: Counters) -> WorkingSet:
    """Return a working set with an account that was continued twice; the one between is empty."""
    found = WorkingSet(IDS, sequence=9, record_time=NOW, enforcement=Enforcement.ENFORCED, create_time=NOW)
    found.accounts = {
        "a": AccountEntry(account("a", kind, continued_by="a@2"), old),
        "a@2": AccountEntry(account("a@2", kind, continues="a", continued_by="a@3")),
        "a@3": AccountEntry(account("a@3", kind, continues="a@2"), new),
    }
    return found


@given(kind=st.sampled_from(AccountKind), old=counters(), new=counters())
def test_carry_fits_and_makes_nothing(kind: AccountKind, old: Counters, new: Counters) -> None:
    """Whatever both have counted, no side overflows, and together they have what they had."""
    working_set = line(kind, old, new)
    moved = carry(working_set, "a", NOW)
    if moved is None:
        return

    working_set.apply(moved)

    after, successor = working_set.accounts["a"].counters, working_set.accounts["a@3"].counters
    assert not overflows(after)
    assert not overflows(successor)
    assert sum(posted_balance(kind, each) for each in (after, successor)) == sum(
        posted_balance(kind, each) for each in (old, new)
    )
    assert abs(available_balance(kind, after)) < abs(available_balance(kind, old))


@given(kind=st.sampled_from(AccountKind), old=counters())
def test_carry_to_fresh_successor_leaves_nothing_available(kind: AccountKind, old: Counters) -> None:
    """What is there to be spent always fits, even out of an account whose counters are full."""
    working_set = line(
        kind, old, Counters(posted_debits=0, posted_credits=0, pending_debits=0, pending_credits=0, version=0)
    )
    had = available_balance(kind, old)
    moved = carry(working_set, "a", NOW)
    if had > 0:
        assert moved is not None
        working_set.apply(moved)
        assert available_balance(kind, working_set.accounts["a"].counters) == 0
        assert available_balance(kind, working_set.accounts["a@3"].counters) == had
        assert carry(working_set, "a", NOW) is None


def test_newest_of_account_that_was_not_continued_is_itself() -> None:
    """Most accounts never are."""
    working_set = line(
        AccountKind.ASSET,
        Counters(posted_debits=0, posted_credits=0, pending_debits=0, pending_credits=0, version=0),
        Counters(posted_debits=0, posted_credits=0, pending_debits=0, pending_credits=0, version=0),
    )

    assert [newest(working_set, name) for name in ("a", "a@2", "a@3", "nobody")] == [*["a@3"] * 3, "nobody"]


@pytest.mark.parametrize(
    ("account_id", "number", "expected"),
    [
        ("house", None, "house@2"),
        ("house@2", None, "house@3"),
        ("house@2", 7, "house@7"),
        ("house@0", None, "house@0@2"),
        ("house@x", None, "house@x@2"),
        ("a@b@9", None, "a@b@10"),
        ("player:ann@2:real:EUR", None, "player:ann@2:real:EUR@2"),
        ("x" * 255, None, "x" * 253 + "@2"),
        ("x" * 253 + "@9", None, "x" * 252 + "@10"),
    ],
)
def test_successor_id_counts_on(account_id: str, number: int | None, expected: str) -> None:
    """The id says of which account it is, and fits."""
    assert successor_id(account_id, number) == expected


@given(name=st.from_regex(r"[A-Za-z0-9_.:@-]{1,255}", fullmatch=True), number=st.integers(2, MAX_SUCCESSOR))
def test_successor_id_is_an_id(name: str, number: int) -> None:
    """Whatever the account is called, its successor has an id of its own."""
    found = successor_id(name, number)

    assert len(found) <= 255
    assert found.endswith(f"@{number}")


@given(before=counters(), direction=st.sampled_from(Direction), amount=amounts, share=st.sampled_from(SHARES))
def test_each_share_is_told_when_it_is_passed(
    before: Counters, direction: Direction, amount: int, share: int
) -> None:
    """One that was passed before is not told again, and none is left out in silence."""
    after = before.changed(direction, amount, 0)
    if overflows(after):
        return
    whose = account("a", AccountKind.ASSET)
    bound = MAX_AMOUNT * share // 100

    def counted(of: Counters) -> int:
        debit = direction is Direction.DEBIT
        return of.posted_debits + of.pending_debits if debit else of.posted_credits + of.pending_credits

    told = share_passed(Line(whose, Phase.POSTED, direction, amount, 0, after))

    passed = counted(before) <= bound < counted(after)
    assert not passed or (told is not None and told >= share)
    assert told != share or passed
