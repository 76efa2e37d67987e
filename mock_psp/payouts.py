"""Owns payouts: asked for by callers, then paid, failed or returned by the world."""

from mock_psp.books import Books
from mock_psp.errors import InvalidRequest, NotFound, Refused
from mock_psp.objects import Payout

REJECTED_DESTINATION = "rejected"
"""Payouts to destinations that begin like this are refused with `destination_rejected`."""


class Payouts:
    """All payouts."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.all: dict[str, Payout] = {}

    def create(self, *, reference: str, amount_minor: int, currency: str, destination: str) -> Payout:
        """Begin to pay money out.

        Raises:
            Refused: the destination takes nothing, or there is not enough money.
        """
        if destination.startswith(REJECTED_DESTINATION):
            raise Refused("destination_rejected", "the destination takes no payouts")
        if self._books.knobs.enforce_balance and amount_minor > self._payable(currency):
            raise Refused("insufficient_balance", "the balance does not suffice")
        payout = Payout(
            id=self._books.new_id("mp_out"),
            reference=reference,
            amount_minor=amount_minor,
            currency=currency,
            destination=destination,
            created_at=self._books.stamp(),
        )
        self.all[payout.id] = payout
        self._books.execute(payout, lambda: self._complete(payout))
        return payout

    def get(self, payout_id: str) -> Payout:
        """Return a payout; raises NotFound."""
        try:
            return self.all[payout_id]
        except KeyError:
            raise NotFound("not_found", f"no payout {payout_id}") from None

    def submit(self, payout_id: str) -> Payout:
        """Hand the payout to the bank."""
        payout = self.get(payout_id)
        if payout.state == "pending":
            payout.state = "submitted"
        self._books.tell("payout.submitted", payout, amount_minor=payout.amount_minor)
        return payout

    def pay(self, payout_id: str) -> Payout:
        """Let the money leave, even of a payout that had failed."""
        payout = self.get(payout_id)
        if payout.state != "paid":
            self._move(payout, "payout", -payout.amount_minor)
        payout.state = "paid"
        self._books.tell("payout.paid", payout, amount_minor=payout.amount_minor)
        return payout

    def fail(self, payout_id: str, *, reason: str = "account_closed") -> Payout:
        """Let the payout fail; once it was paid, its money comes back."""
        payout = self.get(payout_id)
        if payout.state == "paid":
            self._move(payout, "payout_return", payout.amount_minor)
            payout.state = "returned"
        elif payout.state != "returned":
            payout.state = "failed"
        payout.reason = reason
        self._books.tell("payout.failed", payout, amount_minor=payout.amount_minor, reason=reason)
        return payout

    def return_(self, payout_id: str, *, reason: str = "returned_by_bank") -> Payout:
        """Let the money of a paid payout come back; raises InvalidRequest if it was not paid."""
        if self.get(payout_id).state != "paid":
            raise InvalidRequest("not_paid", "only what was paid can come back")
        return self.fail(payout_id, reason=reason)

    def duplicate(self, payout_id: str) -> Payout:
        """Pay a payout a second time, without a request or an event: only lists show it."""
        first = self.get(payout_id)
        second = Payout(
            id=self._books.new_id("mp_out"),
            reference=first.reference,
            amount_minor=first.amount_minor,
            currency=first.currency,
            destination=first.destination,
            state="paid",
            created_at=self._books.stamp(),
        )
        self.all[second.id] = second
        self._books.keep(second)
        self._move(second, "payout", -second.amount_minor)
        return second

    def fee(self, payout_id: str, *, amount_minor: int | None = None) -> Payout:
        """Keep a fee, `fee_minor` unless told otherwise; raises InvalidRequest when it comes to nothing."""
        payout = self.get(payout_id)
        self._books.charge(payout, amount_minor)
        return payout

    def _complete(self, payout: Payout) -> None:
        """Pay by itself, unless the payout's outcome was decided already."""
        if payout.state not in ("pending", "submitted"):
            return
        if payout.state == "pending":
            self.submit(payout.id)
        self.pay(payout.id)
        knobs = self._books.knobs
        if knobs.take("late_failure"):
            self._books.agenda.add(knobs.settle_seconds, lambda: self._return_late(payout))

    def _return_late(self, payout: Payout) -> None:
        if payout.state == "paid":
            self.return_(payout.id)

    def _payable(self, currency: str) -> int:
        """Return the balance that is not reserved for payouts under way."""
        return self._books.balances[currency] - sum(
            payout.amount_minor
            for payout in self.all.values()
            if payout.currency == currency and payout.state in ("pending", "submitted")
        )

    def _move(self, payout: Payout, type_: str, amount_minor: int) -> None:
        self._books.move(
            "payout",
            type_,
            payout,
            amount_minor,
            object_id=payout.id,
            source=payout,
        )
