"""Owns the commands on a ledger: one per keyed RPC, free of transport and storage."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from ledger_server.domain.adjustments.commands import AdjustmentCommand
from ledger_server.domain.code import Code
from ledger_server.domain.findings.commands import AnyFindingCommand
from ledger_server.domain.ledger.accounts import AccountKind, AccountState, Limits, WantedLimits
from ledger_server.domain.ledger.amounts import AmountBounds
from ledger_server.domain.ledger.holds import Expiry
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.payments.commands import PaymentCommand
from ledger_server.domain.state.limit_survey import LimitSurvey


class Method(Code):
    """The RPC that gives an idempotency key its scope. Numbers are stored: never reuse one."""

    CreateTenant = 1
    SetBalanceEnforcement = 2
    OpenAccount = 10
    SetAccountLimits = 11
    FreezeAccount = 12
    UnfreezeAccount = 13
    CloseAccount = 14
    ContinueAccount = 15
    PostTransaction = 20
    ReverseTransaction = 21
    PlaceHold = 30
    CaptureHold = 31
    ReleaseHold = 32
    ExtendHold = 33
    IncreaseHold = 34
    InitiateDeposit = 40
    RefundDeposit = 41
    RequestWithdrawal = 50
    ApproveWithdrawal = 51
    RejectWithdrawal = 52
    CancelWithdrawal = 53
    MarkWithdrawalPaid = 54
    SetWithdrawalPolicy = 55
    ClaimWithdrawal = 56
    AddWithdrawalNote = 57
    IngestProviderEvents = 60
    ReplayProviderEvent = 61
    SupersedeProviderEvent = 62
    AcknowledgeFinding = 70
    ResolveFinding = 71
    ReopenFinding = 72
    ImportOpeningBalances = 80
    ForgetPlayer = 90
    RequestAdjustment = 100
    ApproveAdjustment = 101
    RejectAdjustment = 102
    CancelAdjustment = 103
    SetAdjustmentPolicy = 104


class RequestKey(Struct, frozen=True, gc=False):
    """What identifies a request within a tenant: its idempotency key, in the key's scope."""

    method: Method
    idempotency_key: str
    player_id: str


class NamedCaller(Struct, frozen=True, gc=False):
    """Whose call a record came of: the proved identity, and the person who called or was acted for."""

    identity: str
    person: str


class Enforcement(Code):
    """Whether a broken limit refuses the request or only marks the record."""

    SHADOW = 1
    ENFORCED = 2


class CreateTenant(Struct, frozen=True, kw_only=True):
    """Begin a journal. Reaches a lane only when the tenant exists already."""

    tenant_id: str
    enforcement: Enforcement


class SetBalanceEnforcement(Struct, frozen=True, kw_only=True):
    """Switch between recording and enforcing limits.

    Attributes:
        reason: None where it was decided before there were reasons, and rules that stand against ENFORCED.
        force: whether the switch is made although something stands against it.
        survey: which accounts stood below their lower limit before the command came to its lane.
    """

    enforcement: Enforcement
    reason: str | None
    force: bool
    survey: LimitSurvey


class OpenAccount(Struct, frozen=True, kw_only=True):
    """Open an account."""

    account_id: str
    kind: AccountKind
    currency: str
    limits: Limits
    metadata: Mapping[str, str]


class SetAccountLimits(Struct, frozen=True, kw_only=True):
    """Replace both limits of an account, by limits as callers state them or by exact ones."""

    account_id: str
    limits: Limits | WantedLimits


class SetAccountState(Struct, frozen=True, kw_only=True):
    """Freeze, unfreeze or close an account."""

    account_id: str
    state: AccountState
    note: str


class ContinueAccount(Struct, frozen=True, kw_only=True):
    """Close an account and open its successor.

    `kind` and `currency` are those that the account's name is reserved for; None and empty keep the account's
    own. They differ from the account's own only if it was opened before names were reserved.
    """

    account_id: str
    successor_id: str
    note: str
    kind: AccountKind | None
    currency: str


class PostTransaction(Struct, frozen=True):
    """Post a transaction; its postings are balanced already.

    A transaction from `outside` has happened already: neither a limit nor a frozen or closed account stops
    it. With `follow`, accounts are named as payments derive the names, and their newest successors are meant.
    `adjustment` is the number of the one that it was asked for by, if any.
    """

    type: TransactionType
    postings: tuple[NewPosting, ...]
    reference: str
    effective_time: datetime | None
    metadata: Mapping[str, str]
    outside: bool = False
    follow: bool = False
    adjustment: int | None = None


class ReverseTransaction(Struct, frozen=True, kw_only=True):
    """Post the mirror of the transaction of that sequence (None: an id that can't be this tenant's)."""

    transaction_id: str
    sequence: int | None
    reference: str
    effective_time: datetime | None
    metadata: Mapping[str, str]


class PlaceHold(Struct, frozen=True, kw_only=True):
    """Reserve money from one account for another."""

    debit_account_id: str
    credit_account_id: str
    amount: int
    currency: str
    expire_time: Expiry | None
    type: TransactionType
    reference: str
    metadata: Mapping[str, str]


class HoldCommand(Struct, frozen=True, kw_only=True):
    """What all steps on a hold share; `number` is None for an id that can't be this tenant's.

    Payments change their own holds with `outside`: neither a frozen account nor the hold's owner stops it.
    """

    hold_id: str
    number: int | None
    outside: bool = False


class CaptureHold(HoldCommand, frozen=True, kw_only=True):
    """Post all (None) or part of what is held."""

    amount: int | None
    final: bool
    reference: str
    effective_time: datetime | None
    metadata: Mapping[str, str]


class ReleaseHold(HoldCommand, frozen=True, kw_only=True):
    """Undo what is still held."""


class ExtendHold(HoldCommand, frozen=True, kw_only=True):
    """Move the expire time to a later one."""

    expire_time: Expiry


class IncreaseHold(HoldCommand, frozen=True, kw_only=True):
    """Hold more, up to the bound of the hold's currency; None where it was decided before."""

    additional: int
    bounds: AmountBounds | None = None


class ExpireHolds(Struct, frozen=True, kw_only=True):
    """Record the end of these holds where their time has come; asked for by the sweeper, without a key."""

    numbers: tuple[int, ...]


class ForgetPlayer(Struct, frozen=True, kw_only=True):
    """Destroy the key of a player's personal data."""

    player_id: str
    reason: str


Command = (
    PaymentCommand
    | AnyFindingCommand
    | AdjustmentCommand
    | CreateTenant
    | SetBalanceEnforcement
    | OpenAccount
    | SetAccountLimits
    | SetAccountState
    | ContinueAccount
    | PostTransaction
    | ReverseTransaction
    | PlaceHold
    | CaptureHold
    | ReleaseHold
    | ExtendHold
    | IncreaseHold
    | ExpireHolds
    | ForgetPlayer
)
