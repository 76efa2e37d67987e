"""Owns the meaning of Stripe's events: one table from event name to the ledger's words.

Several events tell of one capture, and many of one refund. All of them name it by the same id (the charge's,
the refund's) and give a total, never a step, so repetition adds nothing. Event names that are not in the
table say nothing about money. Source: https://docs.stripe.com/api/events/types
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from defter.payments.v1 import payment_pb2
from defter.payments.v1.payment_pb2 import ProviderEvent

from webhook_edge import stripe_objects as objects
from webhook_edge.reading import (
    UNSPECIFIED,
    Problem,
    Reader,
    Type,
    check_says_of_what,
    is_of_family,
    parsed,
    unread,
)
from webhook_edge.scheme import Endpoint

_THIN: Final = "v2.core.event"
# Stripe's ids are far shorter, and an event of ours may join two of them.
_MOST_ID: Final = 120

_Tell = Callable[[ProviderEvent, Reader], Type]


def provider_events(body: bytes, endpoint: Endpoint) -> list[ProviderEvent]:
    """Return the events of a verified body: one, and one more if a dispute cost a fee.

    It never fails: a body that is not as it should be makes an unread event; see `reading.unread`. Nothing is
    returned for an account that is not the endpoint's.
    """
    value = parsed(body)
    envelope = Reader(value)
    if type(value) is not dict:
        # Before all else: what can't be read tells neither its account nor its mode, and is nobody else's.
        envelope.note("the body can't be read, or in more than one way", payment_pb2.UNREAD_REASON_BODY)
    if not _is_of_account(envelope, endpoint):
        return []
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
    tell = (_THIN_EVENTS if is_thin else _SNAPSHOTS).get(event.provider_type)
    if tell is not None:
        event.type = tell(event, thing)
    elif event.provider_type and not event.provider_type.startswith(_SAY_NOTHING):
        envelope.note(f"type {event.provider_type!r} is not known", payment_pb2.UNREAD_REASON_TYPE)
    check_says_of_what(event, envelope)
    if type(value) is dict:
        _note_configuration(envelope, endpoint, is_thin=is_thin)
    if envelope.problems:
        known = event.provider_type in {*_SNAPSHOTS, *_THIN_EVENTS}
        moves_money = is_of_family(event.provider_type, _TYPES_OF_MONEY if known else _FAMILIES)
        return [unread(event, envelope.problems[0], moves_money=moves_money)]
    return [event, *objects.dispute_fee(event, thing)]


def _is_of_account(envelope: Reader, endpoint: Endpoint) -> bool:
    """Return whether an event is of the endpoint's connected account, if the endpoint has one.

    An event that names no connected account is of the platform's own account. An account that can't be read
    is left to make the event unread, since it may be ours.
    """
    wanted = endpoint.options.get("account")
    # Thin events name the account as their context.
    name = "context" if envelope.identifier("object") == _THIN else "account"
    told = envelope.identifier(name)
    return wanted is None or told == wanted or bool(envelope.problems)


def _note_configuration(envelope: Reader, endpoint: Endpoint, *, is_thin: bool) -> None:
    """Note a problem if the event's mode or version is not the endpoint's."""
    livemode = endpoint.options.get("livemode")
    if livemode is not None and str(envelope.flag("livemode")).lower() != livemode.lower():
        problem = Problem("livemode is not the endpoint's", payment_pb2.UNREAD_REASON_ENVIRONMENT)
        envelope.problems.insert(0, problem)
    version = endpoint.options.get("api_version")
    # Thin events have no version.
    if version is not None and not is_thin and (told := envelope.text("api_version")) != version:
        why = f"api_version {told or 'is missing'}, not {version}"
        envelope.problems.insert(0, Problem(why, payment_pb2.UNREAD_REASON_VERSION))


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
    # The player may try again with another card: the payment is over only when it is cancelled.
    "payment_intent.payment_failed": partial(objects.intent, tells=_ATTEMPT_FAILED),
    "payment_intent.canceled": partial(objects.intent, tells=_PAYMENT_FAILED),
    # The deposit may have been begun with a session; a failed payment within the session ends nothing else.
    "checkout.session.expired": partial(objects.session, tells=_PAYMENT_FAILED),
    "charge.pending": objects.charge,
    "charge.succeeded": objects.charge_succeeded,
    "charge.captured": objects.charge_captured,
    "charge.failed": partial(objects.charge, tells=_ATTEMPT_FAILED),
    "charge.expired": partial(objects.charge, tells=_PAYMENT_FAILED),
    "charge.updated": objects.charge_updated,
    "charge.refunded": objects.charge_refunded,
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
    "treasury.outbound_payment.expected_arrival_date_updated": partial(objects.payout, tells=UNSPECIFIED),
    "treasury.outbound_payment.tracking_details_updated": partial(objects.payout, tells=UNSPECIFIED),
}
_OUTBOUND: Final = "v2.money_management.outbound_payment."
_THIN_EVENTS: Final[Mapping[str, _Tell]] = {
    _OUTBOUND + "created": partial(objects.outbound_payment, tells=_SUBMITTED),
    _OUTBOUND + "posted": partial(objects.outbound_payment, tells=_PAID),
    _OUTBOUND + "failed": partial(objects.outbound_payment, tells=_FAILED),
    _OUTBOUND + "canceled": partial(objects.outbound_payment, tells=_FAILED),
    _OUTBOUND + "returned": partial(objects.outbound_payment, tells=_FAILED),
    _OUTBOUND + "updated": partial(objects.outbound_payment, tells=UNSPECIFIED),
}
# Types that an account with many users is subscribed to and that say nothing about a payment: hints at fraud,
# our balance, customers and what they buy. The money in them is told by events of PaymentIntents, charges and
# refunds; of a Checkout session only its end has a meaning of its own.
_SAY_NOTHING: Final = (
    "account.",
    "balance.",
    "billing.",
    "billing_portal.",
    "capability.",
    "checkout.session.",
    "coupon.",
    "credit_note.",
    "customer.",
    "entitlements.",
    "file.",
    "financial_connections.",
    "identity.",
    "invoice.",
    "invoice_payment.",
    "invoiceitem.",
    "mandate.",
    "payment_link.",
    "payment_method.",
    "person.",
    "plan.",
    "price.",
    "product.",
    "promotion_code.",
    "quote.",
    "radar.",
    "reporting.",
    "review.",
    "setup_intent.",
    "sigma.",
    "source.",
    "subscription_schedule.",
    "tax.",
    "tax_rate.",
    "terminal.",
    "test_helpers.",
    "v2.core.account",
    "v2.core.event_destination.",
)
# Known events of these types move money, so a person is told of those that can't be read.
_TYPES_OF_MONEY: Final = (
    "payment_intent.succeeded",
    "charge.succeeded",
    "charge.captured",
    "charge.refund",
    "refund.",
    "charge.dispute.funds_",
    "payout.paid",
    "payout.failed",
    "payout.canceled",
    "transfer.",
    "treasury.outbound_payment.",
    _OUTBOUND,
)
# An unknown type of these families may move money.
_FAMILIES: Final = ("payment_intent.", "charge.", "refund.", "payout.", "transfer.", *_TYPES_OF_MONEY)
