"""Owns the meaning of provider events: one table from type to what it adds to the knowledge of a payment."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.code import Code
from ledger_server.domain.payments.captures import paid_by, whole_of, with_capture
from ledger_server.domain.payments.deposit import Deposit, with_attempt
from ledger_server.domain.payments.knowledge import (
    NO_ATTEMPT,
    NO_REFUND_OBJECT,
    Capture,
    Dispute,
    DisputeState,
    Fee,
    Movement,
    entry_of,
    with_entry,
    with_fee,
    with_movement,
)
from ledger_server.domain.payments.refunds import told_of, with_refund
from ledger_server.domain.payments.withdrawal import NO_PAYOUT, Withdrawal, with_payout

RECORD_EVENT: Final = "record:"
"""The prefix of the id of an event that stands for a provider's records, and has their sum so far."""


class EventType(Code):
    """What an event says; numbers are those of `ProviderEventType`."""

    UNKNOWN = 0
    PAYMENT_AUTHORIZED = 1
    PAYMENT_CAPTURED = 2
    PAYMENT_ATTEMPT_FAILED = 3
    PAYMENT_FAILED = 4
    CAPTURE_FAILED = 5
    REFUND_PENDING = 6
    REFUND_SUCCEEDED = 7
    REFUND_FAILED = 8
    DISPUTE_OPENED = 9
    DISPUTE_FUNDS_WITHDRAWN = 10
    DISPUTE_FUNDS_REINSTATED = 11
    DISPUTE_WON = 12
    DISPUTE_LOST = 13
    FEE_CHARGED = 14
    PAYOUT_SUBMITTED = 15
    PAYOUT_PAID = 16
    PAYOUT_FAILED = 17
    REFUND_TOTAL = 18


class EventState(Code):
    """What became of an event."""

    APPLIED = 1
    PARKED = 2
    IGNORED = 3
    CONTRADICTED = 4
    UNREAD = 5
    SUPERSEDED = 6


class UnreadReason(Code):
    """Why the edge could not read an event; numbers are those of `UnreadReason`."""

    OTHER = 1
    BODY = 2
    TYPE = 3
    FIELD = 4
    VERSION = 5
    ENVIRONMENT = 6
    UNSIGNED = 7


class Unread(Struct, frozen=True, kw_only=True):
    """What the edge says of an event that it could not read.

    Attributes:
        moves_money: whether an event of that type moves money, or its type can't be told.
        read_event_id: the id that the event will have once it can be read, as far as that can be told.
    """

    reason: UnreadReason
    moves_money: bool
    read_event_id: str


class ProviderEvent(Struct, frozen=True, kw_only=True):
    """One verified event. `amount` is in minor units; None if there is none, or for the reason in `problem`.

    `payment` and `refund` are our numbers, if the provider echoes our ids. `unread` is None if the edge has
    read the event; `delivery` is what is needed beside the payload to read it again.
    """

    provider: str
    event_id: str
    type: EventType
    provider_type: str
    payment_ref: str
    payment_id: str
    payment: int | None
    object_ref: str
    object_id: str
    refund: int | None
    provider_amount: int | None
    amount: int | None
    problem: str
    currency: str
    occur_time: datetime
    final: bool
    stage: str
    reason: str
    payload: bytes
    unread: Unread | None
    delivery: str


class StoredEvent(Struct, frozen=True, kw_only=True):
    """An event as it was stored; its number is the sequence of its first record.

    `superseded_by` is the number of the event that an unread one became once it was read.
    """

    number: int
    event: ProviderEvent
    state: EventState
    payment: int | None
    withdrawal: bool
    note: str
    receive_time: datetime
    payload_digest: bytes
    superseded_by: int | None


class CannotApply(Exception):
    """The event contradicts its payment; it is stored, and a finding says why."""


def with_deposit_event(deposit: Deposit, event: ProviderEvent) -> Deposit:
    """Return the deposit with what an event adds to what is known of it.

    Raises:
        CannotApply: the event is not about a deposit, or lacks an amount that its type needs.
    """
    learn = _DEPOSIT.get(event.type)
    if learn is None:
        raise CannotApply(f"{event.type.name} is no event of a deposit")
    learned = learn(deposit, event)
    if event.type in _NAMES_PAYMENT:
        learned = replace(learned, payment_ref=max(learned.payment_ref, event.payment_ref))
    return learned


def with_withdrawal_event(withdrawal: Withdrawal, event: ProviderEvent) -> Withdrawal:
    """Return the withdrawal with what an event adds; raises like `with_deposit_event`."""
    learn = _WITHDRAWAL.get(event.type)
    if learn is None:
        raise CannotApply(f"{event.type.name} is no event of a withdrawal")
    # Any news of a payout, even of its fee alone, shows that the payout exists.
    return with_payout(learn(withdrawal, event), replace(NO_PAYOUT, provider_ref=event.payment_ref))


