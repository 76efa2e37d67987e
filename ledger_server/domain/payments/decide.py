"""Owns the decisions on payments: from (working set, command, now) to the facts that follow.

As in the ledger's own decisions, a refusal is raised before anything has changed, and facts that are
returned can be applied without a further check. What the outside reports is never refused (D9).
"""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple, TypeVar, cast

from msgspec.structs import replace

from ledger_server.domain.errors import (
    AccountNotFound,
    CallUnderWay,
    DepositNotFound,
    IllegalTransition,
    PlayerCancelNotAllowed,
    ProviderEventNotFound,
    ProviderRefTaken,
    RefundExceedsCaptured,
    Rejected,
    SecondReviewerRequired,
    WithdrawalNotFound,
)
from ledger_server.domain.facts import (
    DepositChanged,
    EventRecorded,
    Fact,
    FactKind,
    WithdrawalChanged,
    WithdrawalPolicySet,
)
from ledger_server.domain.payments import findings
from ledger_server.domain.payments.accounts import clearing_account, player_account
from ledger_server.domain.payments.booking import Booking, booking
from ledger_server.domain.payments.calls import (
    CallAccepted,
    CallBegun,
    CallKind,
    CallNews,
    CallRejected,
    OwedCall,
)
from ledger_server.domain.payments.commands import (
    ApproveWithdrawal,
    CancelWithdrawal,
    IngestEvent,
    InitiateDeposit,
    MarkWithdrawalPaid,
    PaymentCommand,
    RefundDeposit,
    RejectWithdrawal,
    ReplayEvent,
    ReportCall,
    RequestWithdrawal,
    SetWithdrawalPolicy,
    WithdrawalCommand,
)
from ledger_server.domain.payments.deposit import Deposit, DepositState
from ledger_server.domain.payments.effects import book_deposit, book_withdrawal
from ledger_server.domain.payments.events import (
    CannotApply,
    EventState,
    EventType,
    ProviderEvent,
    StoredEvent,
    merged_refunds,
    takes_effect,
    with_deposit_event,
    with_withdrawal_event,
)
from ledger_server.domain.payments.findings import Finding, FindingClass
from ledger_server.domain.payments.knowledge import CALL_STEPS, CallState, Refund, later
from ledger_server.domain.payments.withdrawal import (
    REVIEW_STEPS,
    Approval,
    Withdrawal,
    WithdrawalState,
)
from ledger_server.domain.transactions import TransactionType
from ledger_server.domain.working_set import WorkingSet


def decide_payment(working_set: WorkingSet, command: PaymentCommand, now: datetime) -> tuple[Fact, ...]:
    """Decide one payment command; the caller applies the facts, all or none.

    The last fact is the one that answers the caller; a report that brings no news has none.

    Raises:
        Rejected: a rule refuses the command; nothing was changed.
    """
    with booking(working_set, now) as facts:
        try:
            _DECIDERS[type(command)](facts, command)
        except Rejected:
            if isinstance(command, ReplayEvent) and not command.provider_event_id:
                # Nobody asked by an id: it stays parked, and trying again must not fill the journal.
                return ()
            raise
        return tuple(facts.facts)


def store_undecided(working_set: WorkingSet, command: IngestEvent, now: datetime) -> tuple[Fact, ...]:
    """Return the fact that an event came in, where deciding its effect has failed: it must not be lost."""
    with booking(working_set, now) as facts:
        _record(facts, command.event, _Applied(EventState.PARKED, None, "it could not be decided", ()))
        return tuple(facts.facts)


