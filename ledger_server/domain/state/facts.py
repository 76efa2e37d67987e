"""Owns facts: the decisions of the ledger, which become journal records.

`kind` is the number of the fact's field in `JournalRecord` and of the `kind` column: never reuse one.
"""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from ledger_server.domain.adjustments.adjustment import Adjustment, AdjustmentPolicy
from ledger_server.domain.code import Code
from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.findings.finding import Finding
from ledger_server.domain.ledger.accounts import Account
from ledger_server.domain.ledger.holds import Hold
from ledger_server.domain.ledger.transactions import Line, Transaction
from ledger_server.domain.payments.calls import OwedCall
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import StoredEvent
from ledger_server.domain.payments.withdrawal import Withdrawal, WithdrawalPolicy
from ledger_server.domain.state.commands import Enforcement


class FactKind(Code):
    """What a record says."""

    TENANT_CREATED = 10
    BALANCE_ENFORCEMENT_SET = 11
    ACCOUNT_OPENED = 12
    ACCOUNT_LIMITS_SET = 13
    ACCOUNT_FROZEN = 14
    ACCOUNT_UNFROZEN = 15
    ACCOUNT_CLOSED = 16
    TRANSACTION_POSTED = 17
    HOLD_PLACED = 18
    HOLD_CAPTURED = 19
    HOLD_RELEASED = 20
    HOLD_EXTENDED = 21
    HOLD_INCREASED = 22
    HOLD_EXPIRED = 23
    REQUEST_REJECTED = 24
    DEPOSIT_CHANGED = 25
    WITHDRAWAL_CHANGED = 26
    PROVIDER_EVENT_RECORDED = 27
    WITHDRAWAL_POLICY_SET = 28
    FINDING_CHANGED = 29
    EPOCH_BEGUN = 30
    ACCOUNT_CONTINUED = 36
    PLAYER_FORGOTTEN = 37
    ADJUSTMENT_CHANGED = 38
    ADJUSTMENT_POLICY_SET = 39


class EnforcementSwitch(Struct, frozen=True):
    """How a tenant's mode was set: why, whether by force, and what stood against it just before."""

    reason: str
    forced: bool
    below_limit_count: int
    blocking_finding_count: int


class EnforcementChanged(Struct, frozen=True):
    """The tenant was created, or switched.

    `switch` is None for the former, and in records from before there were reasons.
    """

    kind: FactKind
    enforcement: Enforcement
    create_time: datetime
    switch: EnforcementSwitch | None


class AccountChanged(Struct, frozen=True):
    """An account was opened, limited, frozen, unfrozen or closed."""

    kind: FactKind
    account: Account
    note: str


class AccountContinued(Struct, frozen=True):
    """An account was closed and its successor opened; the money follows in records of its own."""

    kind: FactKind
    account: Account
    successor: Account
    note: str


class TransactionPosted(Struct, frozen=True):
    """A transaction was posted; its lines are its postings."""

    kind: FactKind
    transaction: Transaction
    lines: tuple[Line, ...]


class HoldChanged(Struct, frozen=True):
    """A hold was placed, released, extended, increased or has expired.

    The lines are those of the debited and then of the credited account; none when only the time moved.
    """

    kind: FactKind
    hold: Hold
    lines: tuple[Line, ...]


class HoldCaptured(Struct, frozen=True):
    """A hold was captured: two lines, of the debited and then of the credited account."""

    kind: FactKind
    hold: Hold
    transaction: Transaction
    released: int
    lines: tuple[Line, ...]


class RequestRejected(Struct, frozen=True):
    """A request was refused against the state of the ledger."""

    kind: FactKind
    reason: int
    message: str
    metadata: Mapping[str, str]


class DepositChanged(Struct, frozen=True):
    """A deposit began or changed.

    `owed` is a call that is owed to the provider from here on; discrepancies are recorded right behind the
    fact.
    """

    kind: FactKind
    deposit: Deposit
    owed: OwedCall | None
    discrepancies: tuple[Discrepancy, ...]


class WithdrawalChanged(Struct, frozen=True):
    """A withdrawal was asked for or changed; `owed` as for a deposit."""

    kind: FactKind
    withdrawal: Withdrawal
    owed: OwedCall | None
    discrepancies: tuple[Discrepancy, ...]


class EventRecorded(Struct, frozen=True):
    """A provider's event was stored, or stored before and tried again.

    Attributes:
        mended: the fingerprints of the findings that the event resolves.
    """

    kind: FactKind
    stored: StoredEvent
    discrepancies: tuple[Discrepancy, ...]
    mended: tuple[bytes, ...]


class FindingChanged(Struct, frozen=True):
    """A finding was opened, has changed or was resolved."""

    kind: FactKind
    finding: Finding


class WithdrawalPolicySet(Struct, frozen=True):
    """The tenant's demands on withdrawals were set."""

    kind: FactKind
    policy: WithdrawalPolicy


class EpochBegun(Struct, frozen=True):
    """From this record on, ids carry a new epoch: the database has another history, or its first name."""

    kind: FactKind
    epoch: str


class PlayerForgotten(Struct, frozen=True):
    """The key of a player's personal data was destroyed, in the commit of the record."""

    kind: FactKind
    player_id: str
    reason: str


class AdjustmentChanged(Struct, frozen=True):
    """An adjustment was asked for, approved or ended; where it was posted, right behind its transaction."""

    kind: FactKind
    adjustment: Adjustment


class AdjustmentPolicySet(Struct, frozen=True):
    """From which amounts the tenant wants a second person was set."""

    kind: FactKind
    policy: AdjustmentPolicy


Fact = (
    EnforcementChanged
    | AccountChanged
    | AccountContinued
    | TransactionPosted
    | HoldChanged
    | HoldCaptured
    | RequestRejected
    | DepositChanged
    | WithdrawalChanged
    | EventRecorded
    | WithdrawalPolicySet
    | FindingChanged
    | EpochBegun
    | PlayerForgotten
    | AdjustmentChanged
    | AdjustmentPolicySet
)
