"""Owns the bytes of payments in the journal: deposits, withdrawals, events and policies, there and back."""

from datetime import datetime
from typing import cast

from defter.ledger.v1 import journal_pb2
from defter.payments.v1 import payment_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ledger_server.domain.facts import (
    DepositChanged,
    EventRecorded,
    FactKind,
    WithdrawalChanged,
    WithdrawalPolicySet,
)
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventState, EventType, ProviderEvent, StoredEvent
from ledger_server.domain.payments.knowledge import (
    CallState,
    Capture,
    Dispute,
    DisputeState,
    Fee,
    Movement,
    Refund,
)
from ledger_server.domain.payments.withdrawal import (
    Approval,
    Withdrawal,
    WithdrawalPolicy,
    WithdrawalState,
)
from ledger_server.engine.times import moment, timestamp
from ledger_server.store.payment_rows import DEPOSIT

PaymentFact = DepositChanged | WithdrawalChanged | EventRecorded | WithdrawalPolicySet


def payment_content(ids: TenantIds, fact: PaymentFact, record_time: datetime) -> Message:
    """Return the message of a payment's fact."""
    match fact:
        case DepositChanged(deposit=deposit):
            return deposit_message(ids, deposit)
        case WithdrawalChanged(withdrawal=withdrawal):
            return withdrawal_message(ids, withdrawal)
        case EventRecorded(stored=stored):
            return event_message(ids, stored, record_time)
        case WithdrawalPolicySet(policy=policy):
            return policy_message(policy)


def payment_fact(ids: TenantIds, name: str, record: journal_pb2.JournalRecord) -> PaymentFact:
    """Return a payment's fact as a record has it; calls and findings are not in the journal."""
    match name:
        case "deposit_changed":
            return DepositChanged(FactKind.DEPOSIT_CHANGED, deposit_of(ids, record.deposit_changed))
        case "withdrawal_changed":
            withdrawal = withdrawal_of(ids, record.withdrawal_changed)
            return WithdrawalChanged(FactKind.WITHDRAWAL_CHANGED, withdrawal)
        case "provider_event_recorded":
            stored = event_of(ids, record.provider_event_recorded, b"")
            return EventRecorded(FactKind.PROVIDER_EVENT_RECORDED, stored)
        case _:
            policy = policy_of_message(record.withdrawal_policy_set)
            return WithdrawalPolicySet(FactKind.WITHDRAWAL_POLICY_SET, policy)


def payment_of(ids: TenantIds, kind: int, body: bytes) -> Deposit | Withdrawal:
    """Return the payment in a stored row."""
    if kind == DEPOSIT:
        return deposit_of(ids, pb.Deposit.FromString(body))
    return withdrawal_of(ids, pb.Withdrawal.FromString(body))


def deposit_message(ids: TenantIds, deposit: Deposit) -> pb.Deposit:
    """Return a deposit as callers see it."""
    message = pb.Deposit(
        deposit_id=ids.deposit_id(deposit.number),
        player_id=deposit.player_id,
        provider=deposit.provider,
        provider_ref=deposit.provider_ref,
        amount_minor=deposit.amount,
        currency_code=deposit.currency,
        state=int(deposit.state),  # type: ignore[arg-type]
        hold_id=ids.hold_id(deposit.hold),
        call_state=int(deposit.call_state),  # type: ignore[arg-type]
        authorized=deposit.authorized,
        closed=deposit.closed,
        failed=deposit.failed,
        failure_reason=deposit.failure_reason,
        payment_url=deposit.payment_url,
        payment_ref=deposit.payment_ref,
        fees=_fees(deposit.fees),
        captured_minor=deposit.captured,
        refunded_minor=deposit.refunded,
        disputed_minor=deposit.disputed,
        fee_minor=deposit.fee,
        balance_after_minor=deposit.balance_after,
        reference=deposit.reference,
        metadata=deposit.metadata,
        initiate_time=timestamp(deposit.initiate_time),
        update_time=timestamp(deposit.update_time),
    )
    for capture in deposit.captures:
        added = message.captures.add(provider_ref=capture.provider_ref, amount_minor=capture.amount)
        _put(added.capture_time, capture.capture_time)
        _put(added.fail_time, capture.fail_time)
    for refund in deposit.refunds:
        told = message.refunds.add(
            refund_id="" if refund.number is None else ids.refund_id(refund.number),
            provider_ref=refund.provider_ref,
            amount_minor=refund.amount,
            state=int(refund.state),
            hold_id="" if refund.hold is None else ids.hold_id(refund.hold),
            call_state=int(refund.call_state),
            reason=refund.reason,
            told_minor=refund.told,
        )
        _put(told.succeed_time, refund.succeed_time)
        _put(told.fail_time, refund.fail_time)
    for dispute in deposit.disputes:
        message.disputes.add(
            provider_ref=dispute.provider_ref,
            state=int(dispute.state),
            reason=dispute.reason,
            movements=[_movement(movement) for movement in dispute.movements],
        )
    return message