def _initiate(facts: Booking, command: InitiateDeposit) -> None:
    working_set = facts.working_set
    if command.provider_ref:
        taken = working_set.payment_by_ref(command.provider, command.provider_ref)
        if taken is not None:
            raise ProviderRefTaken(
                provider_ref=command.provider_ref, payment_id=working_set.payment_id(taken)
            )
    facts.open_accounts(command.provider, command.player_id, command.currency, player=True)
    player = player_account(command.player_id, command.currency)
    number = facts.next_number + 1
    hold = facts.hold(
        debit=clearing_account(command.provider, command.currency),
        credit=player,
        amount=command.amount,
        currency=command.currency,
        kind=TransactionType.DEPOSIT,
        of=working_set.ids.deposit_id(number),
    )
    owed = None
    if not command.provider_ref:
        owed = OwedCall(
            kind=CallKind.CREATE_PAYMENT, provider=command.provider, payment=number, subject=number
        )
    deposit = Deposit(
        number=number,
        player_id=command.player_id,
        provider=command.provider,
        provider_ref=command.provider_ref,
        amount=command.amount,
        currency=command.currency,
        hold=hold,
        call_state=CallState.PENDING if owed else CallState.NONE,
        reference=command.reference,
        metadata=command.metadata,
        initiate_time=facts.now,
        update_time=facts.now,
        balance_after=facts.available(player),
    )
    facts.add(DepositChanged(FactKind.DEPOSIT_CHANGED, deposit, owed))


def _refund(facts: Booking, command: RefundDeposit) -> None:
    working_set = facts.working_set
    deposit = _deposit(working_set, command.number, command.deposit_id)
    if deposit.state not in _REFUNDABLE:
        raise IllegalTransition(subject=command.deposit_id, **{"from": deposit.state.name, "to": "REFUNDED"})
    if command.amount > deposit.refundable:
        raise RefundExceedsCaptured(
            deposit_id=command.deposit_id,
            amount_minor=command.amount,
            refundable_minor=max(0, deposit.refundable),
        )
    number = facts.next_number + 1
    hold = facts.hold(
        debit=player_account(deposit.player_id, deposit.currency),
        credit=clearing_account(deposit.provider, deposit.currency),
        amount=command.amount,
        currency=deposit.currency,
        kind=TransactionType.REFUND,
        of=command.deposit_id,
    )
    refund = Refund(
        number=number, provider_ref="", amount=command.amount, hold=hold, call_state=CallState.PENDING
    )
    owed = OwedCall(kind=CallKind.REFUND, provider=deposit.provider, payment=deposit.number, subject=number)
    refunds = merged_refunds([*deposit.refunds, refund])
    _change_deposit(facts, deposit, replace(deposit, refunds=refunds), None, owed)


def _request(facts: Booking, command: RequestWithdrawal) -> None:
    working_set = facts.working_set
    player = player_account(command.player_id, command.currency)
    if working_set.account(player) is None:
        raise AccountNotFound(account_id=player)
    facts.open_accounts(command.provider, command.player_id, command.currency, player=False)
    number = facts.next_number + 1
    hold = facts.hold(
        debit=player,
        credit=clearing_account(command.provider, command.currency),
        amount=command.amount,
        currency=command.currency,
        kind=TransactionType.WITHDRAWAL,
        of=working_set.ids.withdrawal_id(number),
    )
    withdrawal = Withdrawal(
        number=number,
        player_id=command.player_id,
        provider=command.provider,
        provider_ref="",
        amount=command.amount,
        currency=command.currency,
        destination=command.destination,
        hold=hold,
        review=WithdrawalState.REQUESTED,
        call_state=CallState.NONE,
        reference=command.reference,
        metadata=command.metadata,
        request_time=facts.now,
        update_time=facts.now,
        balance_after=facts.available(player),
    )
    facts.add(WithdrawalChanged(FactKind.WITHDRAWAL_CHANGED, withdrawal))


def _approve(facts: Booking, command: ApproveWithdrawal) -> None:
    withdrawal = _reviewed(facts.working_set, command, WithdrawalState.APPROVED)
    if any(approval.reviewer == command.reviewer for approval in withdrawal.approvals):
        raise SecondReviewerRequired(withdrawal_id=command.withdrawal_id, reviewer=command.reviewer)
    approval = Approval(reviewer=command.reviewer, time=facts.now, note=command.note)
    approved = replace(withdrawal, approvals=(*withdrawal.approvals, approval), reviewer=command.reviewer)
    threshold = facts.working_set.policy.second_review_from.get(withdrawal.currency)
    needed = 2 if threshold is not None and withdrawal.amount >= threshold else 1
    owed = None
    if len(approved.approvals) >= needed:
        approved = replace(approved, review=WithdrawalState.APPROVED, call_state=CallState.PENDING)
        owed = OwedCall(
            kind=CallKind.CREATE_PAYOUT,
            provider=withdrawal.provider,
            payment=withdrawal.number,
            subject=withdrawal.number,
        )
    _change_withdrawal(facts, withdrawal, approved, None, owed)


