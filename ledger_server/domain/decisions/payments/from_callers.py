"""Owns the decisions that callers ask for on payments: checked strictly, each refusal with its reason.

As in the ledger's own decisions, a refusal is raised before anything has changed.
"""

from typing import Final

from msgspec.structs import replace

from ledger_server.domain.decisions.payments.booking import Booking
from ledger_server.domain.decisions.payments.changes import change_deposit, change_withdrawal
from ledger_server.domain.errors import (
    AccountNotFound,
    BegunDepositsTooLarge,
    CallUnderWay,
    DepositNotFound,
    ForgottenPlayer,
    IllegalTransition,
    PlayerCancelNotAllowed,
    ProviderRefTaken,
    RefundExceedsCaptured,
    SecondReviewerRequired,
    TooManyNotes,
    WithdrawalClaimed,
    WithdrawalNotFound,
    WithdrawalStateMismatch,
)
from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.domain.payments.accounts import clearing_account, player_account
from ledger_server.domain.payments.calls import CallKind, OwedCall
from ledger_server.domain.payments.commands import (
    ANY,
    AddWithdrawalNote,
    ApproveWithdrawal,
    CancelWithdrawal,
    ClaimWithdrawal,
    InitiateDeposit,
    MarkWithdrawalPaid,
    RefundDeposit,
    RejectWithdrawal,
    RequestWithdrawal,
    Seen,
    SetWithdrawalPolicy,
    WithdrawalCommand,
)
from ledger_server.domain.payments.deposit import Deposit, DepositState
from ledger_server.domain.payments.knowledge import CallState, Refund
from ledger_server.domain.payments.refunds import merged_refunds
from ledger_server.domain.payments.withdrawal import (
    MAX_NOTES,
    REVIEW_STEPS,
    Approval,
    Claim,
    Payout,
    ReviewNote,
    Withdrawal,
    WithdrawalState,
    counted,
    with_payout,
)
from ledger_server.domain.state.facts import DepositChanged, FactKind, WithdrawalChanged, WithdrawalPolicySet
from ledger_server.domain.state.working_set import WorkingSet


def initiate(facts: Booking, command: InitiateDeposit) -> None:
    """Begin a deposit."""
    if command.forgotten:
        raise ForgottenPlayer(player_id=command.player_id)
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
        expire_time=None if command.hold_for is None else facts.now + command.hold_for,
    )
    _check_pending(working_set, player, command.max_pending)
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
        authorized=False,
        closed=False,
        failed=False,
        failure_reason="",
        payment_url="",
        payment_ref="",
        attempts=(),
        captures=(),
        refunds=(),
        disputes=(),
        fees=(),
        personal=command.personal,
    )
    facts.add(DepositChanged(FactKind.DEPOSIT_CHANGED, deposit, owed, discrepancies=()))


def refund(facts: Booking, command: RefundDeposit) -> None:
    """Ask for a refund of a deposit: hold the money and owe the call."""
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
        number=number,
        provider_ref="",
        amount=command.amount,
        hold=hold,
        call_state=CallState.PENDING,
        told=0,
        reason="",
        succeed_time=None,
        fail_time=None,
        others=(),
        hold_ended=False,
        payment_ref="",
    )
    owed = OwedCall(kind=CallKind.REFUND, provider=deposit.provider, payment=deposit.number, subject=number)
    refunds = merged_refunds([*deposit.refunds, refund])
    change_deposit(facts, deposit, replace(deposit, refunds=refunds), None, owed)


def request(facts: Booking, command: RequestWithdrawal) -> None:
    """Hold money for a withdrawal."""
    if command.forgotten:
        raise ForgottenPlayer(player_id=command.player_id)
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
        approvals=(),
        reviewer="",
        reason="",
        paid=0,
        paid_time=None,
        fail_time=None,
        payouts=(),
        hold_ended=False,
        fees=(),
        personal=command.personal,
        claim=None,
        notes=(),
    )
    facts.add(WithdrawalChanged(FactKind.WITHDRAWAL_CHANGED, withdrawal, owed=None, discrepancies=()))


