"""Owns the meaning of objects inside Stripe's events: PaymentIntents, charges, refunds, disputes, payouts.

Each function fills in an event from one object and returns the event's type.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from defter.payments.v1 import payment_pb2
from defter.payments.v1.payment_pb2 import ProviderEvent

from webhook_edge.reading import UNSPECIFIED, Reader, Type, tell_money

OUR_ID: Final = "our_id"
"""The key of metadata under which our requests to Stripe carry our id."""

# The reason of an expired authorisation: the money was never taken, so none goes back.
_NEVER_CAPTURED: Final = "expired_uncaptured_charge"
_MOST_ID: Final = 120

_REFUND_STATES: Final[Mapping[str, Type]] = {
    "pending": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_PENDING,
    "requires_action": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_PENDING,
    "succeeded": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_SUCCEEDED,
    "failed": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_FAILED,
    "canceled": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_FAILED,
}
# Inquiries (`warning_…`) move no money, and neither does any decision: only funds_withdrawn and
# funds_reinstated do. A prevented dispute ended without taking anything; its refund has events of its own.
_DISPUTE_STATES: Final[Mapping[str, Type]] = {
    "warning_needs_response": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_OPENED,
    "warning_under_review": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_OPENED,
    "needs_response": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_OPENED,
    "under_review": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_OPENED,
    "appeal_needs_response": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_OPENED,
    "appeal_under_review": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_OPENED,
    "warning_closed": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_WON,
    "prevented": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_WON,
    "won": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_WON,
    "lost": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_LOST,
}


def intent(event: ProviderEvent, thing: Reader, *, tells: Type = UNSPECIFIED) -> Type:
    """Tell the news of a PaymentIntent that need no amount."""
    event.payment_ref = thing.identifier("id", required=True)
    event.payment_id = _our_id(thing, "dep_")
    error = thing.within("last_payment_error")
    event.reason = thing.text("cancellation_reason") or error.text("decline_code") or error.text("code")
    return tells


def intent_capturable(event: ProviderEvent, thing: Reader) -> Type:
    """Tell that money is reserved."""
    intent(event, thing)
    if thing.identifier("status") != "requires_capture":
        return UNSPECIFIED
    tell_money(event, thing, "amount_capturable")
    return payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED


def intent_succeeded(event: ProviderEvent, thing: Reader) -> Type:
    """Tell what was received, which may be less than was asked for."""
    intent(event, thing)
    tell_money(event, thing, "amount_received")
    event.object_ref = thing.reference("latest_charge")
    # A PaymentIntent succeeds when nothing is left to capture.
    event.final = True
    return payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED


def session(event: ProviderEvent, thing: Reader, *, tells: Type) -> Type:
    """Tell of a Checkout session, which may have seen several payments of the player or none."""
    event.payment_ref = thing.identifier("id", required=True)
    event.payment_id = _our_id(thing, "dep_")
    return tells


def charge(event: ProviderEvent, thing: Reader, *, tells: Type = UNSPECIFIED) -> Type:
    """Tell the news of a charge that need no amount; a charge stands for its capture."""
    event.object_ref = thing.identifier("id", required=True)
    # A charge without a PaymentIntent is itself the payment.
    event.payment_ref = thing.reference("payment_intent") or event.object_ref
    event.payment_id = _our_id(thing, "dep_")
    event.reason = thing.text("failure_code")
    return tells


def charge_succeeded(event: ProviderEvent, thing: Reader) -> Type:
    """Tell that money was taken, or only reserved."""
    captured = thing.flag("captured")
    if captured:
        return charge_captured(event, thing)
    if captured is None:
        thing.note("a charge does not say whether it is captured")
    charge(event, thing)
    tell_money(event, thing, "amount")
    return payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED


def charge_captured(event: ProviderEvent, thing: Reader) -> Type:
    """Tell the total that was captured of a charge."""
    charge(event, thing)
    tell_money(event, thing, "amount_captured")
    # Stripe releases what one capture leaves, unless several captures were asked for and are available.
    card = thing.within("payment_method_details").within("card")
    several = card.within("multicapture").identifier("status") == "available"
    event.final = not several or event.provider_amount_minor >= (thing.amount("amount") or 0)
    return payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED


def charge_refunded(event: ProviderEvent, thing: Reader) -> Type:
    """Tell the total over all refunds of a charge, each of which has events of its own."""
    charge(event, thing)
    tell_money(event, thing, "amount_refunded")
    return payment_pb2.PROVIDER_EVENT_TYPE_REFUND_TOTAL


def charge_updated(event: ProviderEvent, thing: Reader) -> Type:
    """Tell the fee, if the whole balance transaction is there and in the payment's own currency."""
    charge(event, thing)
    if not thing.is_object("balance_transaction"):
        return UNSPECIFIED
    movement = thing.within("balance_transaction")
    tell_money(event, movement, "fee")
    event.object_ref = movement.identifier("id", required=True)
    if event.currency_code != thing.currency("currency"):
        event.ClearField("provider_amount_minor")
        event.reason = "the fee is in the currency of settlement"
        return UNSPECIFIED
    return payment_pb2.PROVIDER_EVENT_TYPE_FEE_CHARGED


