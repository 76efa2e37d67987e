"""Owns what Stripe's events say in the ledger's words: one table from event name to meaning.

One capture is told by several events and one refund by many; each names it by the same id (the charge's, the
refund's) and with a total, never a step, so that repetition adds nothing. Names that are not in the table
say nothing of money.
Source: https://docs.stripe.com/api/events/types
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from defter.payments.v1 import payment_pb2
from defter.payments.v1.payment_pb2 import ProviderEvent

from webhook_edge import stripe_objects as objects
from webhook_edge.reading import UNSPECIFIED, Reader, Type, parsed, unread
from webhook_edge.scheme import Endpoint

_THIN: Final = "v2.core.event"
# Ids of Stripe's are far shorter, and an event of ours may join two of them.
_MOST_ID: Final = 120

_Tell = Callable[[ProviderEvent, Reader], Type]


def provider_events(body: bytes, endpoint: Endpoint) -> list[ProviderEvent]:
    """Return what a verified body says: one event, and one more where a dispute cost a fee.

    It never fails: what is not as it should be leaves the event unread; see `reading.unread`.
    """
    envelope = Reader(parsed(body))
    event = ProviderEvent(
        provider=endpoint.provider,
        event_id=envelope.identifier("id", required=True, most=_MOST_ID),
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
    return [event, *objects.dispute_fee(event, thing)]


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


_SUBMITTED: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_SUBMITTED
_PAID: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID
_FAILED: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_FAILED
_ATTEMPT_FAILED: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_ATTEMPT_FAILED
_PAYMENT_FAILED: Final = payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_FAILED
_WITHDRAWN: Final = payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN
_REINSTATED: Final = payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_REINSTATED

_SNAPSHOTS: Final[Mapping[str, _Tell]] = {
    "payment_intent.created": objects.intent,
    "payment_intent.processing": objects.intent,
    "payment_intent.requires_action": objects.intent,
    "payment_intent.partially_funded": objects.intent,
    "payment_intent.amount_capturable_updated": objects.intent_capturable,
    "payment_intent.succeeded": objects.intent_succeeded,
    # The player may try again with another card: the payment is over when it is cancelled.
    "payment_intent.payment_failed": partial(objects.intent, tells=_ATTEMPT_FAILED),
    "payment_intent.canceled": partial(objects.intent, tells=_PAYMENT_FAILED),
    # What a deposit was begun with may be a session; a payment in vain within it ends nothing else.
    "checkout.session.expired": partial(objects.session, tells=_PAYMENT_FAILED),
    "charge.pending": objects.charge,
    "charge.succeeded": objects.charge_succeeded,
    "charge.captured": objects.charge_captured,
    "charge.failed": partial(objects.charge, tells=_ATTEMPT_FAILED),
    "charge.expired": partial(objects.charge, tells=_PAYMENT_FAILED),
    "charge.updated": objects.charge_updated,
    # What it tells is a total over all refunds, each of which has events of its own.
    "charge.refunded": objects.charge,
    "charge.refund.updated": objects.refund,
    "refund.created": objects.refund,
    "refund.updated": objects.refund,
    "refund.failed": objects.refund,
    "charge.dispute.created": objects.dispute_stands,
    "charge.dispute.updated": objects.dispute_stands,
    "charge.dispute.closed": objects.dispute_stands,
    "charge.dispute.funds_withdrawn": partial(objects.dispute_moved, sign=-1, tells=_WITHDRAWN),
    "charge.dispute.funds_reinstated": partial(objects.dispute_moved, sign=1, tells=_REINSTATED),
    "payout.created": partial(objects.payout, tells=_SUBMITTED),
    "payout.updated": objects.payout_updated,
    "payout.paid": partial(objects.payout, tells=_PAID),
    "payout.failed": partial(objects.payout, tells=_FAILED),
    "payout.canceled": partial(objects.payout, tells=_FAILED),
    "payout.reconciliation_completed": partial(objects.payout, tells=UNSPECIFIED),
    "transfer.created": partial(objects.transfer, tells=_PAID),
    "transfer.updated": partial(objects.transfer, tells=UNSPECIFIED),
    "transfer.reversed": partial(objects.transfer, tells=_FAILED),
    "treasury.outbound_payment.created": partial(objects.payout, tells=_SUBMITTED),
    "treasury.outbound_payment.posted": partial(objects.payout, tells=_PAID),
    "treasury.outbound_payment.failed": partial(objects.payout, tells=_FAILED),
    "treasury.outbound_payment.canceled": partial(objects.payout, tells=_FAILED),
    "treasury.outbound_payment.returned": partial(objects.payout, tells=_FAILED),
}
_OUTBOUND: Final = "v2.money_management.outbound_payment."
_THIN_EVENTS: Final[Mapping[str, _Tell]] = {
    _OUTBOUND + "created": partial(objects.outbound_payment, tells=_SUBMITTED),
    _OUTBOUND + "posted": partial(objects.outbound_payment, tells=_PAID),
    _OUTBOUND + "failed": partial(objects.outbound_payment, tells=_FAILED),
    _OUTBOUND + "canceled": partial(objects.outbound_payment, tells=_FAILED),
    _OUTBOUND + "returned": partial(objects.outbound_payment, tells=_FAILED),
}
