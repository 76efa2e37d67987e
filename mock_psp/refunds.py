"""Owns refunds: asked for by callers or made at the provider, then done or failed by the world."""

from mock_psp.books import Books
from mock_psp.errors import InvalidRequest, NotFound, Refused
from mock_psp.objects import Refund
from mock_psp.payments import Payments


class Refunds:
    """All refunds of all payments."""

    def __init__(self, books: Books, payments: Payments) -> None:
        self._books = books
        self._payments = payments
        self.all: dict[str, Refund] = {}

    def create(self, payment_id: str, *, reference: str = "", amount_minor: int | None = None) -> Refund:
        """Begin to give money back, all that is left or a part of it.

        Args:
            payment_id: of a payment that was captured.
            reference: empty for one that is made at the provider, without being asked for.
        Raises:
            NotFound: there is no such payment.
            Refused: nothing was captured, or not that much is left.
            InvalidRequest: the amount comes to nothing.
        """
        payment = self._payments.get(payment_id)
        if not payment.captured_minor:
            raise Refused("payment_not_captured", "nothing was captured")
        amount = payment.refundable_minor if amount_minor is None else amount_minor
        if amount > payment.refundable_minor:
            raise Refused("refund_exceeds_captured", f"only {payment.refundable_minor} can be refunded")
        if amount <= 0:
            raise InvalidRequest("nothing_to_refund", "a refund is of at least one minor unit")
        refund = Refund(
            id=self._books.new_id("mp_ref"),
            payment_id=payment.id,
            reference=reference,
            amount_minor=amount,
            currency=payment.currency,
            created_at=self._books.stamp(),
        )
        self.all[refund.id] = refund
        payment.refunds.append(refund)
        self._tell("refund.pending", refund)
        self._books.execute(refund, lambda: self._complete(refund))
        return refund

    def get(self, refund_id: str) -> Refund:
        """Return a refund; raises NotFound."""
        try:
            return self.all[refund_id]
        except KeyError:
            raise NotFound("not_found", f"no refund {refund_id}") from None

    def succeed(self, refund_id: str) -> Refund:
        """Let a refund leave."""
        refund = self.get(refund_id)
        if refund.state != "succeeded":
            self._move("refund", refund, -refund.amount_minor)
        refund.state = "succeeded"
        self._tell("refund.succeeded", refund)
        return refund

    def fail(self, refund_id: str, *, reason: str = "account_closed") -> Refund:
        """Refuse a refund, or let it come back."""
        refund = self.get(refund_id)
        if refund.state == "succeeded":
            self._move("refund_failure", refund, refund.amount_minor)
        refund.state = "failed"
        refund.reason = reason
        self._tell("refund.failed", refund)
        return refund

    def _complete(self, refund: Refund) -> None:
        if refund.state == "pending":
            self.succeed(refund.id)

    def _tell(self, type_: str, refund: Refund) -> None:
        self._books.tell(
            type_,
            self._payments.get(refund.payment_id),
            amount_minor=refund.amount_minor,
            object_id=refund.id,
            object_reference=refund.reference,
            reason=refund.reason,
        )

    def _move(self, type_: str, refund: Refund, amount_minor: int) -> None:
        self._books.move(
            "refund",
            type_,
            self._payments.get(refund.payment_id),
            amount_minor,
            object_id=refund.id,
            reference=refund.reference,
            source=refund,
        )
