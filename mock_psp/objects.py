"""Owns the provider's objects: payments with all that belongs to them, and payouts."""

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

CurrencyCode: TypeAlias = Annotated[str, Meta(pattern="^[A-Z0-9]{3,10}$")]


def rfc3339(at: datetime) -> str:
    """Return an instant as the provider writes it: in UTC, with six digits of the second."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Capture(Struct, kw_only=True):
    """Money taken in for a payment; it may fail later and be taken in again under the same id."""

    id: str
    amount_minor: int
    state: Literal["succeeded", "failed"] = "succeeded"
    created_at: str


class Refund(Struct, kw_only=True):
    """Money on its way back; without a reference it was made at the provider."""

    id: str
    payment_id: str
    reference: str
    amount_minor: int
    currency: str
    state: Literal["pending", "succeeded", "failed"] = "pending"
    reason: str = ""
    created_at: str


class Dispute(Struct, kw_only=True):
    """A player's bank contradicts a payment."""

    id: str
    amount_minor: int
    state: Literal["open", "won", "lost"] = "open"
    reason: str
    created_at: str


class Fee(Struct, kw_only=True):
    """What the provider keeps for itself."""

    id: str
    amount_minor: int
    created_at: str


class Payment(Struct, kw_only=True):
    """Money that a customer is to pay in."""

    id: str
    reference: str
    amount_minor: int
    currency: str
    customer: str
    capture: Literal["auto", "manual"]
    authorized: bool = False
    cancelled: bool = False
    reason: str = ""
    captures: list[Capture] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    disputes: list[Dispute] = field(default_factory=list)
    fees: list[Fee] = field(default_factory=list)
    created_at: str

    @property
    def captured_minor(self) -> int:
        """What stands of the captures."""
        return sum(capture.amount_minor for capture in self.captures if capture.state == "succeeded")

    @property
    def refundable_minor(self) -> int:
        """What was captured and is neither refunded nor about to be."""
        return self.captured_minor - sum(
            refund.amount_minor for refund in self.refunds if refund.state != "failed"
        )

    @property
    def state(self) -> Literal["pending", "authorized", "captured", "failed"]:
        """Where the payment stands: money that was taken in outweighs every failure."""
        if self.captured_minor:
            return "captured"
        if self.cancelled or self.captures:
            return "failed"
        return "authorized" if self.authorized else "pending"


class Payout(Struct, kw_only=True):
    """Money that is to be paid out; `returned` after it was paid, `failed` before."""

    id: str
    reference: str
    amount_minor: int
    currency: str
    destination: str
    state: Literal["pending", "submitted", "paid", "failed", "returned"] = "pending"
    reason: str = ""
    fees: list[Fee] = field(default_factory=list)
    created_at: str


Object: TypeAlias = Payment | Payout | Refund


def view(thing: Object) -> dict[str, object]:
    """Return an object as the API shows it."""
    shown: dict[str, object] = msgspec.to_builtins(thing)
    if isinstance(thing, Payment):
        shown |= {"state": thing.state, "captured_minor": thing.captured_minor}
    return shown
