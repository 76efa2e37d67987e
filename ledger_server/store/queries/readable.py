"""Owns the tolerant reading of rows for verification: of values that only a manual change can have written.

An unknown code, a time beyond Python's range, or JSON of another shape would each abort the read of a row,
and nobody would learn which row it was. Here such a value is kept as it is stored, in place of the code, the
time or the object. It equals nothing that follows from a journal, so it is reported like every other
difference.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from asyncpg import Record
from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.adjustments.adjustment import NO_ADJUSTMENT_POLICY, AdjustmentPolicy
from ledger_server.domain.code import Code
from ledger_server.domain.ledger.accounts import Account, AccountKind, AccountState
from ledger_server.domain.ledger.holds import Hold, HoldState
from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.domain.payments.withdrawal import NO_POLICY, WithdrawalPolicy
from ledger_server.store.lane_store import account_of, hold_of

_Made = TypeVar("_Made", bound=Struct)

# A time beyond Python's range is read as the nearest time within it.
_FIRST: Final = "'0001-01-01 00:00:00+00'::timestamptz"
_LAST: Final = "'9999-12-31 23:59:59.999999+00'::timestamptz"
# The ledger stores NULL for an absent text or absent metadata. An empty value would read the same, but the
# ledger has not written it.
_EMPTY: Final = "empty, not NULL"

# The columns that hold codes: what they become, and which ones there are.
_Codes = Mapping[str, tuple[str, type[Code]]]
_ACCOUNT_CODES: Final[_Codes] = {"kind": ("kind", AccountKind), "state": ("state", AccountState)}
_HOLD_CODES: Final[_Codes] = {
    "state": ("state", HoldState),
    "transaction_type": ("type", TransactionType),
}


class _StoredPolicy(Struct, forbid_unknown_fields=True):
    """The shape of a policy's column."""

    player_may_cancel: bool
    second_review_from: dict[str, int]


class _StoredAdjustmentPolicy(Struct, forbid_unknown_fields=True):
    """The shape of a column of policies for adjustments."""

    second_review_from: dict[str, int]


def readable_columns(columns: Mapping[str, str], table: str = "") -> str:
    """Return a list of columns for a SELECT, given with their types."""
    within = f"{table}." if table else ""
    return ", ".join(
        readable_time(name, table) if type_ == "timestamptz" else f"{within}{name}"
        for name, type_ in columns.items()
    )


def readable_time(name: str, table: str = "") -> str:
    """Return the expression for a column of times, under the column's name."""
    column = f"{table}.{name}" if table else name
    return (
        f"CASE WHEN {column} < {_FIRST} THEN {_FIRST}"
        f" WHEN {column} > {_LAST} THEN {_LAST} ELSE {column} END AS {name}"
    )


def readable_account(row: Record) -> Account:
    """Return the account in a row of the accounts table."""
    return _made(account_of, row, _ACCOUNT_CODES)


def readable_hold(row: Record) -> Hold:
    """Return the hold in a row of the holds table with the ids of its accounts."""
    return _made(hold_of, row, _HOLD_CODES)


def readable_policy(text: str | None) -> WithdrawalPolicy | str:
    """Return the stored policy, or the text of something else."""
    if text is None:
        return NO_POLICY
    try:
        stored = msgspec.json.decode(text, type=_StoredPolicy)
    except msgspec.DecodeError:
        return text
    return WithdrawalPolicy(
        player_may_cancel=stored.player_may_cancel, second_review_from=stored.second_review_from
    )


def readable_adjustment_policy(text: str | None) -> AdjustmentPolicy | str:
    """Return the stored policy for adjustments, or the text of something else."""
    if text is None:
        return NO_ADJUSTMENT_POLICY
    try:
        stored = msgspec.json.decode(text, type=_StoredAdjustmentPolicy)
    except msgspec.DecodeError:
        return text
    return AdjustmentPolicy(second_review_from=stored.second_review_from)


def _made(make: Callable[[Any], _Made], row: Record, codes: _Codes) -> _Made:
    """Make the struct of a row, and set the values that its type would not take afterwards."""
    values = dict(row)
    unread: dict[str, Any] = {}
    for column, (name, members) in codes.items():
        if values[column] not in _NUMBERS[members]:
            unread[name] = values[column]
            values[column] = next(iter(members))
    if values.get("reference") == "":
        unread["reference"] = _EMPTY
    if values["metadata"] is not None:
        unread["metadata"] = _metadata(values["metadata"])
        values["metadata"] = None
    made = make(values)
    return replace(made, **unread) if unread else made


_NUMBERS: Final = {
    members: frozenset(map(int, members))
    for codes in (_ACCOUNT_CODES, _HOLD_CODES)
    for _, members in codes.values()
}


def _metadata(text: str) -> Mapping[str, str] | str:
    """Return stored metadata, or the text of something else."""
    try:
        return msgspec.json.decode(text, type=dict[str, str]) or _EMPTY
    except msgspec.DecodeError:
        return text
