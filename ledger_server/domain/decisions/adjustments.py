"""Owns the decisions on adjustments: from (working set, command, now) to the facts that follow.

An adjustment is posted by the ledger's own rule, as if somebody had asked for that transaction at that
moment. A refusal is raised before anything has changed, so it leaves the adjustment as it was.
"""

from datetime import datetime
from typing import assert_never

from msgspec.structs import replace

from ledger_server.domain.adjustments.adjustment import (
    STEPS,
    Adjustment,
    AdjustmentState,
    approved,
    needs_second,
)
from ledger_server.domain.adjustments.commands import (
    AdjustmentCommand,
    AdjustmentStep,
    ApproveAdjustment,
    CancelAdjustment,
    RejectAdjustment,
    RequestAdjustment,
    SetAdjustmentPolicy,
)
from ledger_server.domain.decisions.ledger import check_for_good, decide_ledger
from ledger_server.domain.decisions.payments.booking import Booking, booking
from ledger_server.domain.errors import (
    AdjustmentNotFound,
    AdjustmentStateMismatch,
    IllegalTransition,
    RequesterRequired,
    SecondPersonRequired,
)
from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.domain.payments.withdrawal import Approval
from ledger_server.domain.state.commands import PostTransaction
from ledger_server.domain.state.facts import AdjustmentChanged, AdjustmentPolicySet, Fact, FactKind
from ledger_server.domain.state.working_set import WorkingSet


def decide_adjustment(working_set: WorkingSet, command: AdjustmentCommand, now: datetime) -> tuple[Fact, ...]:
    """Decide one command; the last fact answers the caller, and a posted transaction stands before it.

    Raises:
        Rejected: a rule refuses the command; nothing was changed.
    """
    with booking(working_set, now) as facts:
        match command:
            case RequestAdjustment():
                _request(facts, command)
            case ApproveAdjustment():
                _approve(facts, command)
            case RejectAdjustment():
                known = _expected(working_set, command, AdjustmentState.REJECTED)
                _end(facts, known, AdjustmentState.REJECTED, command.reason, rejected_by=command.reviewer)
            case CancelAdjustment():
                _cancel(facts, command)
            case SetAdjustmentPolicy(policy=policy):
                facts.add(AdjustmentPolicySet(FactKind.ADJUSTMENT_POLICY_SET, policy))
            case _:
                assert_never(command)
        return tuple(facts.facts)


def _request(facts: Booking, command: RequestAdjustment) -> None:
    working_set = facts.working_set
    # Nobody should wait for a second person in vain. Whatever may have changed by then is looked at then.
    check_for_good(working_set, command.postings)
    asked = Adjustment(
        number=facts.next_number,
        state=AdjustmentState.REQUESTED,
        postings=command.postings,
        reason=command.reason,
        description=command.description,
        reference=command.reference,
        metadata=command.metadata,
        effective_time=command.effective_time,
        requester=command.actor,
        requester_identity=command.identity,
        request_time=facts.now,
        update_time=facts.now,
        approvals=(),
        rejected_by="",
        end_reason="",
        transaction=None,
    )
    if needs_second(working_set.adjustment_policy, command.postings):
        _add(facts, asked)
    else:
        # Its own record comes right behind the transaction's.
        _post(facts, replace(asked, number=facts.next_number + 1))


def _approve(facts: Booking, command: ApproveAdjustment) -> None:
    adjustment = _expected(facts.working_set, command, AdjustmentState.POSTED)
    result = approved(
        adjustment,
        Approval(reviewer=command.reviewer, time=facts.now, note=command.note, identity=command.identity),
    )
    if result is None:
        raise SecondPersonRequired(adjustment_id=command.adjustment_id, reviewer=command.reviewer)
    after, enough = result
    if enough:
        _post(facts, after)
    else:
        _add(facts, after)


def _cancel(facts: Booking, command: CancelAdjustment) -> None:
    adjustment = _expected(facts.working_set, command, AdjustmentState.CANCELLED)
    if not adjustment.is_of(command.actor):
        raise RequesterRequired(adjustment_id=command.adjustment_id, actor=command.actor)
    _end(facts, adjustment, AdjustmentState.CANCELLED, command.reason, rejected_by="")


def _post(facts: Booking, adjustment: Adjustment) -> None:
    transaction = facts.next_number
    posting = PostTransaction(
        TransactionType.ADJUSTMENT,
        adjustment.postings,
        adjustment.reference,
        adjustment.effective_time,
        adjustment.metadata,
        adjustment=adjustment.number,
    )
    facts.add(decide_ledger(facts.working_set, posting, facts.now))
    _add(facts, replace(adjustment, state=AdjustmentState.POSTED, transaction=transaction))


def _end(
    facts: Booking, adjustment: Adjustment, state: AdjustmentState, reason: str, *, rejected_by: str
) -> None:
    ended = replace(
        adjustment, state=state, end_reason=reason, rejected_by=rejected_by, update_time=facts.now
    )
    _add(facts, ended)


def _add(facts: Booking, adjustment: Adjustment) -> None:
    facts.add(AdjustmentChanged(FactKind.ADJUSTMENT_CHANGED, adjustment))


def _expected(working_set: WorkingSet, command: AdjustmentStep, to: AdjustmentState) -> Adjustment:
    """Return the adjustment that a step names, if it is as it was seen and may take that step."""
    known = working_set.adjustments[command.number].adjustment if command.number is not None else None
    if known is None:
        raise AdjustmentNotFound(adjustment_id=command.adjustment_id)
    expected = command.expected
    if expected is not None and expected is not known.state:
        raise AdjustmentStateMismatch(
            adjustment_id=command.adjustment_id, state=known.state.name, expected_state=expected.name
        )
    if to not in STEPS[known.state]:
        raise IllegalTransition(subject=command.adjustment_id, **{"from": known.state.name, "to": to.name})
    return known
