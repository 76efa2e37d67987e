"""Own the model of a payment's end, fed in the order in which things really happened.

Written from the design's two tables of states and effects alone; it shares no code with the ledger's
rules. It handles neither repetition nor disorder: the rules have to make those harmless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class PaymentModel:
    """A payment of a player; amounts in minor units.

    Attributes:
        wallet: what the player has posted.
        held_out: of that, what is reserved and can't be spent.
        incoming: what is expected to come into the wallet.
        clearing: what the provider owes us.
        fees: what the provider has kept.
        findings: the classes of the discrepancies.
    """

    amount: int
    state: str
    wallet: int = 0
    held_out: int = 0
    incoming: int = 0
    clearing: int = 0
    fees: int = 0
    findings: set[str] = field(default_factory=set)
    captured: int = 0
    refunded: int = 0

    def take(self, step: str, amount: int = 0) -> None:
        """Take one step of the payment's life."""
        _STEPS[step](self, amount)

    def credit(self, amount: int) -> None:
        """Move money from the provider to the player; back, if it is negative."""
        self.wallet += amount
        self.clearing += amount


def deposit_model(amount: int, *, wallet: int) -> PaymentModel:
    """Return a deposit that was begun by a player who had this much: its money is pending in."""
    return PaymentModel(amount=amount, state="INITIATED", wallet=wallet, clearing=wallet, incoming=amount)


def withdrawal_model(amount: int, *, wallet: int) -> PaymentModel:
    """Return an approved withdrawal of a player who had this much: it is held."""
    return PaymentModel(amount=amount, state="APPROVED", wallet=wallet, clearing=wallet, held_out=amount)


def _nothing(_: PaymentModel, _amount: int) -> None:
    """Attempts, inquiries, decisions of disputes, and what is only under way move nothing."""


def _authorized(model: PaymentModel, _: int) -> None:
    model.state = "AUTHORIZED"


def _captured(model: PaymentModel, amount: int) -> None:
    if model.state == "FAILED":
        model.findings.add("STATUS_MISMATCH")
    model.incoming = max(0, model.incoming - amount)
    model.credit(amount)
    model.captured += amount
    model.state = "CAPTURED"


def _failed(model: PaymentModel, _: int) -> None:
    model.incoming = 0
    if model.captured:
        model.findings.add("STATUS_MISMATCH")
    else:
        model.state = "FAILED"


def _capture_failed(model: PaymentModel, amount: int) -> None:
    model.credit(-amount)
    model.captured -= amount
    model.state = "REVERSED"


def _recaptured(model: PaymentModel, amount: int) -> None:
    # The money is no longer expected since its first capture.
    model.credit(amount)
    model.captured += amount
    model.state = "CAPTURED"


def _refunded(model: PaymentModel, amount: int) -> None:
    model.credit(-amount)
    model.refunded += amount
    model.state = "REFUNDED" if model.refunded == model.captured else "PARTIALLY_REFUNDED"


def _refunded_otherwise(model: PaymentModel, amount: int) -> None:
    _refunded(model, amount)
    model.findings.add("AMOUNT_MISMATCH")


def _refund_came_back(model: PaymentModel, amount: int) -> None:
    model.credit(amount)
    model.refunded -= amount
    model.state = "PARTIALLY_REFUNDED" if model.refunded else "CAPTURED"


def _disputed(model: PaymentModel, amount: int) -> None:
    model.credit(-amount)
    model.state = "REVERSED"


def _reinstated(model: PaymentModel, amount: int) -> None:
    model.credit(amount)
    model.state = "CAPTURED"


def _fee(model: PaymentModel, amount: int) -> None:
    model.fees += amount
    model.clearing -= amount


def _paid(model: PaymentModel, amount: int) -> None:
    model.held_out = 0
    model.credit(-amount)
    model.state = "PAID"


def _returned(model: PaymentModel, amount: int) -> None:
    model.credit(amount)
    model.state = "REVERSED"


def _rest_cancelled(model: PaymentModel, _: int) -> None:
    # A part was captured, and no more is to come.
    model.incoming = 0


def _captured_again(model: PaymentModel, amount: int) -> None:
    _captured(model, amount)
    model.findings |= {"DUPLICATE_AT_PROVIDER", "AMOUNT_MISMATCH"}


def _one_capture_failed(model: PaymentModel, amount: int) -> None:
    # Another payment stands.
    model.credit(-amount)
    model.captured -= amount


def _refunded_again(model: PaymentModel, amount: int) -> None:
    _refunded(model, amount)
    model.findings.add("DUPLICATE_AT_PROVIDER")


def _paid_again(model: PaymentModel, amount: int) -> None:
    _paid(model, amount)
    model.findings.add("DUPLICATE_AT_PROVIDER")


def _one_returned(model: PaymentModel, amount: int) -> None:
    # Another payout stands.
    model.credit(amount)


_STEPS: dict[str, Callable[[PaymentModel, int], None]] = {
    "nothing": _nothing,
    "authorized": _authorized,
    "captured": _captured,
    "failed": _failed,
    "capture failed": _capture_failed,
    "recaptured": _recaptured,
    "refunded": _refunded,
    "refunded otherwise": _refunded_otherwise,
    "refund came back": _refund_came_back,
    "disputed": _disputed,
    "reinstated": _reinstated,
    "fee": _fee,
    "paid": _paid,
    "returned": _returned,
    "rest cancelled": _rest_cancelled,
    "captured again": _captured_again,
    "one capture failed": _one_capture_failed,
    "refunded again": _refunded_again,
    "paid again": _paid_again,
    "one returned": _one_returned,
}