def _reject(facts: Booking, command: RejectWithdrawal) -> None:
    withdrawal = _reviewed(facts.working_set, command, WithdrawalState.REJECTED)
    rejected = replace(
        withdrawal, review=WithdrawalState.REJECTED, reviewer=command.reviewer, reason=command.reason
    )
    _change_withdrawal(facts, withdrawal, rejected, None)


def _cancel(facts: Booking, command: CancelWithdrawal) -> None:
    withdrawal = _withdrawal(facts.working_set, command)
    if not facts.working_set.policy.player_may_cancel:
        raise PlayerCancelNotAllowed(withdrawal_id=command.withdrawal_id)
    _check_step(command.withdrawal_id, withdrawal, WithdrawalState.CANCELLED)
    cancelled = replace(withdrawal, review=WithdrawalState.CANCELLED, reason=command.reason)
    _change_withdrawal(facts, withdrawal, cancelled, None)


def _mark_paid(facts: Booking, command: MarkWithdrawalPaid) -> None:
    withdrawal = _reviewed(facts.working_set, command, WithdrawalState.PAID)
    if withdrawal.call_state is CallState.UNDER_WAY:
        # It may be paid by that very call, or not at all; nobody can say yet.
        raise CallUnderWay(withdrawal_id=command.withdrawal_id)
    if command.provider_ref:
        _check_ref_free(facts.working_set, withdrawal, command.provider_ref)
    call_state = withdrawal.call_state
    paid = replace(
        withdrawal,
        paid=withdrawal.amount,
        paid_time=later(withdrawal.paid_time, facts.now),
        provider_ref=command.provider_ref or withdrawal.provider_ref,
        reviewer=command.reviewer,
        # A call that was not begun must never be made: it would pay a second time.
        call_state=CallState.DROPPED if call_state is CallState.PENDING else call_state,
    )
    _change_withdrawal(facts, withdrawal, paid, None)


def _set_policy(facts: Booking, command: SetWithdrawalPolicy) -> None:
    facts.add(WithdrawalPolicySet(FactKind.WITHDRAWAL_POLICY_SET, command.policy))


def _ingest(facts: Booking, command: IngestEvent) -> None:
    event = command.event
    _record(facts, event, _apply(facts, event))


def _replay(facts: Booking, command: ReplayEvent) -> None:
    stored = None
    if command.number is not None:
        stored = facts.working_set.events[command.number].stored
    if stored is None:
        raise ProviderEventNotFound(provider_event_id=command.provider_event_id)
    count = len(facts.facts)
    state, payment, note, found = _apply(facts, stored.event)
    again = replace(
        stored,
        state=state,
        payment=payment,
        withdrawal=_is_withdrawal(facts.working_set, payment),
        note=note,
    )
    if again != stored or len(facts.facts) > count or command.provider_event_id:
        facts.add(EventRecorded(FactKind.PROVIDER_EVENT_RECORDED, again, found))


def _report(facts: Booking, command: ReportCall) -> None:
    entry = facts.working_set.payments[command.payment]
    payment = entry.payment
    if isinstance(payment, Withdrawal):
        state = _next_call_state(payment.call_state, command.news)
        if state is None:
            return
        _change_withdrawal(facts, payment, _told_withdrawal(payment, state, command.news), None)
    elif isinstance(payment, Deposit) and command.kind is CallKind.CREATE_PAYMENT:
        state = _next_call_state(payment.call_state, command.news)
        if state is None:
            return
        _change_deposit(facts, payment, _told_deposit(payment, state, command.news), None)
    elif isinstance(payment, Deposit):
        refund = next((each for each in payment.refunds if each.number == command.subject), None)
        state = None if refund is None else _next_call_state(refund.call_state, command.news)
        if refund is None or state is None:
            return
        others = [each for each in payment.refunds if each.number != command.subject]
        refunds = merged_refunds([*others, _told_refund(refund, state, command.news)])
        _change_deposit(facts, payment, replace(payment, refunds=refunds), None)


