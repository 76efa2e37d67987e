"""Owns what Stripe's events say in the ledger's words: one table from event name to meaning.

One capture is told by several events and one refund by many; each names it by the same id (the charge's, the
refund's) and with a total, never a step, so that repetition adds nothing. Names that are not in the table
say nothing of money.
Source: https://docs.stripe.com/api/events/types
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from defter.payments.v1 import payment_pb2
from defter.payments.v1.payment_pb2 import ProviderEvent

from webhook_edge.reading import UNSPECIFIED, Reader, Type, parsed, unread
from webhook_edge.scheme import Endpoint

OUR_ID: Final = "our_id"
"""The key of metadata under which our requests to Stripe carry our id."""

_THIN: Final = "v2.core.event"
# An authorisation that ran out: the money was never taken, so none goes back.
_NEVER_CAPTURED: Final = "expired_uncaptured_charge"

_Tell = Callable[[ProviderEvent, Reader], Type]

_REFUND_STATES: Final[Mapping[str, Type]] = {
    "pending": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_PENDING,
    "requires_action": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_PENDING,
    "succeeded": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_SUCCEEDED,
    "failed": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_FAILED,
    "canceled": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_FAILED,
}
# Inquiries (`warning_…`) move no money, and neither does any decision: only funds_withdrawn and
# funds_reinstated do. One that was prevented ended without taking anything; its refund has events of its own.
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


def provider_events(body: bytes, endpoint: Endpoint) -> list[ProviderEvent]:
    """Return what a verified body says: one event, and one more where a dispute cost a fee.

    It never fails: what is not as it should be leaves the event unread; see `reading.unread`.
    """
    envelope = Reader(parsed(body))
    event = ProviderEvent(
        provider=endpoint.provider,
        event_id=envelope.identifier("id", required=True),
        provider_type=envelope.identifier("type", required=True),
        payload=body,
    )
    is_thin = envelope.identifier("object") == _THIN
    time = envelope.instant("created") if is_thin else envelope.seconds("created")
    if time is not None:
        event.occur_time.CopyFrom(time)
    thing = envelope.within("related_object") if is_thin else envelope.within("data").within("object")
    tell = (_THIN_EVENTS if is_thin else _SNAPSHOTS).get(event.provider_type, _nothing)
    event.type = tell(event, thing)
    _note_configuration(envelope, endpoint, is_thin=is_thin)
    if envelope.problems:
        return [unread(event, envelope.problems[0])]
    return [event, *_dispute_fee(event, thing)]


def _note_configuration(envelope: Reader, endpoint: Endpoint, *, is_thin: bool) -> None:
    """Note where the event is not of the mode or the version that the endpoint is for."""
    livemode = endpoint.options.get("livemode")
    if livemode is not None and str(envelope.flag("livemode")).lower() != livemode.lower():
        envelope.problems.insert(0, "livemode is not the endpoint's")
    version = endpoint.options.get("api_version")
    # Thin events have no version.
    if version is not None and not is_thin and (told := envelope.text("api_version")) != version:
        envelope.problems.insert(0, f"api_version {told or 'is missing'}, not {version}")


def _nothing(_: ProviderEvent, __: Reader) -> Type:
    return UNSPECIFIED


def _money(event: ProviderEvent, thing: Reader, name: str) -> None:
    """Take over an amount and its currency; in events that move money both must be there."""
    amount = thing.amount(name)
    if amount is not None:
        event.provider_amount_minor = amount
    event.currency_code = thing.currency("currency")


def _by_state(thing: Reader, states: Mapping[str, Type]) -> Type:
    state = thing.identifier("status")
    if state not in states:
        thing.note(f"status {state!r} is not known")
    return states.get(state, UNSPECIFIED)


def _our_id(thing: Reader, prefix: str) -> str:
    """Return our id as far as the object carries one; metadata may be anybody's."""
    our_id = thing.within("metadata").identifier(OUR_ID)
    return our_id if our_id.startswith(prefix) else ""


def _intent(event: ProviderEvent, thing: Reader, *, tells: Type = UNSPECIFIED) -> Type:
    event.payment_ref = thing.identifier("id", required=True)
    event.payment_id = _our_id(thing, "dep_")
    error = thing.within("last_payment_error")
    event.reason = thing.text("cancellation_reason") or error.text("decline_code") or error.text("code")
    return tells


def _intent_capturable(event: ProviderEvent, thing: Reader) -> Type:
    _intent(event, thing)
    if thing.identifier("status") != "requires_capture":
        return UNSPECIFIED
    _money(event, thing, "amount_capturable")
    return payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED


