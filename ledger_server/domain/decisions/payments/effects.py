"""Owns the money that new knowledge moves: what follows now, less what was booked before.

Every booked amount of a payment follows from what is known of it. So a step books the difference between two
states of knowledge, whatever events came in between and in whichever order. Source: decision 7.
"""

from collections.abc import Mapping
from datetime import datetime

from ledger_server.domain.decisions.payments.booking import Booking, Payment
from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.domain.payments.accounts import clearing_account, fee_account, player_account
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.knowledge import Refund, RefundState
from ledger_server.domain.payments.withdrawal import Withdrawal


def book_deposit(booking: Booking, before: Deposit, after: Deposit, effective_time: datetime | None) -> None:
    """Move what a deposit's new knowledge asks for.

    Args:
        effective_time: when it happened at the provider; None: when it is recorded.
    """
    currency = after.currency
    player = player_account(after.player_id, currency)
    clearing = clearing_account(after.provider, currency)
    of = booking.working_set.ids.deposit_id(after.number)
    gained = after.captured - before.captured
    # Captured money is no longer expected, even if its failure was heard of first or if it is captured for
    # the second time. So the hold keeps only what is still expected, and the rest is posted.
    expected = max(0, after.taken - before.taken)
    gained -= booking.capture(after.hold, expected, final=after.pending == 0, effective_time=effective_time)
    booking.post(
        TransactionType.DEPOSIT,
        debit=clearing,
        credit=player,
        amount=gained,
        currency=currency,
        of=of,
        effective_time=effective_time,
    )
    refunded = after.refunded - before.refunded
    refunded -= _settle_refunds(booking, before, after, refunded, effective_time)
    booking.post(
        TransactionType.REFUND,
        debit=player,
        credit=clearing,
        amount=refunded,
        currency=currency,
        of=of,
        effective_time=effective_time,
    )
    booking.post(
        TransactionType.DISPUTE,
        debit=player,
        credit=clearing,
        amount=after.disputed - before.disputed,
        currency=currency,
        of=of,
        effective_time=effective_time,
    )
    _book_fee(booking, after, of, after.fee - before.fee, effective_time)
    if after.pending == 0:
        booking.release(after.hold)


def book_withdrawal(
    booking: Booking, before: Withdrawal, after: Withdrawal, effective_time: datetime | None
) -> None:
    """Move what a withdrawal's new knowledge asks for; arguments as in `book_deposit`."""
    currency = after.currency
    clearing = clearing_account(after.provider, currency)
    of = booking.working_set.ids.withdrawal_id(after.number)
    out = after.debited - before.debited
    if out > 0:
        out -= booking.capture(after.hold, out, final=True, effective_time=effective_time)
    booking.post(
        TransactionType.WITHDRAWAL,
        debit=player_account(after.player_id, currency),
        credit=clearing,
        amount=out,
        currency=currency,
        of=of,
        effective_time=effective_time,
    )
    _book_fee(booking, after, of, after.fee - before.fee, effective_time)
    if after.pending == 0:
        booking.release(after.hold)


def _settle_refunds(
    booking: Booking, before: Deposit, after: Deposit, refunded: int, effective_time: datetime | None
) -> int:
    """Capture or release the holds of our refunds that ended; return how much was captured.

    A refund that the provider told of before it was known to be ours is booked already, so its hold is
    released and not captured. If the provider has refunded less than what is held, the rest is released; if
    it has refunded more, the caller posts the excess.
    """
    were: Mapping[int | None, Refund] = {refund.number: refund for refund in before.refunds}
    taken = 0
    for refund in after.refunds:
        was = were.get(refund.number) if refund.number is not None else None
        if was is None or refund.hold is None or refund.state is was.state:
            continue
        if refund.state is RefundState.SUCCEEDED and refunded - taken >= refund.out:
            taken += booking.capture(refund.hold, refund.out, final=True, effective_time=effective_time)
        booking.release(refund.hold)
    return taken


def _book_fee(
    booking: Booking, payment: Payment, of: str, amount: int, effective_time: datetime | None
) -> None:
    booking.post(
        TransactionType.FEE,
        debit=fee_account(payment.provider, payment.currency),
        credit=clearing_account(payment.provider, payment.currency),
        amount=amount,
        currency=payment.currency,
        of=of,
        effective_time=effective_time,
    )
