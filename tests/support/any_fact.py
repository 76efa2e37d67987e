"""Own any fact and any command, made from their types, and which kinds each fact has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.state import facts
from ledger_server.domain.state.commands import Command
from ledger_server.domain.state.facts import Fact, FactKind
from tests.support.stored import any_of

FACTS: Final[tuple[type[Struct], ...]] = get_args(Fact)
COMMANDS: Final[tuple[type[Struct], ...]] = get_args(Command)
KINDS: Final[Mapping[type[Struct], tuple[FactKind, ...]]] = {
    facts.EnforcementChanged: (FactKind.TENANT_CREATED, FactKind.BALANCE_ENFORCEMENT_SET),
    facts.AccountChanged: (
        FactKind.ACCOUNT_LIMITS_SET,
        FactKind.ACCOUNT_FROZEN,
        FactKind.ACCOUNT_UNFROZEN,
        FactKind.ACCOUNT_CLOSED,
        # Last, since the record of an opening has no note.
        FactKind.ACCOUNT_OPENED,
    ),
    facts.AccountContinued: (FactKind.ACCOUNT_CONTINUED,),
    facts.TransactionPosted: (FactKind.TRANSACTION_POSTED,),
    facts.HoldChanged: (
        FactKind.HOLD_PLACED,
        FactKind.HOLD_RELEASED,
        FactKind.HOLD_EXTENDED,
        FactKind.HOLD_INCREASED,
        FactKind.HOLD_EXPIRED,
    ),
    facts.HoldCaptured: (FactKind.HOLD_CAPTURED,),
    facts.RequestRejected: (FactKind.REQUEST_REJECTED,),
    facts.DepositChanged: (FactKind.DEPOSIT_CHANGED,),
    facts.WithdrawalChanged: (FactKind.WITHDRAWAL_CHANGED,),
    facts.EventRecorded: (FactKind.PROVIDER_EVENT_RECORDED,),
    facts.WithdrawalPolicySet: (FactKind.WITHDRAWAL_POLICY_SET,),
    facts.FindingChanged: (FactKind.FINDING_CHANGED,),
    facts.EpochBegun: (FactKind.EPOCH_BEGUN,),
    facts.PlayerForgotten: (FactKind.PLAYER_FORGOTTEN,),
    facts.AdjustmentChanged: (FactKind.ADJUSTMENT_CHANGED,),
    facts.AdjustmentPolicySet: (FactKind.ADJUSTMENT_POLICY_SET,),
}


def any_fact(kind: type[Struct]) -> st.SearchStrategy[Any]:
    """Return facts of one type, each of a kind that the type has."""
    fact = any_of(kind)
    if kind is facts.RequestRejected:
        fact = fact.map(lambda each: replace(each, reason=each.reason % 1000))
    if kind in (facts.HoldChanged, facts.HoldCaptured):
        # The lines of a hold are those of its two accounts.
        fact = fact.filter(lambda each: len(each.lines) == 2)
    return fact.map(lambda each: replace(each, kind=KINDS[kind][0]))
