"""Owns how a payment that has learned something is booked and recorded."""

from datetime import datetime

from msgspec.structs import replace

from ledger_server.domain.decisions.payments import findings
from ledger_server.domain.decisions.payments.booking import Booking
from ledger_server.domain.decisions.payments.effects import book_deposit, book_withdrawal
from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.payments.accounts import player_account
from ledger_server.domain.payments.calls import OwedCall
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.knowledge import Refund, RefundState
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.state.facts import DepositChanged, FactKind, WithdrawalChanged


def change_deposit(
    facts: Booking,
    before: Deposit,
    after: Deposit,
    effective_time: datetime | None,
    owed: OwedCall | None = None,
    *,
    more: tuple[Discrepancy, ...] = (),
) -> None:
    """Book what follows from what a deposit has learned, and record it; `more` is found besides."""
    after = replace(after, refunds=tuple(_with_hold_ended(refund) for refund in after.refunds))
    player = player_account(after.player_id, after.currency)
    had = facts.available(player)
    book_deposit(facts, before, after, effective_time)
    ids = facts.working_set.ids
    found = (*findings.news(findings.of_deposit(ids, before), findings.of_deposit(ids, after)), *more)
    if facts.overdrawn(player, had):
        found = (*found, findings.overdrawn(facts.working_set.ids, after, facts.available(player)))
    changed = replace(after, update_time=facts.now, balance_after=facts.available(player))
    facts.add(DepositChanged(FactKind.DEPOSIT_CHANGED, changed, owed, found))


def change_withdrawal(
    facts: Booking,
    before: Withdrawal,
    after: Withdrawal,
    effective_time: datetime | None,
    owed: OwedCall | None = None,
    *,
    more: tuple[Discrepancy, ...] = (),
) -> None:
    """Book what follows from what a withdrawal has learned, and record it; `more` is found besides."""
    # What was let go is not held again, even where another payout turns up that has not ended.
    after = replace(after, hold_ended=not before.pending or not after.pending)
    player = player_account(after.player_id, after.currency)
    had = facts.available(player)
    book_withdrawal(facts, before, after, effective_time)
    ids = facts.working_set.ids
    found = (*findings.news(findings.of_withdrawal(ids, before), findings.of_withdrawal(ids, after)), *more)
    if facts.overdrawn(player, had):
        found = (*found, findings.overdrawn(facts.working_set.ids, after, facts.available(player)))
    changed = replace(after, update_time=facts.now, balance_after=facts.available(player))
    facts.add(WithdrawalChanged(FactKind.WITHDRAWAL_CHANGED, changed, owed, found))


def _with_hold_ended(refund: Refund) -> Refund:
    """Return a refund that knows when its hold is over: even if another object turns up, it stays so."""
    ended = refund.hold is not None and refund.state is not RefundState.PENDING
    return replace(refund, hold_ended=True) if ended else refund
