"""Owns the continuation of accounts: going on under another id before a counter of the account is full.

Counters only grow. The account is closed and names its successor. Its open holds stay where they are, since
each of them has reserved room on it; only what is available moves on: at once, and again whenever a hold of
it has ended. Moving it always fits: see `carry`. Source: decision 22.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from ledger_server.domain.ledger.accounts import (
    MAX_AMOUNT,
    Account,
    Counters,
    Direction,
    available_balance,
)
from ledger_server.domain.ledger.transactions import Line, Phase, Transaction, TransactionType
from ledger_server.domain.state.facts import FactKind, TransactionPosted
from ledger_server.domain.state.working_set import AccountEntry, WorkingSet

MAX_SUCCESSOR: Final = 999_999
_MAX_ID: Final = 255
_NUMBERED: Final = re.compile(r"(.+)@([1-9][0-9]{0,5})")
_OPPOSITE: Final = {Direction.DEBIT: Direction.CREDIT, Direction.CREDIT: Direction.DEBIT}


def successor_id(account_id: str, number: int | None) -> str:
    """Return the id under which an account goes on.

    The names that payments derive end in a currency, never in `@` and a number. So a successor is reached
    through its predecessor alone, and is never another player's account.

    Args:
        number: what stands behind the `@`; None for the next one.
    """
    found = _NUMBERED.fullmatch(account_id)
    beginning, last = (found[1], int(found[2])) if found else (account_id, 1)
    suffix = f"@{last + 1 if number is None else number}"
    return beginning[: _MAX_ID - len(suffix)] + suffix


def newest(working_set: WorkingSet, account_id: str) -> str:
    """Return the account by which an account goes on now: itself, unless it was continued."""
    while True:
        entry = working_set.account(account_id)
        if entry is None or entry.account is None or not entry.account.continued_by:
            return account_id
        account_id = entry.account.continued_by


def predecessors(working_set: WorkingSet, account: Account) -> Iterator[AccountEntry]:
    """Yield the accounts that an account continues, the latest first."""
    entry = working_set.account(account.continues) if account.continues else None
    while entry is not None and entry.account is not None:
        yield entry
        before = entry.account.continues
        entry = working_set.account(before) if before else None


def line_of(working_set: WorkingSet, account_id: str) -> Iterator[AccountEntry]:
    """Yield an account's newest successor and all that it continues: together they are one purse."""
    entry = working_set.account(newest(working_set, account_id))
    if entry is not None and entry.account is not None:
        yield entry
        yield from predecessors(working_set, entry.account)


def available(working_set: WorkingSet, account_id: str) -> int:
    """Return what is available of an account and of those that it continues or that continue it.

    The kind of the newest account decides what counts as available: an older account may have been opened
    with the wrong kind.
    """
    entries = list(line_of(working_set, account_id))
    if not entries or entries[0].account is None:
        return 0
    kind = entries[0].account.kind
    return sum(available_balance(kind, entry.counters) for entry in entries)


def carry(working_set: WorkingSet, account_id: str, now: datetime) -> TransactionPosted | None:
    """Return the transaction that moves what is available of a continued account to its newest successor.

    No limit is checked, and the move always fits: as much is moved as there is room for. Emptying a balance
    of at least 0 never overflows the old account: the counter that rises ends level with the other one. A
    part stays behind only if the account is overdrawn, or if the successor is nearly full.

    Args:
        account_id: the continued account; due holds on it and on its successor are expired already.
    Returns:
        None, where nothing is left to move.
    """
    old = working_set.account(account_id)
    if old is None or old.account is None or not old.account.continued_by:
        return None
    new = working_set.account(newest(working_set, account_id))
    assert new is not None, "what an account names is loaded with it"
    assert new.account is not None
    # The successor's kind decides. It differs from the old account's kind only where the old kind was wrong
    # for the account's name (decision 25).
    wanted = available_balance(new.account.kind, old.counters)
    lowers = _OPPOSITE[new.account.raised_by]
    of_old = lowers if wanted > 0 else new.account.raised_by
    of_new = _OPPOSITE[of_old]
    amount = min(abs(wanted), _room(old.counters, of_old), _room(new.counters, of_new))
    if amount <= 0:
        return None
    lines = tuple(
        Line(entry.account, Phase.POSTED, side, amount, 0, entry.counters.changed(side, amount, 0))
        for entry, side in ((old, of_old), (new, of_new))
        if entry.account is not None
    )
    moved = Transaction(
        type=TransactionType.CONTINUATION,
        reference="",
        effective_time=now,
        metadata={},
        reverses=None,
        hold=None,
        limit_breached=False,
        outside=False,
        adjustment=None,
    )
    return TransactionPosted(FactKind.TRANSACTION_POSTED, moved, lines)


def _room(counters: Counters, side: Direction) -> int:
    """Return how much a side can still count."""
    if side is Direction.DEBIT:
        return MAX_AMOUNT - counters.posted_debits - counters.pending_debits
    return MAX_AMOUNT - counters.posted_credits - counters.pending_credits
