"""Owns the bytes of withdrawals and of their policy in the journal, there and back."""

from defter.payments.v1 import payment_pb2 as pb

from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.knowledge import CallState, later
from ledger_server.domain.payments.withdrawal import (
    NO_PAYOUT,
    Approval,
    Claim,
    Payout,
    ReviewNote,
    Withdrawal,
    WithdrawalPolicy,
    WithdrawalState,
)
from ledger_server.engine.records.payment_parts import fee_messages, fees_of, number_of
from ledger_server.engine.records.times import moment, moment_in, put, timestamp


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
            pb.Approval(
                reviewer=approval.reviewer,
                approve_time=timestamp(approval.time),
                note=approval.note,
                identity=approval.identity,
            )
            for approval in withdrawal.approvals
        ],
        reviewer=withdrawal.reviewer,
        reason=withdrawal.reason,
        paid_minor=withdrawal.paid_in_all,
        debited_minor=withdrawal.debited,
        fee_minor=withdrawal.fee,
        fees=fee_messages(withdrawal.fees),
        balance_after_minor=withdrawal.balance_after,
        reference=withdrawal.reference,
        metadata=withdrawal.metadata,
        personal_ciphertext=withdrawal.personal,
        request_time=timestamp(withdrawal.request_time),
        update_time=timestamp(withdrawal.update_time),
        hold_ended=withdrawal.hold_ended,
        claim=None if withdrawal.claim is None else _claim_message(withdrawal.claim),
        notes=[
            pb.WithdrawalNote(
                reviewer=note.reviewer,
                identity=note.identity,
                note_time=timestamp(note.time),
                text=note.text,
            )
            for note in withdrawal.notes
        ],
    )
    put(message.approve_time, withdrawal.approve_time)
    for payout in withdrawal.objects:
        put(message.paid_time, later(moment_in(message, "paid_time"), payout.paid_time))
        put(message.fail_time, later(moment_in(message, "fail_time"), payout.fail_time))
    message.payouts.extend(_payout_message(payout) for payout in _recorded(withdrawal))
    return message


def withdrawal_of(ids: TenantIds, message: pb.Withdrawal) -> Withdrawal:
    """Return the withdrawal in a record or row."""
    payouts = {payout.provider_ref: _payout_of(payout) for payout in message.payouts}
    unnamed = payouts.pop("", _unnamed(message))
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
            Approval(
                reviewer=approval.reviewer,
                time=moment(approval.approve_time),
                note=approval.note,
                identity=approval.identity,
            )
            for approval in message.approvals
        ),
        reviewer=message.reviewer,
        reason=message.reason,
        paid=unnamed.amount,
        paid_time=unnamed.paid_time,
        fail_time=unnamed.fail_time,
        payouts=tuple(payouts.values()),
        hold_ended=message.hold_ended,
        fees=fees_of(message),
        personal=message.personal_ciphertext,
        claim=_claim_of(message.claim) if message.HasField("claim") else None,
        notes=tuple(
            ReviewNote(
                reviewer=note.reviewer,
                identity=note.identity,
                time=moment(note.note_time),
                text=note.text,
            )
            for note in message.notes
        ),
    )


def _claim_message(claim: Claim) -> pb.WithdrawalClaim:
    return pb.WithdrawalClaim(
        reviewer=claim.reviewer,
        identity=claim.identity,
        claim_time=timestamp(claim.time),
        expire_time=timestamp(claim.expire_time),
    )


def _claim_of(message: pb.WithdrawalClaim) -> Claim:
    return Claim(
        reviewer=message.reviewer,
        identity=message.identity,
        time=moment(message.claim_time),
        expire_time=moment(message.expire_time),
    )


def _recorded(withdrawal: Withdrawal) -> tuple[Payout, ...]:
    """Return the payouts that are recorded one by one.

    If no payout was named, the withdrawal's own fields have everything, as before payouts were told apart.
    """
    unnamed = withdrawal.unnamed
    if not withdrawal.payouts or unnamed == NO_PAYOUT:
        return withdrawal.payouts
    return (unnamed, *withdrawal.payouts)


def _unnamed(message: pb.Withdrawal) -> Payout:
    if message.payouts:
        return NO_PAYOUT
    return Payout(
        provider_ref="",
        amount=message.paid_minor,
        paid_time=moment_in(message, "paid_time"),
        fail_time=moment_in(message, "fail_time"),
        answered=False,
        by_hand=False,
    )


def _payout_message(payout: Payout) -> pb.Payout:
    message = pb.Payout(
        provider_ref=payout.provider_ref,
        amount_minor=payout.amount,
        answered=payout.answered,
        by_hand=payout.by_hand,
    )
    put(message.paid_time, payout.paid_time)
    put(message.fail_time, payout.fail_time)
    return message


def _payout_of(message: pb.Payout) -> Payout:
    return Payout(
        provider_ref=message.provider_ref,
        amount=message.amount_minor,
        paid_time=moment_in(message, "paid_time"),
        fail_time=moment_in(message, "fail_time"),
        answered=message.answered,
        by_hand=message.by_hand,
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
