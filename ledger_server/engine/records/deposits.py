"""Owns the bytes of deposits in the journal, there and back."""

from defter.payments.v1 import payment_pb2 as pb

from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.knowledge import (
    Attempt,
    CallState,
    Capture,
    Dispute,
    DisputeState,
    Movement,
    Refund,
    RefundObject,
)
from ledger_server.engine.records.payment_parts import fee_messages, fees_of, number_of
from ledger_server.engine.records.times import moment, moment_in, put, timestamp


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
        fees=fee_messages(deposit.fees),
        captured_minor=deposit.captured,
        refunded_minor=deposit.refunded,
        disputed_minor=deposit.disputed,
        fee_minor=deposit.fee,
        balance_after_minor=deposit.balance_after,
        reference=deposit.reference,
        metadata=deposit.metadata,
        personal_ciphertext=deposit.personal,
        initiate_time=timestamp(deposit.initiate_time),
        update_time=timestamp(deposit.update_time),
    )
    for capture in deposit.captures:
        added = message.captures.add(
            provider_ref=capture.provider_ref,
            amount_minor=capture.amount,
            payment_ref=capture.payment_ref,
        )
        put(added.capture_time, capture.capture_time)
        put(added.fail_time, capture.fail_time)
    for attempt in deposit.attempts:
        tried = message.attempts.add(
            payment_ref=attempt.payment_ref,
            authorized=attempt.authorized,
            final=attempt.final,
            reason=attempt.reason,
            answered=attempt.answered,
        )
        put(tried.end_time, attempt.end_time)
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
            others=[_refund_object(each) for each in refund.others],
            hold_ended=refund.hold_ended,
            payment_ref=refund.payment_ref,
        )
        put(told.succeed_time, refund.succeed_time)
        put(told.fail_time, refund.fail_time)
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
        number=number_of(ids.deposit_sequence(message.deposit_id), message.deposit_id),
        player_id=message.player_id,
        provider=message.provider,
        provider_ref=message.provider_ref,
        amount=message.amount_minor,
        currency=message.currency_code,
        hold=number_of(ids.hold_sequence(message.hold_id), message.hold_id),
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
        attempts=tuple(
            Attempt(
                payment_ref=attempt.payment_ref,
                authorized=attempt.authorized,
                final=attempt.final,
                end_time=moment_in(attempt, "end_time"),
                reason=attempt.reason,
                answered=attempt.answered,
            )
            for attempt in message.attempts
        ),
        captures=tuple(
            Capture(
                provider_ref=capture.provider_ref,
                amount=capture.amount_minor,
                payment_ref=capture.payment_ref,
                capture_time=moment_in(capture, "capture_time"),
                fail_time=moment_in(capture, "fail_time"),
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
                succeed_time=moment_in(refund, "succeed_time"),
                fail_time=moment_in(refund, "fail_time"),
                others=tuple(
                    RefundObject(
                        provider_ref=each.provider_ref,
                        told=each.told_minor,
                        succeed_time=moment_in(each, "succeed_time"),
                        fail_time=moment_in(each, "fail_time"),
                        reason=each.reason,
                    )
                    for each in refund.others
                ),
                hold_ended=refund.hold_ended,
                payment_ref=refund.payment_ref,
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
                        move_time=moment_in(movement, "move_time"),
                    )
                    for movement in dispute.movements
                ),
            )
            for dispute in message.disputes
        ),
        fees=fees_of(message),
        personal=message.personal_ciphertext,
    )


def _movement(movement: Movement) -> pb.Dispute.Movement:
    message = pb.Dispute.Movement(
        stage=movement.stage, reinstated=movement.reinstated, amount_minor=movement.amount
    )
    put(message.move_time, movement.move_time)
    return message


def _refund_object(refund: RefundObject) -> pb.RefundObject:
    message = pb.RefundObject(provider_ref=refund.provider_ref, told_minor=refund.told, reason=refund.reason)
    put(message.succeed_time, refund.succeed_time)
    put(message.fail_time, refund.fail_time)
    return message
