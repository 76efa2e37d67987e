"""Owns the bytes of withdrawals and of their policy in the journal, there and back."""

from defter.payments.v1 import payment_pb2 as pb

from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.knowledge import CallState
from ledger_server.domain.payments.withdrawal import Approval, Withdrawal, WithdrawalPolicy, WithdrawalState
from ledger_server.engine.payment_parts import fee_messages, fees_of, number_of
from ledger_server.engine.times import moment, moment_in, put, timestamp


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
        fees=fee_messages(withdrawal.fees),
        balance_after_minor=withdrawal.balance_after,
        reference=withdrawal.reference,
        metadata=withdrawal.metadata,
        request_time=timestamp(withdrawal.request_time),
        update_time=timestamp(withdrawal.update_time),
    )
    put(message.approve_time, withdrawal.approve_time)
    put(message.paid_time, withdrawal.paid_time)
    put(message.fail_time, withdrawal.fail_time)
    return message


def withdrawal_of(ids: TenantIds, message: pb.Withdrawal) -> Withdrawal:
    """Return the withdrawal in a record or row."""
    return Withdrawal(
        number=number_of(ids.withdrawal_sequence(message.withdrawal_id), message.withdrawal_id),
        player_id=message.player_id,
        provider=message.provider,
        provider_ref=message.provider_ref,
        amount=message.amount_minor,
        currency=message.currency_code,
        destination=message.destination,
        hold=number_of(ids.hold_sequence(message.hold_id), message.hold_id),
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
        paid_time=moment_in(message, "paid_time"),
        fail_time=moment_in(message, "fail_time"),
        fees=fees_of(message),
    )


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
