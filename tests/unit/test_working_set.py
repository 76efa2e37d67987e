"""Own the proof that what a batch changes is its own, so that nobody forgets it before the commit."""

from __future__ import annotations

from datetime import UTC, datetime

from ledger_server.domain.accounts import Account, AccountKind, AccountState, Counters, Direction, Limits
from ledger_server.domain.commands import Enforcement
from ledger_server.domain.facts import AccountChanged, Fact, FactKind, HoldChanged, TransactionPosted
from ledger_server.domain.holds import Hold, HoldState, expire
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.transactions import Line, Phase, Transaction, TransactionType
from ledger_server.domain.working_set import AccountEntry, HoldEntry, PostedEntry, WorkingSet

NOW = datetime(2026, 11, 19, tzinfo=UTC)
COMMITTED = 3
AFTER = Counters(0, 0, 0, 0, 2)


def account(number: int, account_id: str) -> Account:
    """Return an open account."""
    return Account(
        number=number,
        account_id=account_id,
        kind=AccountKind.ASSET,
        currency="EUR",
        state=AccountState.OPEN,
        limits=Limits(min_available=None, max_balance=None),
        open_time=NOW,
        metadata={},
        continues="",
        continued_by="",
    )


ANN, HOUSE = account(2, "ann"), account(3, "house")
HOLD = Hold(
    number=4,
    debit_account_id="ann",
    credit_account_id="house",
    currency="EUR",
    amount=5,
    expire_time=NOW,
    type=TransactionType.BET,
    reference="",
    metadata={},
    place_time=NOW,
    limit_breached=False,
    captured=0,
    released=0,
    state=HoldState.OPEN,
    end_time=None,
)


def used_before() -> WorkingSet:
    """Return a working set whose entries a committed batch has used last; no command names them now."""
    working_set = WorkingSet(
        TenantIds(tenant_key(TenantId("unit"))),
        sequence=9,
        record_time=NOW,
        enforcement=Enforcement.ENFORCED,
        create_time=NOW,
    )
    for known in (ANN, HOUSE):
        working_set.accounts[known.account_id] = AccountEntry(known, Counters(0, 0, 0, 0, 1), stamp=COMMITTED)
    working_set.holds[HOLD.number] = HoldEntry(HOLD, stamp=COMMITTED)
    working_set.transactions[5] = PostedEntry((), stamp=COMMITTED)
    working_set.stamp = COMMITTED + 1
    return working_set


def lines(phase: Phase) -> tuple[Line, ...]:
    """Return a line on either account."""
    return (
        Line(ANN, phase, Direction.DEBIT, 0, -5, AFTER),
        Line(HOUSE, phase, Direction.CREDIT, 0, -5, AFTER),
    )


def kept(working_set: WorkingSet, fact: Fact) -> tuple[set[str], set[int], set[int]]:
    """Apply a fact, forget everything that may be forgotten, and return what is left."""
    working_set.apply(fact)
    working_set.forget(COMMITTED, keep=0)
    return set(working_set.accounts), set(working_set.holds), set(working_set.transactions)


def test_forget_after_expiry_keeps_the_hold_and_both_accounts() -> None:
    """A hold that expires changes accounts that nobody named."""
    fact = HoldChanged(FactKind.HOLD_EXPIRED, expire(HOLD), lines(Phase.EXPIRED))
    assert kept(used_before(), fact) == ({"ann", "house"}, {4}, set())


def test_forget_after_reversal_keeps_the_original() -> None:
    """That it was reversed must be known to the next who tries."""
    transaction = Transaction(
        type=TransactionType.REVERSAL,
        reference="",
        effective_time=NOW,
        metadata={},
        reverses=5,
        hold=None,
        limit_breached=False,
        outside=False,
    )
    fact = TransactionPosted(FactKind.TRANSACTION_POSTED, transaction, lines(Phase.POSTED))
    assert kept(used_before(), fact) == ({"ann", "house"}, set(), {5})


def test_forget_after_limits_keeps_that_account_alone() -> None:
    """What no uncommitted batch has used or changed goes."""
    fact = AccountChanged(FactKind.ACCOUNT_LIMITS_SET, ANN, note="")
    assert kept(used_before(), fact) == ({"ann"}, set(), set())


def test_undo_atomic_after_forgetting_leaves_what_is_committed() -> None:
    """A batch that is taken back leaves its entries as they were; that they stay a while does no harm."""
    working_set = used_before()
    working_set.begin_atomic()
    working_set.apply(HoldChanged(FactKind.HOLD_EXPIRED, expire(HOLD), lines(Phase.EXPIRED)))
    working_set.undo_atomic()
    working_set.forget(COMMITTED, keep=0)
    assert working_set.sequence == 9
    assert working_set.accounts["ann"].counters.version == 1
    assert working_set.holds[4].hold == HOLD