def _next_call_state(state: CallState, news: CallNews) -> CallState | None:
    """Return where a call goes by what the dispatcher says; None if that is no news."""
    told = _NEWS[type(news)]
    return told if told in CALL_STEPS[state] else None


def _told_deposit(deposit: Deposit, state: CallState, news: CallNews) -> Deposit:
    told = replace(deposit, call_state=state)
    if isinstance(news, CallAccepted):
        provider_ref = deposit.provider_ref or news.provider_ref
        return replace(told, provider_ref=provider_ref, payment_url=news.payment_url)
    if isinstance(news, CallRejected):
        return replace(told, failure_reason=max(deposit.failure_reason, news.reason))
    return told


def _told_withdrawal(withdrawal: Withdrawal, state: CallState, news: CallNews) -> Withdrawal:
    told = replace(withdrawal, call_state=state)
    if isinstance(news, CallAccepted):
        return replace(told, provider_ref=withdrawal.provider_ref or news.provider_ref)
    if isinstance(news, CallRejected):
        return replace(told, reason=max(withdrawal.reason, news.reason))
    return told


def _told_refund(refund: Refund, state: CallState, news: CallNews) -> Refund:
    told = replace(refund, call_state=state)
    if isinstance(news, CallAccepted):
        return replace(told, provider_ref=refund.provider_ref or news.provider_ref)
    if isinstance(news, CallRejected):
        return replace(told, reason=max(refund.reason, news.reason))
    return told


class _Applied(NamedTuple):
    """What became of an event."""

    state: EventState
    payment: int | None
    note: str
    findings: tuple[Finding, ...]


def _apply(facts: Booking, event: ProviderEvent) -> _Applied:
    """Let an event take effect on its payment; return what became of it."""
    if event.type is EventType.UNKNOWN:
        return _Applied(EventState.IGNORED, None, "", ())
    payment = _payment_of(facts.working_set, event)
    if payment is None:
        return _Applied(EventState.PARKED, None, "its payment is not known", ())
    if event.currency and event.currency != payment.currency:
        wrong = {"event_currency_code": event.currency, "event_id": event.event_id}
        found = findings.contradiction(FindingClass.CURRENCY_MISMATCH, payment, wrong)
        return _Applied(
            EventState.CONTRADICTED, payment.number, "the currency is not the payment's", (found,)
        )
    try:
        if isinstance(payment, Deposit):
            learned = with_deposit_event(payment, event)
            if learned != payment:
                _change_deposit(facts, payment, learned, event.occur_time)
            if not takes_effect(learned, event):
                return _Applied(EventState.PARKED, payment.number, "no capture is known yet", ())
        else:
            told = with_withdrawal_event(payment, event)
            if told != payment:
                _change_withdrawal(facts, payment, told, event.occur_time)
    except CannotApply as wrong_event:
        why = {"why": str(wrong_event), "event_id": event.event_id, "provider_type": event.provider_type}
        kind = FindingClass.AMOUNT_MISMATCH if event.problem else FindingClass.STATUS_MISMATCH
        found = findings.contradiction(kind, payment, why)
        return _Applied(EventState.CONTRADICTED, payment.number, str(wrong_event), (found,))
    return _Applied(EventState.APPLIED, payment.number, "", ())


def _payment_of(working_set: WorkingSet, event: ProviderEvent) -> Deposit | Withdrawal | None:
    """Return an event's payment: by our id as the provider echoes it, else by the provider's ref."""
    if event.payment is not None:
        payment = working_set.payments[event.payment].payment
        # An id of another provider account's payment proves nothing.
        if payment is not None and payment.provider == event.provider:
            return payment
    if event.payment_ref:
        number = working_set.payment_by_ref(event.provider, event.payment_ref)
        if number is not None:
            return working_set.payments[number].payment
    return None


def _record(facts: Booking, event: ProviderEvent, applied: _Applied) -> None:
    stored = StoredEvent(
        number=facts.next_number,
        event=event,
        state=applied.state,
        payment=applied.payment,
        withdrawal=_is_withdrawal(facts.working_set, applied.payment),
        note=applied.note,
        receive_time=facts.now,
        payload_digest=hashlib.sha256(event.payload).digest(),
    )
    facts.add(EventRecorded(FactKind.PROVIDER_EVENT_RECORDED, stored, applied.findings))


