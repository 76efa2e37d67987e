"""Owns the commands on payments: one per keyed RPC, and the reports of the dispatcher."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from msgspec import Struct

from ledger_server.domain.payments.calls import CallKind, CallNews
from ledger_server.domain.payments.events import ProviderEvent
from ledger_server.domain.payments.withdrawal import WithdrawalPolicy, WithdrawalState


class InitiateDeposit(Struct, frozen=True, kw_only=True):
    """Begin a deposit; with a `provider_ref` the caller has created the payment already.

    Attributes:
        hold_for: how long the money is expected; None: for ever.
        max_pending: the most that may be pending into the wallet, this deposit included, minor units; None:
            no bound.
        personal: personal metadata, encrypted; empty: none.
        forgotten: whether it came with personal metadata and the player was forgotten.
    """

    player_id: str
    provider: str
    amount: int
    currency: str
    provider_ref: str
    reference: str
    metadata: Mapping[str, str]
    hold_for: timedelta | None = None
    max_pending: int | None = None
    personal: bytes = b""
    forgotten: bool = False


class RefundDeposit(Struct, frozen=True, kw_only=True):
    """Send money back; `number` is None for an id that can't be this tenant's."""

    deposit_id: str
    number: int | None
    amount: int


class RequestWithdrawal(Struct, frozen=True, kw_only=True):
    """Hold money that is to go out; `personal` and `forgotten` as for a deposit."""

    player_id: str
    provider: str
    amount: int
    currency: str
    destination: str
    reference: str
    metadata: Mapping[str, str]
    personal: bytes = b""
    forgotten: bool = False


class WithdrawalCommand(Struct, frozen=True, kw_only=True):
    """What all steps on a withdrawal share; `number` is None for an id that can't be this tenant's."""

    withdrawal_id: str
    number: int | None


class Seen(Struct, frozen=True, kw_only=True):
    """How a reviewer has seen a withdrawal: its state and number of approvals; None where any will do."""

    state: WithdrawalState | None
    approvals: int | None


ANY: Final = Seen(state=None, approvals=None)
"""Of a reviewer who does not say what they have seen."""


class ApproveWithdrawal(WithdrawalCommand, frozen=True, kw_only=True):
    """Let a withdrawal pass review; `identity` proved who the reviewer is, and is empty where nothing did."""

    reviewer: str
    note: str
    identity: str
    seen: Seen = ANY


class RejectWithdrawal(WithdrawalCommand, frozen=True, kw_only=True):
    """Refuse a withdrawal."""

    reviewer: str
    reason: str
    seen: Seen = ANY


class ClaimWithdrawal(WithdrawalCommand, frozen=True, kw_only=True):
    """Say who works on a withdrawal; `claim_for` is None where nobody does any more."""

    reviewer: str
    identity: str
    claim_for: timedelta | None
    take_over: bool


class AddWithdrawalNote(WithdrawalCommand, frozen=True, kw_only=True):
    """Add a note to a withdrawal."""

    reviewer: str
    identity: str
    text: str


class CancelWithdrawal(WithdrawalCommand, frozen=True, kw_only=True):
    """Cancel a withdrawal for the player."""

    reason: str


class MarkWithdrawalPaid(WithdrawalCommand, frozen=True, kw_only=True):
    """Record by hand that the provider has paid."""

    provider_ref: str
    reviewer: str


class SetWithdrawalPolicy(Struct, frozen=True, kw_only=True):
    """Replace what the tenant demands of withdrawals."""

    policy: WithdrawalPolicy


class IngestEvent(Struct, frozen=True, kw_only=True):
    """Store a provider's event and let it take effect.

    `mends` is the number of the stored event that has the same id at the provider and came to nothing. It is
    superseded in the same commit, unless it has taken effect since.
    """

    event: ProviderEvent
    mends: int | None = None


class ReplayEvent(Struct, frozen=True, kw_only=True):
    """Apply a stored event again; `number` is None for an id that can't be this tenant's."""

    provider_event_id: str
    number: int | None


class SupersedeEvent(Struct, frozen=True, kw_only=True):
    """Say what an unread event became; the numbers are None for ids that can't be this tenant's."""

    provider_event_id: str
    number: int | None
    superseded_by_event_id: str
    superseded_by: int | None


class ReportCall(Struct, frozen=True, kw_only=True):
    """Report what became of an owed call; a repeated report changes nothing."""

    kind: CallKind
    payment: int
    subject: int
    news: CallNews


PaymentCommand = (
    InitiateDeposit
    | RefundDeposit
    | RequestWithdrawal
    | ApproveWithdrawal
    | RejectWithdrawal
    | CancelWithdrawal
    | MarkWithdrawalPaid
    | ClaimWithdrawal
    | AddWithdrawalNote
    | SetWithdrawalPolicy
    | IngestEvent
    | ReplayEvent
    | SupersedeEvent
    | ReportCall
)