def retold(deposit: Deposit, event: ProviderEvent) -> str:
    """Return how an event contradicts what was told before under the same name; empty if it does not.

    Reports without a name of their own are taken for one thing, and the larger amount counts. If the provider
    means two things, only one of them is booked, so a person has to be told.
    """
    if event.event_id.startswith(RECORD_EVENT) or not event.amount:
        return ""
    if event.type is EventType.PAYMENT_CAPTURED:
        known = whole_of(deposit.captures, event.payment_ref)
        if not event.object_ref and known is not None and known.amount not in (0, event.amount):
            return "one payment was captured with two amounts, and no capture is named"
        if event.payment_ref and deposit.payment_ref not in (
            "",
            event.payment_ref,
            *paid_by(deposit.captures),
        ):
            # Money captured before payments were told apart belongs to the known payment, so this event is of
            # another one.
            before = [each for each in deposit.captures if not each.payment_ref]
            if any(each.capture_time is not None for each in before):
                return "another payment than the one before was captured, and which is whose is not known"
    if event.type in _MOVES and event.object_ref and not event.stage:
        reinstated = event.type is EventType.DISPUTE_FUNDS_REINSTATED
        dispute = entry_of(deposit.disputes, event.object_ref)
        for each in dispute.movements if dispute is not None else ():
            same = (each.stage, each.reinstated) == ("", reinstated)
            if same and (each.amount, each.move_time) != (event.amount, event.occur_time):
                return "a dispute moved money twice, and no stage is named"
    return ""


def takes_effect(deposit: Deposit, event: ProviderEvent) -> bool:
    """Whether an event takes effect at once: refunds and disputes wait for a capture, totals for refunds."""
    if event.type is EventType.REFUND_TOTAL:
        return told_of(deposit.refunds, event.payment_ref) >= (event.amount or 0)
    return deposit.known_captured or event.type not in _AFTER_CAPTURE


def _amount(event: ProviderEvent, default: int | None = None) -> int:
    amount = event.amount if event.amount is not None else default
    if amount is None or amount < 1:
        raise CannotApply(event.problem or "the amount is missing or not positive")
    return amount


def _authorized(deposit: Deposit, event: ProviderEvent) -> Deposit:
    authorized = replace(deposit, authorized=True)
    if not event.payment_ref:
        return authorized
    return with_attempt(authorized, replace(NO_ATTEMPT, payment_ref=event.payment_ref, authorized=True))


def _captured(deposit: Deposit, event: ProviderEvent) -> Deposit:
    if event.problem:
        raise CannotApply(event.problem)
    capture = Capture(
        provider_ref=event.object_ref,
        payment_ref=event.payment_ref,
        amount=_amount(event, deposit.amount),
        capture_time=event.occur_time,
        fail_time=None,
    )
    captured = replace(deposit, captures=with_capture(deposit.captures, capture))
    if not event.final:
        return captured
    return with_attempt(captured, replace(NO_ATTEMPT, payment_ref=event.payment_ref, final=True))


def _capture_failed(deposit: Deposit, event: ProviderEvent) -> Deposit:
    failed = Capture(
        provider_ref=event.object_ref,
        payment_ref=event.payment_ref,
        amount=0,
        capture_time=None,
        fail_time=event.occur_time,
    )
    return replace(deposit, captures=with_capture(deposit.captures, failed))


def _attempt_failed(deposit: Deposit, _: ProviderEvent) -> Deposit:
    return deposit


def _failed(deposit: Deposit, event: ProviderEvent) -> Deposit:
    ended = replace(NO_ATTEMPT, payment_ref=event.payment_ref, end_time=event.occur_time, reason=event.reason)
    return with_attempt(deposit, ended)


def _refund(deposit: Deposit, event: ProviderEvent) -> Deposit:
    unnamed = not event.object_ref and event.refund is None
    if unnamed and event.type is EventType.REFUND_FAILED and not event.amount:
        # The failure would give money back to the player, and nobody can say for which refund.
        raise CannotApply("it names no refund and no amount")
    if unnamed and event.type is EventType.REFUND_PENDING:
        # No money has moved, and later news could not be recognised as being about the same refund.
        return deposit
    told = replace(NO_REFUND_OBJECT, provider_ref=event.object_ref, told=max(0, event.amount or 0))
    if event.type is EventType.REFUND_SUCCEEDED:
        # Only a success moves money. An event without an amount is kept all the same: another event of the
        # same refund may have it, earlier or later.
        if event.problem:
            raise CannotApply(event.problem)
        told = replace(told, succeed_time=event.occur_time)
    elif event.type is EventType.REFUND_FAILED:
        told = replace(told, fail_time=event.occur_time, reason=event.reason)
    return replace(deposit, refunds=with_refund(deposit.refunds, told, event.refund, event.payment_ref))