def _intent_succeeded(event: ProviderEvent, thing: Reader) -> Type:
    _intent(event, thing)
    _money(event, thing, "amount_received")
    event.object_ref = thing.reference("latest_charge")
    # It succeeds when nothing is left to capture.
    event.final = True
    return payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED


def _charge(event: ProviderEvent, thing: Reader, *, tells: Type = UNSPECIFIED) -> Type:
    event.object_ref = thing.identifier("id", required=True)
    # A charge of its own, without a PaymentIntent, is the payment.
    event.payment_ref = thing.reference("payment_intent") or event.object_ref
    event.payment_id = _our_id(thing, "dep_")
    event.reason = thing.text("failure_code")
    return tells


def _charge_succeeded(event: ProviderEvent, thing: Reader) -> Type:
    captured = thing.flag("captured")
    if captured:
        return _charge_captured(event, thing)
    if captured is None:
        thing.note("a charge does not say whether it is captured")
    _charge(event, thing)
    _money(event, thing, "amount")
    return payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED


def _charge_captured(event: ProviderEvent, thing: Reader) -> Type:
    _charge(event, thing)
    _money(event, thing, "amount_captured")
    # Stripe releases what one capture leaves, except where several were asked for and are to be had.
    card = thing.within("payment_method_details").within("card")
    several = card.within("multicapture").identifier("status") == "available"
    event.final = not several or event.provider_amount_minor >= (thing.amount("amount") or 0)
    return payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED


def _charge_updated(event: ProviderEvent, thing: Reader) -> Type:
    """Tell the fee, should the whole balance transaction be there and in the payment's own currency."""
    _charge(event, thing)
    if not thing.is_object("balance_transaction"):
        return UNSPECIFIED
    movement = thing.within("balance_transaction")
    _money(event, movement, "fee")
    event.object_ref = movement.identifier("id", required=True)
    if event.currency_code != thing.currency("currency"):
        event.ClearField("provider_amount_minor")
        event.reason = "the fee is in the currency of settlement"
        return UNSPECIFIED
    return payment_pb2.PROVIDER_EVENT_TYPE_FEE_CHARGED


def _refund(event: ProviderEvent, thing: Reader) -> Type:
    event.payment_ref = thing.reference("payment_intent") or thing.reference("charge")
    event.object_ref = thing.identifier("id", required=True)
    event.object_id = _our_id(thing, "ref_")
    event.reason = thing.text("failure_reason") or thing.text("reason")
    _money(event, thing, "amount")
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


def _dispute_stands(event: ProviderEvent, thing: Reader) -> Type:
    _dispute(event, thing)
    _money(event, thing, "amount")
    return _by_state(thing, _DISPUTE_STATES)


def _dispute_moved(event: ProviderEvent, thing: Reader, *, sign: int, tells: Type) -> Type:
    """Tell what moved: by the balance transaction if it is in the dispute's currency, else all of it.

    Each further movement of one direction, as after a lost appeal, is a stage of its own.
    """
    _dispute(event, thing)
    _money(event, thing, "amount")
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


def _dispute_fee(event: ProviderEvent, thing: Reader) -> Iterator[ProviderEvent]:
    """Yield what the dispute cost beside its amount, where that is in the payment's currency."""
    if event.type != payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN:
        return
    for movement in thing.each("balance_transactions"):
        ref, fee = movement.identifier("id"), movement.number("fee") or 0
        if ref and fee > 0 and movement.currency("currency") == event.currency_code:
            told = ProviderEvent()
            told.CopyFrom(event)
            told.event_id = f"{event.event_id}:{ref}"
            told.type = payment_pb2.PROVIDER_EVENT_TYPE_FEE_CHARGED
            told.object_ref, told.provider_amount_minor, told.stage = ref, fee, ""
            yield told


def _payout(event: ProviderEvent, thing: Reader, *, tells: Type) -> Type:
    event.payment_ref = thing.identifier("id", required=True)
    event.payment_id = _our_id(thing, "wd_")
    event.reason = thing.text("failure_code")
    if thing.flag("automatic"):
        event.reason = "a settlement to our own bank"
        return UNSPECIFIED
    if thing.has("original_payout"):
        event.reason = "takes back another payout"
        return UNSPECIFIED
    _money(event, thing, "amount")
    return tells