def _check_ref_free(working_set: WorkingSet, payment: Deposit | Withdrawal, provider_ref: str) -> None:
    taken = working_set.payment_by_ref(payment.provider, provider_ref)
    if taken is not None and taken != payment.number:
        raise ProviderRefTaken(provider_ref=provider_ref, payment_id=working_set.payment_id(taken))


def _is_withdrawal(working_set: WorkingSet, payment: int | None) -> bool:
    return payment is not None and isinstance(working_set.payments[payment].payment, Withdrawal)


def _change_deposit(
    facts: Booking,
    before: Deposit,
    after: Deposit,
    effective_time: datetime | None,
    owed: OwedCall | None = None,
) -> None:
    player = player_account(after.player_id, after.currency)
    had = facts.available(player)
    book_deposit(facts, before, after, effective_time)
    found = findings.of_deposit(after) if after != before else ()
    if facts.overdrawn(player, had):
        found = (*found, findings.overdrawn(after, facts.available(player)))
    changed = replace(after, update_time=facts.now, balance_after=facts.available(player))
    facts.add(DepositChanged(FactKind.DEPOSIT_CHANGED, changed, owed, found))


def _change_withdrawal(
    facts: Booking,
    before: Withdrawal,
    after: Withdrawal,
    effective_time: datetime | None,
    owed: OwedCall | None = None,
) -> None:
    player = player_account(after.player_id, after.currency)
    had = facts.available(player)
    book_withdrawal(facts, before, after, effective_time)
    found = findings.of_withdrawal(after)
    if facts.overdrawn(player, had):
        found = (*found, findings.overdrawn(after, facts.available(player)))
    changed = replace(after, update_time=facts.now, balance_after=facts.available(player))
    facts.add(WithdrawalChanged(FactKind.WITHDRAWAL_CHANGED, changed, owed, found))


def _deposit(working_set: WorkingSet, number: int | None, deposit_id: str) -> Deposit:
    payment = working_set.payments[number].payment if number is not None else None
    if not isinstance(payment, Deposit):
        raise DepositNotFound(deposit_id=deposit_id)
    return payment


def _withdrawal(working_set: WorkingSet, command: WithdrawalCommand) -> Withdrawal:
    payment = working_set.payments[command.number].payment if command.number is not None else None
    if not isinstance(payment, Withdrawal):
        raise WithdrawalNotFound(withdrawal_id=command.withdrawal_id)
    return payment


def _reviewed(working_set: WorkingSet, command: WithdrawalCommand, to: WithdrawalState) -> Withdrawal:
    withdrawal = _withdrawal(working_set, command)
    _check_step(command.withdrawal_id, withdrawal, to)
    return withdrawal


def _check_step(withdrawal_id: str, withdrawal: Withdrawal, to: WithdrawalState) -> None:
    if to not in REVIEW_STEPS.get(withdrawal.state, ()):
        raise IllegalTransition(subject=withdrawal_id, **{"from": withdrawal.state.name, "to": to.name})


_REFUNDABLE: Final = frozenset(
    {DepositState.CAPTURED, DepositState.PARTIALLY_REFUNDED, DepositState.REVERSED}
)
_NEWS: Final = {
    CallBegun: CallState.UNDER_WAY,
    CallAccepted: CallState.ACCEPTED,
    CallRejected: CallState.REJECTED,
}

_Decide = TypeVar("_Decide", bound=Callable[..., None])


def _table(*deciders: tuple[type[object], _Decide]) -> dict[type[object], Callable[[Booking, object], None]]:
    return {command: cast("Callable[[Booking, object], None]", decide) for command, decide in deciders}


_DECIDERS: Final = _table(
    (InitiateDeposit, _initiate),
    (RefundDeposit, _refund),
    (RequestWithdrawal, _request),
    (ApproveWithdrawal, _approve),
    (RejectWithdrawal, _reject),
    (CancelWithdrawal, _cancel),
    (MarkWithdrawalPaid, _mark_paid),
    (SetWithdrawalPolicy, _set_policy),
    (IngestEvent, _ingest),
    (ReplayEvent, _replay),
    (ReportCall, _report),
)