def _refund_total(deposit: Deposit, event: ProviderEvent) -> Deposit:
    if event.amount is None:
        raise CannotApply(event.problem or "the total has no amount")
    return deposit


def _dispute(deposit: Deposit, event: ProviderEvent) -> Deposit:
    known = entry_of(deposit.disputes, event.object_ref)
    dispute = known or Dispute(
        provider_ref=event.object_ref, state=DisputeState.OPEN, movements=(), reason=""
    )
    decided = _DISPUTE_STATES.get(event.type, DisputeState.OPEN)
    dispute = replace(dispute, state=max(dispute.state, decided), reason=max(dispute.reason, event.reason))
    if event.type in _MOVES:
        movement = Movement(
            stage=event.stage,
            reinstated=event.type is EventType.DISPUTE_FUNDS_REINSTATED,
            amount=_amount(event),
            move_time=event.occur_time,
        )
        dispute = with_movement(dispute, movement)
    return replace(deposit, disputes=with_entry(deposit.disputes, dispute))


def _deposit_fee(deposit: Deposit, event: ProviderEvent) -> Deposit:
    if event.amount == 0:
        return deposit
    return replace(deposit, fees=with_fee(deposit.fees, _fee(event)))


def _fee(event: ProviderEvent) -> Fee:
    return Fee(provider_ref=event.object_ref, amount=_amount(event), charge_time=event.occur_time)


def _submitted(withdrawal: Withdrawal, _: ProviderEvent) -> Withdrawal:
    return withdrawal


def _paid(withdrawal: Withdrawal, event: ProviderEvent) -> Withdrawal:
    if event.problem:
        raise CannotApply(event.problem)
    amount = _amount(event, withdrawal.amount)
    return with_payout(
        withdrawal,
        replace(NO_PAYOUT, provider_ref=event.payment_ref, amount=amount, paid_time=event.occur_time),
    )


def _payout_failed(withdrawal: Withdrawal, event: ProviderEvent) -> Withdrawal:
    told = replace(withdrawal, reason=max(withdrawal.reason, event.reason))
    return with_payout(told, replace(NO_PAYOUT, provider_ref=event.payment_ref, fail_time=event.occur_time))


def _withdrawal_fee(withdrawal: Withdrawal, event: ProviderEvent) -> Withdrawal:
    if event.amount == 0:
        return withdrawal
    return replace(withdrawal, fees=with_fee(withdrawal.fees, _fee(event)))


_DEPOSIT: Final[Mapping[EventType, Callable[[Deposit, ProviderEvent], Deposit]]] = {
    EventType.PAYMENT_AUTHORIZED: _authorized,
    EventType.PAYMENT_CAPTURED: _captured,
    EventType.PAYMENT_ATTEMPT_FAILED: _attempt_failed,
    EventType.PAYMENT_FAILED: _failed,
    EventType.CAPTURE_FAILED: _capture_failed,
    EventType.REFUND_PENDING: _refund,
    EventType.REFUND_SUCCEEDED: _refund,
    EventType.REFUND_FAILED: _refund,
    EventType.REFUND_TOTAL: _refund_total,
    EventType.DISPUTE_OPENED: _dispute,
    EventType.DISPUTE_FUNDS_WITHDRAWN: _dispute,
    EventType.DISPUTE_FUNDS_REINSTATED: _dispute,
    EventType.DISPUTE_WON: _dispute,
    EventType.DISPUTE_LOST: _dispute,
    EventType.FEE_CHARGED: _deposit_fee,
}
_WITHDRAWAL: Final[Mapping[EventType, Callable[[Withdrawal, ProviderEvent], Withdrawal]]] = {
    EventType.PAYOUT_SUBMITTED: _submitted,
    EventType.PAYOUT_PAID: _paid,
    EventType.PAYOUT_FAILED: _payout_failed,
    EventType.FEE_CHARGED: _withdrawal_fee,
}
_DISPUTE_STATES: Final = {
    EventType.DISPUTE_WON: DisputeState.WON,
    EventType.DISPUTE_LOST: DisputeState.LOST,
}
_MOVES: Final = frozenset({EventType.DISPUTE_FUNDS_WITHDRAWN, EventType.DISPUTE_FUNDS_REINSTATED})
_NAMES_PAYMENT: Final = frozenset({EventType.PAYMENT_AUTHORIZED, EventType.PAYMENT_CAPTURED})
_AFTER_CAPTURE: Final = frozenset(
    {
        EventType.CAPTURE_FAILED,
        EventType.REFUND_PENDING,
        EventType.REFUND_SUCCEEDED,
        EventType.REFUND_FAILED,
        *_MOVES,
    }
)
