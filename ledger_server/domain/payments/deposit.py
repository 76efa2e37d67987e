"""Owns deposits: what is known of one, and the state and the money that follow from that."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.code import Code
from ledger_server.domain.payments import captures as taken_in
from ledger_server.domain.payments.knowledge import (
    Attempt,
    CallState,
    Capture,
    Dispute,
    Fee,
    Refund,
    RefundState,
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

    Its number is the sequence of the record that began it. `provider_ref` is the provider's name for what was
    created, `payment_ref` the payment that came of it, if an event has named one: a payment link and the
    payment made through it have different refs. There may be several payments: a second one after a failed
    one, or one by gift card and one by card. `attempts` are the payments of which more is known than
    captures.
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
    authorized: bool
    closed: bool
    failed: bool
    failure_reason: str
    payment_url: str
    payment_ref: str
    attempts: tuple[Attempt, ...]
    captures: tuple[Capture, ...]
    refunds: tuple[Refund, ...]
    disputes: tuple[Dispute, ...]
    fees: tuple[Fee, ...]
    personal: bytes

    @property
    def state(self) -> DepositState:
        """The state that follows from what is known: the first row of `STATES` that holds."""
        return next(state for state, holds in STATES if holds(self))

    @property
    def known_ref(self) -> str:
        """The provider's id of the payment as far as it is known."""
        return self.payment_ref or self.provider_ref

    @property
    def refs(self) -> tuple[str, ...]:
        """All ids that the provider has for it."""
        payments = (*(each.payment_ref for each in self.attempts), *taken_in.paid_by(self.captures))
        return tuple(ref for ref in dict.fromkeys((self.provider_ref, self.payment_ref, *payments)) if ref)

    @property
    def over(self) -> bool:
        """Whether the whole deposit failed: the provider said so, or has refused the call."""
        return self.failed or self.call_state is CallState.REJECTED

    @property
    def known_captured(self) -> bool:
        """Whether any capture is known; until then neither refunds nor disputes move money."""
        return any(capture.capture_time is not None for capture in self.captures)

    @property
    def captured(self) -> int:
        """What the captures that stand amount to, over all payments."""
        return taken_in.captured(self.captures)

    @property
    def awaits_call(self) -> bool:
        """Whether the provider still has to be asked for a payment: the player has not paid and still may."""
        return self.state is DepositState.INITIATED

    @property
    def reserved(self) -> bool:
        """Whether the money of a payment that may still be captured is reserved."""
        reserved = [each for each in self.attempts if each.authorized]
        return self.authorized and (not reserved or any(each.end_time is None for each in reserved))

    @property
    def pending(self) -> int:
        """What is still expected to come in, and therefore held."""
        if self.closed or self.over:
            return 0
        return max(0, self.amount - self.taken)

    @property
    def taken(self) -> int:
        """What was ever captured, whether or not it failed later."""
        return taken_in.taken(self.captures)

    @property
    def refunded(self) -> int:
        """What the refunds that succeeded amount to, once a capture is known."""
        if not self.known_captured:
            return 0
        return sum(refund.out for refund in self.refunds)

    @property
    def refundable(self) -> int:
        """What may still be refunded: captured money, less refunds done or under way, less disputes."""
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
    # Before any capture is known.
    (DepositState.FAILED, lambda it: not it.known_captured and it.over),
    (DepositState.AUTHORIZED, lambda it: not it.known_captured and it.reserved),
    (DepositState.INITIATED, lambda it: not it.known_captured),
    # Once a capture is known.
    (DepositState.REVERSED, lambda it: not it.captured or it.disputed > 0),
    (DepositState.REFUNDED, lambda it: it.refunded >= it.captured),
    (DepositState.PARTIALLY_REFUNDED, lambda it: it.refunded > 0),
    (DepositState.CAPTURED, lambda _: True),
)
"""The state machine as one table. Knowledge only grows, so the possible transitions are:

INITIATED → AUTHORIZED → CAPTURED, or → FAILED before money is taken; CAPTURED → PARTIALLY_REFUNDED →
REFUNDED; any of these → REVERSED and back. Money that comes after FAILED is CAPTURED with a finding, and a
failure after CAPTURED changes nothing but is a finding too. Source: decision 7.
"""


def with_attempt(deposit: Deposit, told: Attempt) -> Deposit:
    """Return the deposit with news of one payment at the provider, and with what they mean for the whole."""
    known = next((each for each in deposit.attempts if each.payment_ref == told.payment_ref), told)
    merged = replace(
        told,
        authorized=told.authorized or known.authorized,
        final=told.final or known.final,
        end_time=later(told.end_time, known.end_time),
        reason=max(told.reason, known.reason),
        answered=told.answered or known.answered,
    )
    others = [each for each in deposit.attempts if each.payment_ref != told.payment_ref]
    attempts = tuple(sorted([*others, merged], key=lambda each: each.payment_ref))
    return concluded(replace(deposit, attempts=attempts))


def concluded(deposit: Deposit) -> Deposit:
    """Return the deposit, ended if the ends of its payments at the provider end the whole.

    A player may try several payments. So the end of one payment ends the deposit only if the deposit was
    begun with that payment (by our call or our caller), or if the event names no payment but our id.
    """
    own = [each for each in deposit.attempts if each.payment_ref in ("", deposit.provider_ref)]
    ended = [each for each in own if each.end_time is not None]
    return replace(
        deposit,
        failed=deposit.failed or bool(ended),
        failure_reason=max([deposit.failure_reason, *(each.reason for each in ended)]),
        closed=deposit.closed or any(each.final for each in own),
    )
