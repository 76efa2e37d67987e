"""Owns what a deposit is: what is known of it, and the state and the money that follow from that."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from ledger_server.domain.code import Code
from ledger_server.domain.payments.knowledge import (
    CallState,
    Capture,
    Dispute,
    Fee,
    Refund,
    RefundState,
    entry_of,
    happened,
    later,
)


class DepositState(Code):
    """Where a deposit stands."""

    INITIATED = 1
    AUTHORIZED = 2
    CAPTURED = 3
    FAILED = 4
    PARTIALLY_REFUNDED = 5
    REFUNDED = 6
    REVERSED = 7


class Deposit(Struct, frozen=True, kw_only=True):
    """Money on its way into a wallet. Amounts in minor units.

    Its number is the sequence of the record that began it. `provider_ref` is what the provider called it
    when it was created, `payment_ref` the payment that came of it, where its events name one: a payment link
    and the payment made by it have different refs.
    """

    number: int
    player_id: str
    provider: str
    provider_ref: str
    amount: int
    currency: str
    hold: int
    call_state: CallState
    reference: str
    metadata: Mapping[str, str]
    initiate_time: datetime
    update_time: datetime
    balance_after: int
    authorized: bool = False
    closed: bool = False
    failed: bool = False
    failure_reason: str = ""
    payment_url: str = ""
    payment_ref: str = ""
    captures: tuple[Capture, ...] = ()
    refunds: tuple[Refund, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    fees: tuple[Fee, ...] = ()

    @property
    def state(self) -> DepositState:
        """What the knowledge amounts to: the first row of `STATES` that holds."""
        return next(state for state, holds in STATES if holds(self))

    @property
    def known_ref(self) -> str:
        """The provider's id of the payment as far as it is known."""
        return self.payment_ref or self.provider_ref

    @property
    def refs(self) -> tuple[str, ...]:
        """All ids that the provider has for it."""
        return tuple(ref for ref in dict.fromkeys((self.provider_ref, self.payment_ref)) if ref)

    @property
    def over(self) -> bool:
        """Whether it failed as a whole: by the provider's word, or because it refused the call."""
        return self.failed or self.call_state is CallState.REJECTED

    @property
    def known_captured(self) -> bool:
        """Whether money was ever taken; before that, neither refunds nor disputes move anything."""
        return any(capture.capture_time is not None for capture in self.captures)

    @property
    def captured(self) -> int:
        """What the captures that stand amount to."""
        # A failure that names no capture means them all.
        whole = entry_of(self.captures, "")
        failed = whole.fail_time if whole is not None else None
        return _sum(
            [
                capture
                for capture in self.captures
                if happened(capture.capture_time, later(capture.fail_time, failed))
            ]
        )

    @property
    def pending(self) -> int:
        """What is still expected to come in, and therefore held."""
        if self.closed or self.over:
            return 0
        return max(0, self.amount - self.taken)

    @property
    def taken(self) -> int:
        """What was ever captured, whether or not it failed later."""
        return _sum([capture for capture in self.captures if capture.capture_time is not None])

    @property
    def refunded(self) -> int:
        """What the refunds that succeeded amount to, once a capture is known."""
        if not self.known_captured:
            return 0
        return sum(refund.moved for refund in self.refunds if refund.state is RefundState.SUCCEEDED)

    @property
    def refundable(self) -> int:
        """What a refund may be asked for: captured, not refunded or being refunded, not disputed."""
        asked = sum(refund.amount for refund in self.refunds if refund.state is RefundState.PENDING)
        return self.captured - self.refunded - self.disputed - asked

    @property
    def disputed(self) -> int:
        """What disputes have taken and not given back, once a capture is known."""
        return sum(dispute.taken for dispute in self.disputes) if self.known_captured else 0

    @property
    def fee(self) -> int:
        """What the provider has kept."""
        return sum(fee.amount for fee in self.fees)


STATES: Final[tuple[tuple[DepositState, Callable[[Deposit], bool]], ...]] = (
    # Before money was taken.
    (DepositState.FAILED, lambda it: not it.known_captured and it.over),
    (DepositState.AUTHORIZED, lambda it: not it.known_captured and it.authorized),
    (DepositState.INITIATED, lambda it: not it.known_captured),
    # After.
    (DepositState.REVERSED, lambda it: not it.captured or it.disputed > 0),
    (DepositState.REFUNDED, lambda it: it.refunded >= it.captured),
    (DepositState.PARTIALLY_REFUNDED, lambda it: it.refunded > 0),
    (DepositState.CAPTURED, lambda _: True),
)
"""The state machine as one table. Knowledge only grows, so this is the way it can go:

INITIATED → AUTHORIZED → CAPTURED, or → FAILED before money is taken; CAPTURED → PARTIALLY_REFUNDED →
REFUNDED; any of these → REVERSED and back. Money that comes after FAILED is CAPTURED with a finding, and a
failure after CAPTURED changes nothing but is a finding too. Source: decision 7.
"""


def _sum(captures: Sequence[Capture]) -> int:
    """Return what captures amount to.

    One without a ref tells of the payment as a whole, so it is never added to those that are parts of it.
    """
    whole = sum(capture.amount for capture in captures if not capture.provider_ref)
    return max(whole, sum(capture.amount for capture in captures if capture.provider_ref))