def deposit_of(ids: TenantIds, message: pb.Deposit) -> Deposit:
    """Return the deposit in a record or row."""
    return Deposit(
        number=_number(ids.deposit_sequence(message.deposit_id), message.deposit_id),
        player_id=message.player_id,
        provider=message.provider,
        provider_ref=message.provider_ref,
        amount=message.amount_minor,
        currency=message.currency_code,
        hold=_number(ids.hold_sequence(message.hold_id), message.hold_id),
        call_state=CallState(message.call_state),
        reference=message.reference,
        metadata=dict(message.metadata),
        initiate_time=moment(message.initiate_time),
        update_time=moment(message.update_time),
        balance_after=message.balance_after_minor,
        authorized=message.authorized,
        closed=message.closed,
        failed=message.failed,
        failure_reason=message.failure_reason,
        payment_url=message.payment_url,
        payment_ref=message.payment_ref,
        captures=tuple(
            Capture(
                provider_ref=capture.provider_ref,
                amount=capture.amount_minor,
                capture_time=_get(capture, "capture_time"),
                fail_time=_get(capture, "fail_time"),
            )
            for capture in message.captures
        ),
        refunds=tuple(
            Refund(
                number=ids.refund_sequence(refund.refund_id) if refund.refund_id else None,
                provider_ref=refund.provider_ref,
                amount=refund.amount_minor,
                told=refund.told_minor,
                hold=ids.hold_sequence(refund.hold_id) if refund.hold_id else None,
                call_state=CallState(refund.call_state),
                reason=refund.reason,
                succeed_time=_get(refund, "succeed_time"),
                fail_time=_get(refund, "fail_time"),
            )
            for refund in message.refunds
        ),
        disputes=tuple(
            Dispute(
                provider_ref=dispute.provider_ref,
                state=DisputeState(dispute.state),
                reason=dispute.reason,
                movements=tuple(
                    Movement(
                        stage=movement.stage,
                        reinstated=movement.reinstated,
                        amount=movement.amount_minor,
                        move_time=_get(movement, "move_time"),
                    )
                    for movement in dispute.movements
                ),
            )
            for dispute in message.disputes
        ),
        fees=_fees_of(message),
    )


def withdrawal_message(ids: TenantIds, withdrawal: Withdrawal) -> pb.Withdrawal:
    """Return a withdrawal as callers see it."""
    message = pb.Withdrawal(
        withdrawal_id=ids.withdrawal_id(withdrawal.number),
        player_id=withdrawal.player_id,
        provider=withdrawal.provider,
        provider_ref=withdrawal.provider_ref,
        amount_minor=withdrawal.amount,
        currency_code=withdrawal.currency,
        destination=withdrawal.destination,
        state=int(withdrawal.state),  # type: ignore[arg-type]
        review_state=int(withdrawal.review),  # type: ignore[arg-type]
        hold_id=ids.hold_id(withdrawal.hold),
        call_state=int(withdrawal.call_state),  # type: ignore[arg-type]
        approvals=[
            pb.Approval(reviewer=approval.reviewer, approve_time=timestamp(approval.time), note=approval.note)
            for approval in withdrawal.approvals
        ],
        reviewer=withdrawal.reviewer,
        reason=withdrawal.reason,
        paid_minor=withdrawal.paid,
        debited_minor=withdrawal.debited,
        fee_minor=withdrawal.fee,
        fees=_fees(withdrawal.fees),
        balance_after_minor=withdrawal.balance_after,
        reference=withdrawal.reference,
        metadata=withdrawal.metadata,
        request_time=timestamp(withdrawal.request_time),
        update_time=timestamp(withdrawal.update_time),
    )
    _put(message.approve_time, withdrawal.approve_time)
    _put(message.paid_time, withdrawal.paid_time)
    _put(message.fail_time, withdrawal.fail_time)
    return message


def withdrawal_of(ids: TenantIds, message: pb.Withdrawal) -> Withdrawal:
    """Return the withdrawal in a record or row."""
    return Withdrawal(
        number=_number(ids.withdrawal_sequence(message.withdrawal_id), message.withdrawal_id),
        player_id=message.player_id,
        provider=message.provider,
        provider_ref=message.provider_ref,
        amount=message.amount_minor,
        currency=message.currency_code,
        destination=message.destination,
        hold=_number(ids.hold_sequence(message.hold_id), message.hold_id),
        review=WithdrawalState(message.review_state),
        call_state=CallState(message.call_state),
        reference=message.reference,
        metadata=dict(message.metadata),
        request_time=moment(message.request_time),
        update_time=moment(message.update_time),
        balance_after=message.balance_after_minor,
        approvals=tuple(
            Approval(reviewer=approval.reviewer, time=moment(approval.approve_time), note=approval.note)
            for approval in message.approvals
        ),
        reviewer=message.reviewer,
        reason=message.reason,
        paid=message.paid_minor,
        paid_time=_get(message, "paid_time"),
        fail_time=_get(message, "fail_time"),
        fees=_fees_of(message),
    )


