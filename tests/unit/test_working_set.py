"""Own the proof that what a batch changes is its own, so that nobody forgets it before the commit."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.findings.finding import Finding, Source, seen
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import (
    Account,
    AccountKind,
    AccountState,
    Counters,
    Direction,
    Limits,
)
from ledger_server.domain.ledger.holds import Hold, HoldState, expire
from ledger_server.domain.ledger.transactions import Line, Phase, Transaction, TransactionType
from ledger_server.domain.payments.events import EventState, EventType, StoredEvent
from ledger_server.domain.state.commands import Enforcement
from ledger_server.domain.state.facts import AccountChanged, Fact, FactKind, HoldChanged, TransactionPosted
from ledger_server.domain.state.working_set import (
    AccountEntry,
    EventEntry,
    FindingEntry,
    HoldEntry,
    PostedEntry,
    PostedLeg,
    WorkingSet,
)
from tests.support.findings import a_discrepancy
from tests.support.payments import an_event

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
    working_set.forget(COMMITTED, keep=0, keep_bytes=0)
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
        adjustment=None,
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
    working_set.forget(COMMITTED, keep=0, keep_bytes=0)
    assert working_set.sequence == 9
    assert working_set.accounts["ann"].counters.version == 1
    assert working_set.holds[4].hold == HOLD


KINDS = ("account", "hold", "transaction", "event", "finding")


def a_stored_event(number: int, payload: bytes) -> StoredEvent:
    """Return a stored event with that payload."""
    return StoredEvent(
        number=number,
        event=replace(an_event(EventType.UNKNOWN), payload=payload),
        state=EventState.IGNORED,
        payment=None,
        withdrawal=False,
        note="",
        receive_time=NOW,
        payload_digest=b"",
        superseded_by=None,
    )


def a_finding(note: str) -> Finding:
    """Return a finding with that note."""
    found = seen(None, a_discrepancy(), NOW, source=Source.PAYMENT)
    assert found is not None
    return replace(found, note=note)


def put(working_set: WorkingSet, kind: str, number: int, text: str, stamp: int) -> None:
    """Put one entry there, as loading does; its size is that of the text, about."""
    metadata = {"text": text}
    match kind:
        case "account":
            name = f"account{number}"
            known = replace(ANN, number=number, account_id=name, metadata=metadata)
            working_set.accounts[name] = AccountEntry(known, stamp=stamp)
        case "hold":
            working_set.holds[number] = HoldEntry(replace(HOLD, number=number, metadata=metadata), stamp)
        case "transaction":
            legs = (PostedLeg("ann", Direction.DEBIT, 1, "EUR"),) * (len(text) // 350)
            working_set.transactions[number] = PostedEntry(legs, stamp=stamp)
        case "event":
            stored = a_stored_event(number, text.encode())
            working_set.events[number] = EventEntry(stored, stamp)
        case "finding":
            working_set.findings[number.to_bytes(8, "big")] = FindingEntry(a_finding(text), stamp)


def counted(working_set: WorkingSet) -> int:
    """Return the sum of what all entries say."""
    tables = (
        working_set.accounts,
        working_set.holds,
        working_set.transactions,
        working_set.payments,
        working_set.refs,
        working_set.events,
        working_set.findings,
    )
    return sum(entry.size for table in tables for entry in table.values())


@pytest.mark.parametrize("kind", KINDS)
def test_entry_is_as_large_as_what_makes_it_large(kind: str) -> None:
    """A megabyte of texts counts as a megabyte, whatever kind of entry has it."""
    working_set = used_before()
    put(working_set, kind, 77, "x" * 1_000_000, working_set.stamp)

    working_set.forget(COMMITTED, keep=10, keep_bytes=1 << 40)

    assert 900_000 <= working_set.size <= 1_200_000


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(0, 30), st.integers(0, 4_000), st.integers(1, 5)),
        max_size=40,
    ),
    st.integers(0, 100_000),
)
def test_forget_leaves_no_more_bytes_than_are_kept(
    entries: list[tuple[str, int, int, int]], keep_bytes: int
) -> None:
    """Of what is committed; what is not stays, and what is counted is what is there."""
    working_set = used_before()
    uncommitted = {(kind, number) for kind, number, _, stamp in entries if stamp > COMMITTED}
    for kind, number, length, stamp in entries:
        if stamp > COMMITTED or (kind, number) not in uncommitted:
            put(working_set, kind, number, "x" * length, stamp)
        if length % 3 == 0:
            working_set.forget(0, keep=1_000, keep_bytes=1 << 40)

    working_set.forget(COMMITTED, keep=1_000, keep_bytes=keep_bytes)

    tables = (working_set.accounts, working_set.holds, working_set.transactions)
    old = [entry for table in tables for entry in table.values() if entry.stamp <= COMMITTED]
    assert sum(entry.size for entry in old) <= keep_bytes
    assert all(
        f"account{number}" in working_set.accounts for kind, number in uncommitted if kind == "account"
    )
    assert all(number in working_set.holds for kind, number in uncommitted if kind == "hold")