def approve(facts: Booking, command: ApproveWithdrawal) -> None:
    """Let a withdrawal pass, or note the first of two approvals."""
    withdrawal = _reviewed(facts.working_set, command, WithdrawalState.APPROVED, command.seen)
    before = counted(withdrawal.approvals, proved=bool(command.identity))
    if any(approval.is_of(command.reviewer) for approval in before):
        raise SecondReviewerRequired(withdrawal_id=command.withdrawal_id, reviewer=command.reviewer)
    approval = Approval(
        reviewer=command.reviewer, time=facts.now, note=command.note, identity=command.identity
    )
    approved = replace(withdrawal, approvals=(*withdrawal.approvals, approval), reviewer=command.reviewer)
    # From here on the provider is told to pay, and what it tells then lands whatever the accounts are. This
    # is the last moment to notice that they are wrong, or that somebody has frozen them.
    accounts = (
        player_account(withdrawal.player_id, withdrawal.currency),
        clearing_account(withdrawal.provider, withdrawal.currency),
    )
    facts.check_accounts(withdrawal.currency, *accounts)
    facts.check_unfrozen(*accounts)
    threshold = facts.working_set.policy.second_review_from.get(withdrawal.currency)
    needed = 2 if threshold is not None and withdrawal.amount >= threshold else 1
    owed = None
    if len(before) + 1 >= needed:
        approved = replace(approved, review=WithdrawalState.APPROVED, call_state=CallState.PENDING)
        owed = OwedCall(
            kind=CallKind.CREATE_PAYOUT,
            provider=withdrawal.provider,
            payment=withdrawal.number,
            subject=withdrawal.number,
        )
    change_withdrawal(facts, withdrawal, approved, None, owed)


def reject(facts: Booking, command: RejectWithdrawal) -> None:
    """Refuse a withdrawal."""
    withdrawal = _reviewed(facts.working_set, command, WithdrawalState.REJECTED, command.seen)
    rejected = replace(
        withdrawal, review=WithdrawalState.REJECTED, reviewer=command.reviewer, reason=command.reason
    )
    change_withdrawal(facts, withdrawal, rejected, None)


def cancel(facts: Booking, command: CancelWithdrawal) -> None:
    """Take a withdrawal back for the player."""
    withdrawal = _withdrawal(facts.working_set, command)
    if not facts.working_set.policy.player_may_cancel:
        raise PlayerCancelNotAllowed(withdrawal_id=command.withdrawal_id)
    _check_step(command.withdrawal_id, withdrawal, WithdrawalState.CANCELLED)
    cancelled = replace(withdrawal, review=WithdrawalState.CANCELLED, reason=command.reason)
    change_withdrawal(facts, withdrawal, cancelled, None)


def mark_paid(facts: Booking, command: MarkWithdrawalPaid) -> None:
    """Record by hand that a withdrawal is paid."""
    withdrawal = _reviewed(facts.working_set, command, WithdrawalState.PAID)
    if withdrawal.call_state is CallState.UNDER_WAY:
        # The call under way may pay the withdrawal or not; nobody can say yet.
        raise CallUnderWay(withdrawal_id=command.withdrawal_id)
    if command.provider_ref:
        _check_ref_free(facts.working_set, withdrawal, command.provider_ref)
    call_state = withdrawal.call_state
    # A payout with another id than the known one stands by itself, whatever becomes of the provider's own
    # payout.
    payout = Payout(
        provider_ref=command.provider_ref,
        amount=withdrawal.amount,
        paid_time=facts.now,
        by_hand=bool(command.provider_ref),
        fail_time=None,
        answered=False,
    )
    paid = replace(
        with_payout(withdrawal, payout),
        reviewer=command.reviewer,
        # A call that has not begun must never be made now: it would pay a second time.
        call_state=CallState.DROPPED if call_state is CallState.PENDING else call_state,
    )
    change_withdrawal(facts, withdrawal, paid, None)