def event_message(ids: TenantIds, stored: StoredEvent, record_time: datetime) -> pb.RecordedProviderEvent:
    """Return an event as callers see it, without its payload."""
    event = stored.event
    told = pb.ProviderEvent(
        provider=event.provider,
        event_id=event.event_id,
        type=int(event.type),  # type: ignore[arg-type]
        provider_type=event.provider_type,
        payment_ref=event.payment_ref,
        payment_id=event.payment_id,
        object_ref=event.object_ref,
        object_id=event.object_id,
        provider_amount_minor=event.provider_amount,
        currency_code=event.currency,
        occur_time=timestamp(event.occur_time),
        final=event.final,
        stage=event.stage,
        reason=event.reason,
    )
    message = pb.RecordedProviderEvent(
        provider_event_id=ids.event_id(stored.number),
        event=told,
        state=int(stored.state),  # type: ignore[arg-type]
        note=stored.note,
        receive_time=timestamp(stored.receive_time),
        payload_digest=stored.payload_digest,
        update_time=timestamp(record_time),
        amount_minor=event.amount,
        problem=event.problem,
    )
    if stored.payment is not None:
        made = ids.withdrawal_id if stored.withdrawal else ids.deposit_id
        message.payment_id = made(stored.payment)
    return message


def event_of(ids: TenantIds, message: pb.RecordedProviderEvent, payload: bytes) -> StoredEvent:
    """Return the stored event in a record or row."""
    told = message.event
    withdrawal = ids.withdrawal_sequence(message.payment_id)
    return StoredEvent(
        number=_number(ids.event_sequence(message.provider_event_id), message.provider_event_id),
        event=ProviderEvent(
            provider=told.provider,
            event_id=told.event_id,
            type=event_type(told.type),
            provider_type=told.provider_type,
            payment_ref=told.payment_ref,
            payment_id=told.payment_id,
            payment=echoed_payment(ids, told.payment_id),
            object_ref=told.object_ref,
            object_id=told.object_id,
            refund=ids.refund_sequence(told.object_id),
            provider_amount=told.provider_amount_minor if told.HasField("provider_amount_minor") else None,
            amount=message.amount_minor if message.HasField("amount_minor") else None,
            problem=message.problem,
            currency=told.currency_code,
            occur_time=moment(told.occur_time),
            final=told.final,
            stage=told.stage,
            reason=told.reason,
            payload=payload,
        ),
        state=EventState(message.state),
        payment=withdrawal if withdrawal is not None else ids.deposit_sequence(message.payment_id),
        withdrawal=withdrawal is not None,
        note=message.note,
        receive_time=moment(message.receive_time),
        payload_digest=message.payload_digest,
    )


def event_type(number: int) -> EventType:
    """Return an event's type; a newer edge may know more of them than we do."""
    return EventType(number) if number in _TYPES else EventType.UNKNOWN


def echoed_payment(ids: TenantIds, payment_id: str) -> int | None:
    """Return the number in an id of ours that a provider echoed; None for what is none of this tenant's."""
    deposit = ids.deposit_sequence(payment_id)
    return deposit if deposit is not None else ids.withdrawal_sequence(payment_id)


def policy_message(policy: WithdrawalPolicy) -> pb.WithdrawalPolicy:
    """Return a policy as callers see it."""
    return pb.WithdrawalPolicy(
        player_may_cancel=policy.player_may_cancel,
        second_review_from_minor=policy.second_review_from,
    )


def policy_of_message(message: pb.WithdrawalPolicy) -> WithdrawalPolicy:
    """Return the policy in a record or request."""
    return WithdrawalPolicy(
        player_may_cancel=message.player_may_cancel,
        second_review_from=dict(message.second_review_from_minor),
    )


_TYPES = frozenset(int(kind) for kind in EventType)


def _fees(fees: tuple[Fee, ...]) -> list[pb.Fee]:
    messages = []
    for fee in fees:
        message = pb.Fee(provider_ref=fee.provider_ref, amount_minor=fee.amount)
        _put(message.charge_time, fee.charge_time)
        messages.append(message)
    return messages


def _fees_of(message: pb.Deposit | pb.Withdrawal) -> tuple[Fee, ...]:
    return tuple(
        Fee(
            provider_ref=fee.provider_ref,
            amount=fee.amount_minor,
            charge_time=_get(fee, "charge_time"),
        )
        for fee in message.fees
    )


def _movement(movement: Movement) -> pb.Dispute.Movement:
    message = pb.Dispute.Movement(
        stage=movement.stage, reinstated=movement.reinstated, amount_minor=movement.amount
    )
    _put(message.move_time, movement.move_time)
    return message


def _put(field: Timestamp, time: datetime | None) -> None:
    if time is not None:
        field.FromDatetime(time)


def _get(message: Message, name: str) -> datetime | None:
    return moment(cast("Timestamp", getattr(message, name))) if message.HasField(name) else None


def _number(sequence: int | None, text: str) -> int:
    if sequence is None:
        raise ValueError(f"{text!r} is none of this tenant's ids")
    return sequence