def _payout_updated(event: ProviderEvent, thing: Reader) -> Type:
    """Tell that it is on its way; what becomes of it has events of its own."""
    waits = thing.identifier("status") in {"pending", "in_transit"}
    return _payout(event, thing, tells=_SUBMITTED if waits else UNSPECIFIED)


def _transfer(event: ProviderEvent, thing: Reader, *, tells: Type) -> Type:
    """Tell of a transfer to a connected account; Stripe makes those that pass a charge on by itself."""
    if thing.has("source_transaction"):
        event.reason = "passes a charge on"
        return UNSPECIFIED
    if tells == _FAILED and not thing.flag("reversed"):
        event.reason = "taken back in part"
        tells = UNSPECIFIED
    return _payout(event, thing, tells=tells)


def _outbound_payment(event: ProviderEvent, thing: Reader, *, tells: Type) -> Type:
    """Tell of a payout by its id alone: a thin event has no more."""
    event.payment_ref = thing.identifier("id", required=True)
    return tells


_SUBMITTED: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_SUBMITTED
_PAID: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID
_FAILED: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_FAILED
_ATTEMPT_FAILED: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_ATTEMPT_FAILED
_PAYMENT_FAILED: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_FAILED
_WITHDRAWN: Final = payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN
_REINSTATED: Final = payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_REINSTATED

_SNAPSHOTS: Final[Mapping[str, _Tell]] = {
    "payment_intent.created": _intent,
    "payment_intent.processing": _intent,
    "payment_intent.requires_action": _intent,
    "payment_intent.partially_funded": _intent,
    "payment_intent.amount_capturable_updated": _intent_capturable,
    "payment_intent.succeeded": _intent_succeeded,
    # The player may try again with another card: the payment is over when it is cancelled.
    "payment_intent.payment_failed": partial(_intent, tells=_ATTEMPT_FAILED),
    "payment_intent.canceled": partial(_intent, tells=_PAYMENT_FAILED),
    "charge.pending": _charge,
    "charge.succeeded": _charge_succeeded,
    "charge.captured": _charge_captured,
    "charge.failed": partial(_charge, tells=_ATTEMPT_FAILED),
    "charge.expired": partial(_charge, tells=_PAYMENT_FAILED),
    "charge.updated": _charge_updated,
    # What it tells is a total over all refunds, each of which has events of its own.
    "charge.refunded": _charge,
    "charge.refund.updated": _refund,
    "refund.created": _refund,
    "refund.updated": _refund,
    "refund.failed": _refund,
    "charge.dispute.created": _dispute_stands,
    "charge.dispute.updated": _dispute_stands,
    "charge.dispute.closed": _dispute_stands,
    "charge.dispute.funds_withdrawn": partial(_dispute_moved, sign=-1, tells=_WITHDRAWN),
    "charge.dispute.funds_reinstated": partial(_dispute_moved, sign=1, tells=_REINSTATED),
    "payout.created": partial(_payout, tells=_SUBMITTED),
    "payout.updated": _payout_updated,
    "payout.paid": partial(_payout, tells=_PAID),
    "payout.failed": partial(_payout, tells=_FAILED),
    "payout.canceled": partial(_payout, tells=_FAILED),
    "payout.reconciliation_completed": partial(_payout, tells=UNSPECIFIED),
    "transfer.created": partial(_transfer, tells=_PAID),
    "transfer.updated": partial(_transfer, tells=UNSPECIFIED),
    "transfer.reversed": partial(_transfer, tells=_FAILED),
    "treasury.outbound_payment.created": partial(_payout, tells=_SUBMITTED),
    "treasury.outbound_payment.posted": partial(_payout, tells=_PAID),
    "treasury.outbound_payment.failed": partial(_payout, tells=_FAILED),
    "treasury.outbound_payment.canceled": partial(_payout, tells=_FAILED),
    "treasury.outbound_payment.returned": partial(_payout, tells=_FAILED),
}
_OUTBOUND: Final = "v2.money_management.outbound_payment."
_THIN_EVENTS: Final[Mapping[str, _Tell]] = {
    _OUTBOUND + "created": partial(_outbound_payment, tells=_SUBMITTED),
    _OUTBOUND + "posted": partial(_outbound_payment, tells=_PAID),
    _OUTBOUND + "failed": partial(_outbound_payment, tells=_FAILED),
    _OUTBOUND + "canceled": partial(_outbound_payment, tells=_FAILED),
    _OUTBOUND + "returned": partial(_outbound_payment, tells=_FAILED),
}