def claim(facts: Booking, command: ClaimWithdrawal) -> None:
    """Say who works on a withdrawal, or that nobody does."""
    withdrawal = _withdrawal(facts.working_set, command)
    if withdrawal.state not in _CLAIMABLE:
        raise IllegalTransition(
            subject=command.withdrawal_id, **{"from": withdrawal.state.name, "to": "CLAIMED"}
        )
    present = withdrawal.claim
    if present is not None and present.holds_against(command.reviewer, facts.now) and not command.take_over:
        raise WithdrawalClaimed(
            withdrawal_id=command.withdrawal_id,
            reviewer=present.reviewer,
            expire_time=present.expire_time.isoformat(),
        )
    claimed = None
    if command.claim_for is not None:
        claimed = Claim(
            reviewer=command.reviewer,
            identity=command.identity,
            time=facts.now,
            expire_time=facts.now + command.claim_for,
        )
    change_withdrawal(facts, withdrawal, replace(withdrawal, claim=claimed), None)


def add_note(facts: Booking, command: AddWithdrawalNote) -> None:
    """Add a note to a withdrawal, whatever its state."""
    withdrawal = _withdrawal(facts.working_set, command)
    if len(withdrawal.notes) >= MAX_NOTES:
        raise TooManyNotes(withdrawal_id=command.withdrawal_id, limit=MAX_NOTES)
    note = ReviewNote(reviewer=command.reviewer, identity=command.identity, time=facts.now, text=command.text)
    change_withdrawal(facts, withdrawal, replace(withdrawal, notes=(*withdrawal.notes, note)), None)


def set_policy(facts: Booking, command: SetWithdrawalPolicy) -> None:
    """Replace what the tenant demands of withdrawals."""
    facts.add(WithdrawalPolicySet(FactKind.WITHDRAWAL_POLICY_SET, command.policy))


def _check_pending(working_set: WorkingSet, player: str, most: int | None) -> None:
    """Keep one player's begun deposits from using up the counters of the shared clearing account."""
    entry = working_set.account(player)
    if most is None or entry is None:
        return
    pending = entry.counters.pending_credits
    if pending > most:
        raise BegunDepositsTooLarge(account_id=player, pending_minor=pending, max_pending_minor=most)


def _check_ref_free(working_set: WorkingSet, payment: Deposit | Withdrawal, provider_ref: str) -> None:
    taken = working_set.payment_by_ref(payment.provider, provider_ref)
    if taken is not None and taken != payment.number:
        raise ProviderRefTaken(provider_ref=provider_ref, payment_id=working_set.payment_id(taken))


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


def _reviewed(
    working_set: WorkingSet, command: WithdrawalCommand, to: WithdrawalState, seen: Seen = ANY
) -> Withdrawal:
    withdrawal = _withdrawal(working_set, command)
    _check_seen(command.withdrawal_id, withdrawal, seen)
    _check_step(command.withdrawal_id, withdrawal, to)
    return withdrawal


def _check_seen(withdrawal_id: str, withdrawal: Withdrawal, seen: Seen) -> None:
    """Keep a reviewer from deciding about what a colleague has changed meanwhile."""
    approvals = len(withdrawal.approvals)
    if seen.state not in (None, withdrawal.state) or seen.approvals not in (None, approvals):
        raise WithdrawalStateMismatch(
            withdrawal_id=withdrawal_id,
            state=withdrawal.state.name,
            approvals=approvals,
            expected_state="" if seen.state is None else seen.state.name,
            expected_approvals="" if seen.approvals is None else seen.approvals,
        )


def _check_step(withdrawal_id: str, withdrawal: Withdrawal, to: WithdrawalState) -> None:
    if to not in REVIEW_STEPS.get(withdrawal.state, ()):
        raise IllegalTransition(subject=withdrawal_id, **{"from": withdrawal.state.name, "to": to.name})


_CLAIMABLE: Final = frozenset({WithdrawalState.REQUESTED, WithdrawalState.APPROVED})

_REFUNDABLE: Final = frozenset(
    {DepositState.CAPTURED, DepositState.PARTIALLY_REFUNDED, DepositState.REVERSED}
)
