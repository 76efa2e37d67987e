"""Owns the bytes of adjustments and of their policy in the journal, there and back."""

from defter.ledger.v1 import adjustment_pb2 as pb
from defter.ledger.v1 import journal_pb2
from google.protobuf.message import Message

from ledger_server.domain.adjustments.adjustment import (
    Adjustment,
    AdjustmentPolicy,
    AdjustmentState,
    totals_of,
)
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.ledger.accounts import Direction
from ledger_server.domain.ledger.transactions import NewPosting
from ledger_server.domain.payments.withdrawal import Approval
from ledger_server.domain.state.facts import AdjustmentChanged, AdjustmentPolicySet, FactKind
from ledger_server.engine.records.payment_parts import number_of
from ledger_server.engine.records.times import moment, moment_in, put, timestamp

AdjustmentFact = AdjustmentChanged | AdjustmentPolicySet


def adjustment_content(ids: TenantIds, fact: AdjustmentFact) -> Message:
    """Return the message of an adjustment's fact."""
    if isinstance(fact, AdjustmentPolicySet):
        return adjustment_policy_message(fact.policy)
    return adjustment_message(ids, fact.adjustment)


def adjustment_fact(ids: TenantIds, record: journal_pb2.JournalRecord) -> AdjustmentFact:
    """Return an adjustment's fact as a record has it.

    Raises:
        ValueError: the record has none, or one with an id or number that has no meaning.
    """
    name = record.WhichOneof("fact")
    if name == "adjustment_policy_set":
        policy = adjustment_policy_of(record.adjustment_policy_set)
        return AdjustmentPolicySet(FactKind.ADJUSTMENT_POLICY_SET, policy)
    if name != "adjustment_changed":
        raise ValueError(f"{name!r} is no fact of adjustments")
    adjustment = adjustment_of(ids, record.adjustment_changed)
    return AdjustmentChanged(FactKind.ADJUSTMENT_CHANGED, adjustment)


def adjustment_message(ids: TenantIds, adjustment: Adjustment) -> pb.Adjustment:
    """Return an adjustment as callers see it."""
    message = pb.Adjustment(
        adjustment_id=ids.adjustment_id(adjustment.number),
        state=int(adjustment.state),  # type: ignore[arg-type]
        totals=[
            pb.AdjustmentTotal(currency_code=currency, amount_minor=total)
            for currency, total in totals_of(adjustment.postings).items()
        ],
        reason=adjustment.reason,
        description=adjustment.description,
        reference=adjustment.reference,
        metadata=adjustment.metadata,
        requester=adjustment.requester,
        requester_identity=adjustment.requester_identity,
        request_time=timestamp(adjustment.request_time),
        update_time=timestamp(adjustment.update_time),
        approvals=[
            pb.AdjustmentApproval(
                reviewer=approval.reviewer,
                identity=approval.identity,
                approve_time=timestamp(approval.time),
                note=approval.note,
            )
            for approval in adjustment.approvals
        ],
        rejected_by=adjustment.rejected_by,
        end_reason=adjustment.end_reason,
    )
    for posting in adjustment.postings:
        message.postings.add(
            account_id=posting.account_id,
            direction=int(posting.direction),
            amount_minor=posting.amount,
            currency_code=posting.currency,
        )
    put(message.effective_time, adjustment.effective_time)
    if adjustment.transaction is not None:
        message.transaction_id = ids.transaction_id(adjustment.transaction)
    return message


def adjustment_of(ids: TenantIds, message: pb.Adjustment) -> Adjustment:
    """Return the adjustment in a record or row; its totals follow from its postings."""
    transaction_id = message.transaction_id
    return Adjustment(
        number=number_of(ids.adjustment_sequence(message.adjustment_id), message.adjustment_id),
        state=AdjustmentState(message.state),
        postings=tuple(
            NewPosting(
                posting.account_id, Direction(posting.direction), posting.amount_minor, posting.currency_code
            )
            for posting in message.postings
        ),
        reason=message.reason,
        description=message.description,
        reference=message.reference,
        metadata=dict(message.metadata),
        effective_time=moment_in(message, "effective_time"),
        requester=message.requester,
        requester_identity=message.requester_identity,
        request_time=moment(message.request_time),
        update_time=moment(message.update_time),
        approvals=tuple(
            Approval(
                reviewer=approval.reviewer,
                time=moment(approval.approve_time),
                note=approval.note,
                identity=approval.identity,
            )
            for approval in message.approvals
        ),
        rejected_by=message.rejected_by,
        end_reason=message.end_reason,
        transaction=(
            number_of(ids.transaction_sequence(transaction_id), transaction_id) if transaction_id else None
        ),
    )


def adjustment_policy_message(policy: AdjustmentPolicy) -> pb.AdjustmentPolicy:
    """Return a policy as callers see it."""
    return pb.AdjustmentPolicy(second_review_from_minor=policy.second_review_from)


def adjustment_policy_of(message: pb.AdjustmentPolicy) -> AdjustmentPolicy:
    """Return the policy in a record or request."""
    return AdjustmentPolicy(second_review_from=dict(message.second_review_from_minor))
