"""Owns payments: asked for by callers, then authorized, captured or failed by the world.

Steps of the world are accepted in any order, since real providers send the strangest orders. Every call tells
an event, and money moves only if it has not moved yet.
"""

from typing import Literal

from mock_psp.books import Books
from mock_psp.errors import InvalidRequest, NotFound
from mock_psp.objects import Capture, Payment


class Payments:
    """All payments."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.all: dict[str, Payment] = {}

    def create(
        self,
        *,
        reference: str,
        amount_minor: int,
        currency: str,
        customer: str = "",
        capture: Literal["auto", "manual"] = "auto",
    ) -> Payment:
        """Begin a payment of a customer."""
        payment = Payment(
            id=self._books.new_id("mp_pay"),
            reference=reference,
            amount_minor=amount_minor,
            currency=currency,
            customer=customer,
            capture=capture,
            created_at=self._books.stamp(),
        )
        self.all[payment.id] = payment
        self._books.execute(payment, lambda: self._complete(payment))
        return payment

    def get(self, payment_id: str) -> Payment:
        """Return a payment; raises NotFound."""
        try:
            return self.all[payment_id]
        except KeyError:
            raise NotFound("not_found", f"no payment {payment_id}") from None

    def authorize(self, payment_id: str) -> Payment:
        """Reserve the money."""
        payment = self.get(payment_id)
        payment.authorized = True
        self._books.tell("payment.authorized", payment, amount_minor=payment.amount_minor)
        return payment

    def capture(self, payment_id: str, *, amount_minor: int | None = None, final: bool = True) -> Payment:
        """Take the money in, all that is left or a part of it, even of a payment that has failed.

        Raises:
            InvalidRequest: nothing is left, and no amount was given.
        """
        payment = self.get(payment_id)
        amount = payment.amount_minor - payment.captured_minor if amount_minor is None else amount_minor
        if amount <= 0:
            raise InvalidRequest("nothing_to_capture", "everything is captured; give an amount for more")
        capture = Capture(
            id=self._books.new_id("mp_cap"), amount_minor=amount, created_at=self._books.stamp()
        )
        payment.captures.append(capture)
        self._take_in("capture", payment, capture, final=final)
        return payment

    def attempt_fail(self, payment_id: str, *, reason: str = "card_declined") -> Payment:
        """Let one try of the customer fail; the payment stays open."""
        payment = self.get(payment_id)
        self._books.tell("payment.attempt_failed", payment, amount_minor=payment.amount_minor, reason=reason)
        return payment

    def fail(self, payment_id: str, *, reason: str = "expired") -> Payment:
        """Cancel a payment; what it has captured stays captured."""
        payment = self.get(payment_id)
        payment.cancelled = True
        payment.reason = reason
        self._books.tell("payment.failed", payment, amount_minor=payment.amount_minor, reason=reason)
        return payment

    def capture_fail(self, payment_id: str, *, capture_id: str = "", reason: str = "bank_refused") -> Payment:
        """Take a capture back, the latest that stands unless one is named.

        Raises:
            InvalidRequest: there is none.
        """
        payment = self.get(payment_id)
        capture = _latest(payment, "succeeded", capture_id)
        capture.state = "failed"
        payment.reason = reason
        self._move("capture_failure", payment, capture, -capture.amount_minor)
        self._books.tell(
            "payment.capture_failed",
            payment,
            amount_minor=capture.amount_minor,
            object_id=capture.id,
            reason=reason,
        )
        return payment

    def recapture(self, payment_id: str, *, capture_id: str = "", final: bool = True) -> Payment:
        """Take the money of a failed capture in after all, under the capture's own id.

        Raises:
            InvalidRequest: no capture has failed.
        """
        payment = self.get(payment_id)
        capture = _latest(payment, "failed", capture_id)
        capture.state = "succeeded"
        self._take_in("recapture", payment, capture, final=final)
        return payment

    def fee(self, payment_id: str, *, amount_minor: int | None = None) -> Payment:
        """Keep a fee, `fee_minor` unless told otherwise; raises InvalidRequest when it comes to nothing."""
        payment = self.get(payment_id)
        self._books.charge(payment, amount_minor)
        return payment

    def _complete(self, payment: Payment) -> None:
        """Let a payment succeed by itself, unless its outcome was decided already."""
        if payment.cancelled or payment.captures:
            return
        if not payment.authorized:
            self.authorize(payment.id)
        if payment.capture == "manual":
            return
        self.capture(payment.id)
        knobs = self._books.knobs
        if knobs.fee_minor:
            self.fee(payment.id)
        if knobs.take("late_failure"):
            capture = payment.captures[-1]
            self._books.agenda.add(knobs.settle_seconds, lambda: self._fail_late(payment, capture))

    def _fail_late(self, payment: Payment, capture: Capture) -> None:
        if capture.state == "succeeded":
            self.capture_fail(payment.id, capture_id=capture.id)

    def _take_in(
        self, type_: Literal["capture", "recapture"], payment: Payment, capture: Capture, *, final: bool
    ) -> None:
        self._move(type_, payment, capture, capture.amount_minor)
        self._books.tell(
            "payment.captured",
            payment,
            amount_minor=capture.amount_minor,
            object_id=capture.id,
            final=final,
        )

    def _move(self, type_: str, payment: Payment, capture: Capture, amount_minor: int) -> None:
        self._books.move(
            "payment",
            type_,
            payment,
            amount_minor,
            object_id=capture.id,
            source=capture,
        )


def _latest(payment: Payment, state: Literal["succeeded", "failed"], capture_id: str) -> Capture:
    """Return the latest capture in a state, or the one that is named if it is in that state."""
    for capture in reversed(payment.captures):
        if capture.state == state and capture_id in ("", capture.id):
            return capture
    raise InvalidRequest("no_such_capture", f"no capture has {state}")
