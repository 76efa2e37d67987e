"""Owns the change of a payment: what new knowledge of it books, and the record of that."""

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
    """Book what follows from new knowledge of a deposit, and record it; `more` are further discrepancies."""
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
    """Book what follows from new knowledge of a withdrawal, and record it; `more`: further discrepancies."""
    # A hold that has ended is never placed again, even if another payout turns up that has not ended.
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
    """Return a refund that remembers the end of its hold: the hold stays over if another object turns up."""
    ended = refund.hold is not None and refund.state is not RefundState.PENDING
    return replace(refund, hold_ended=True) if ended else refund