def refund(event: ProviderEvent, thing: Reader) -> Type:
    """Tell how a refund stands."""
    event.payment_ref = thing.reference("payment_intent") or thing.reference("charge")
    event.object_ref = thing.identifier("id", required=True)
    event.object_id = _our_id(thing, "ref_")
    event.reason = thing.text("failure_reason") or thing.text("reason")
    tell_money(event, thing, "amount")
    if thing.text("reason") == _NEVER_CAPTURED:
        return UNSPECIFIED
    state = _by_state(thing, _REFUND_STATES)
    failed = state == payment_pb2.PROVIDER_EVENT_TYPE_REFUND_FAILED
    if event.provider_type == "refund.failed" and not failed:
        thing.note("refund.failed of a refund that has not failed")
    return state


def _dispute(event: ProviderEvent, thing: Reader) -> None:
    event.payment_ref = thing.reference("payment_intent") or thing.reference("charge")
    event.object_ref = thing.identifier("id", required=True)
    event.reason = thing.text("reason")


def dispute_stands(event: ProviderEvent, thing: Reader) -> Type:
    """Tell how a dispute stands, which moves no money."""
    _dispute(event, thing)
    tell_money(event, thing, "amount")
    return _by_state(thing, _DISPUTE_STATES)


def dispute_moved(event: ProviderEvent, thing: Reader, *, sign: int, tells: Type) -> Type:
    """Tell what moved: by the balance transaction if it is in the dispute's currency, else the whole dispute.

    Each further movement of one direction, as after a lost appeal, is a stage of its own.
    """
    _dispute(event, thing)
    tell_money(event, thing, "amount")
    moved: list[tuple[int, str, int]] = []
    for movement in thing.each("balance_transactions"):
        amount = sign * (movement.number("amount") or 0)
        if amount > 0:
            at = movement.number("created") or 0
            moved.append((at, movement.currency("currency"), amount))
    if moved:
        _, currency, amount = max(moved)
        if currency == event.currency_code:
            event.provider_amount_minor = amount
        event.stage = "" if len(moved) == 1 else str(len(moved))
    return tells


def dispute_fee(event: ProviderEvent, thing: Reader) -> Iterator[ProviderEvent]:
    """Yield the dispute's fees beside its amount, if they are in the payment's currency."""
    if event.type != payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN:
        return
    for movement in thing.each("balance_transactions"):
        ref, fee = movement.identifier("id", most=_MOST_ID), movement.number("fee") or 0
        if ref and fee > 0 and movement.currency("currency") == event.currency_code:
            told = ProviderEvent()
            told.CopyFrom(event)
            told.event_id = f"{event.event_id}:{ref}"
            told.type = payment_pb2.PROVIDER_EVENT_TYPE_FEE_CHARGED
            told.object_ref, told.provider_amount_minor, told.stage = ref, fee, ""
            yield told


def payout(event: ProviderEvent, thing: Reader, *, tells: Type) -> Type:
    """Tell of a payout to a player."""
    event.payment_ref = thing.identifier("id", required=True)
    event.payment_id = _our_id(thing, "wd_")
    event.reason = thing.text("failure_code")
    if thing.flag("automatic"):
        event.reason = "a settlement to our own bank"
        return UNSPECIFIED
    if thing.has("original_payout"):
        event.reason = "takes back another payout"
        return UNSPECIFIED
    tell_money(event, thing, "amount")
    return tells


def payout_updated(event: ProviderEvent, thing: Reader) -> Type:
    """Tell that a payout is on its way; its outcome has events of its own."""
    waits = thing.identifier("status") in {"pending", "in_transit"}
    return payout(
        event, thing, tells=payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_SUBMITTED if waits else UNSPECIFIED
    )


def transfer(event: ProviderEvent, thing: Reader, *, tells: Type) -> Type:
    """Tell of a transfer to a connected account; those that Stripe makes to pass on a charge are ignored."""
    if thing.has("source_transaction"):
        event.reason = "passes a charge on"
        return UNSPECIFIED
    tells_failure = tells == payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_FAILED
    if tells_failure and not thing.flag("reversed"):
        payout(event, thing, tells=UNSPECIFIED)
        event.reason = "taken back in part"
        return UNSPECIFIED
    return payout(event, thing, tells=tells)


def outbound_payment(event: ProviderEvent, thing: Reader, *, tells: Type) -> Type:
    """Tell of a payout by its id alone, since a thin event has nothing else."""
    event.payment_ref = thing.identifier("id", required=True)
    return tells


def _by_state(thing: Reader, states: Mapping[str, Type]) -> Type:
    state = thing.identifier("status")
    if state not in states:
        thing.note(f"status {state!r} is not known")
    return states.get(state, UNSPECIFIED)


def _our_id(thing: Reader, prefix: str) -> str:
    """Return our id if the object carries one; metadata may also be somebody else's."""
    our_id = thing.within("metadata").identifier(OUR_ID)
    return our_id if our_id.startswith(prefix) else ""
