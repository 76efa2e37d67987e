"""Owns disputes: a player's bank takes money back, and sometimes returns it."""

from mock_psp.books import Books
from mock_psp.objects import Dispute, Payment
from mock_psp.payments import Payments


class Disputes:
    """Disputes of all payments; each call means the latest one of a payment.

    A call for a payment without a dispute begins one without telling so, as providers do that tell only
    of the money.
    """

    def __init__(self, books: Books, payments: Payments) -> None:
        self._books = books
        self._payments = payments

    def open(
        self, payment_id: str, *, amount_minor: int | None = None, reason: str = "fraudulent"
    ) -> Dispute:
        """Open one more dispute, of all that was captured unless told otherwise; no money moves."""
        payment = self._payments.get(payment_id)
        dispute = self._begin(payment, amount_minor, reason)
        self._tell("dispute.opened", payment, dispute, dispute.amount_minor)
        return dispute

    def withdraw(self, payment_id: str, *, amount_minor: int | None = None, stage: str = "") -> Dispute:
        """Take the disputed money from us."""
        payment, dispute, amount = self._latest(payment_id, amount_minor)
        self._move("dispute_withdrawal", payment, dispute, -amount)
        self._tell("dispute.funds_withdrawn", payment, dispute, amount, stage)
        return dispute

    def reinstate(self, payment_id: str, *, amount_minor: int | None = None, stage: str = "") -> Dispute:
        """Give the disputed money back to us."""
        payment, dispute, amount = self._latest(payment_id, amount_minor)
        self._move("dispute_reinstatement", payment, dispute, amount)
        self._tell("dispute.funds_reinstated", payment, dispute, amount, stage)
        return dispute

    def win(self, payment_id: str) -> Dispute:
        """Decide for us; no money moves."""
        payment, dispute, amount = self._latest(payment_id, None)
        dispute.state = "won"
        self._tell("dispute.won", payment, dispute, amount)
        return dispute

    def lose(self, payment_id: str) -> Dispute:
        """Decide against us; no money moves."""
        payment, dispute, amount = self._latest(payment_id, None)
        dispute.state = "lost"
        self._tell("dispute.lost", payment, dispute, amount)
        return dispute

    def _begin(self, payment: Payment, amount_minor: int | None, reason: str) -> Dispute:
        dispute = Dispute(
            id=self._books.new_id("mp_dsp"),
            amount_minor=payment.captured_minor if amount_minor is None else amount_minor,
            reason=reason,
            created_at=self._books.stamp(),
        )
        payment.disputes.append(dispute)
        return dispute

    def _latest(self, payment_id: str, amount_minor: int | None) -> tuple[Payment, Dispute, int]:
        payment = self._payments.get(payment_id)
        dispute = payment.disputes[-1] if payment.disputes else self._begin(payment, amount_minor, "")
        return payment, dispute, dispute.amount_minor if amount_minor is None else amount_minor

    def _tell(
        self, type_: str, payment: Payment, dispute: Dispute, amount_minor: int, stage: str = ""
    ) -> None:
        self._books.tell(
            type_,
            payment,
            amount_minor=amount_minor,
            object_id=dispute.id,
            stage=stage,
            reason=dispute.reason,
        )

    def _move(self, type_: str, payment: Payment, dispute: Dispute, amount_minor: int) -> None:
        self._books.move("dispute", type_, payment, amount_minor, object_id=dispute.id)
