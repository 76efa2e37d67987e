"""Owns Standard Webhooks: verification of a delivery, and its meaning in the ledger's words.

The SDK makes the signature; everything around it is checked here, since the SDK reads the wall clock, takes
one secret, and raises arbitrary errors on bad input. Source:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from defter.payments.v1 import payment_pb2
from standardwebhooks import Webhook

from webhook_edge.reading import (
    MOVES_MONEY,
    UNSPECIFIED,
    Reader,
    Type,
    check_says_of_what,
    is_of_family,
    parsed,
    unread,
)
from webhook_edge.scheme import Endpoint, Malformed, NotVerified, Secret, Success
from webhook_edge.secret_forms import is_standard

__all__ = ["Malformed", "NotVerified", "StandardScheme", "provider_events", "verify"]

TOLERANCE_SECONDS: Final = 300
"""How far a delivery's time may be from ours, either way."""

# The id may have no full stop: with one, id and time could shift under the same signature.
_ID: Final = re.compile(r"[!-\-/-~]{1,255}")
# The one canonical form: the SDK signs the number, so another form of it would not be what was signed.
_TIMESTAMP: Final = re.compile(r"0|[1-9][0-9]{0,11}")
_SIGNATURE: Final = re.compile(r"v[0-9]+[a-z]?,[A-Za-z0-9+/_=-]+")

# An unknown type of these families may move money.
_FAMILIES: Final = ("payment.", "refund.", "dispute.", "fee.", "payout.")
_TYPES: Final[Mapping[str, Type]] = {
    "payment.authorized": payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED,
    "payment.captured": payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED,
    "payment.attempt_failed": payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_ATTEMPT_FAILED,
    "payment.failed": payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_FAILED,
    "payment.capture_failed": payment_pb2.PROVIDER_EVENT_TYPE_CAPTURE_FAILED,
    "refund.pending": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_PENDING,
    "refund.succeeded": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_SUCCEEDED,
    "refund.failed": payment_pb2.PROVIDER_EVENT_TYPE_REFUND_FAILED,
    "dispute.opened": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_OPENED,
    "dispute.funds_withdrawn": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN,
    "dispute.funds_reinstated": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_REINSTATED,
    "dispute.won": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_WON,
    "dispute.lost": payment_pb2.PROVIDER_EVENT_TYPE_DISPUTE_LOST,
    "fee.charged": payment_pb2.PROVIDER_EVENT_TYPE_FEE_CHARGED,
    "payout.submitted": payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_SUBMITTED,
    "payout.paid": payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID,
    "payout.failed": payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_FAILED,
}


class StandardScheme:
    """Standard Webhooks; to their senders any 2xx is a success."""

    success: Success = Success()

    def verify(self, body: bytes, headers: Mapping[str, str], endpoint: Endpoint, now: datetime) -> Secret:
        """Return the secret that signed a delivery within 300 s of now.

        Raises:
            Malformed, NotVerified: see `verify`.
        """
        position = verify(body, headers, [secret.value for secret in endpoint.secrets], now)
        return endpoint.secrets[position]

    def events(
        self, body: bytes, headers: Mapping[str, str], endpoint: Endpoint
    ) -> list[payment_pb2.ProviderEvent]:
        """Return the one event of a verified delivery."""
        return provider_events(body, headers, endpoint.provider)

    def read_again(
        self, stored: payment_pb2.ProviderEvent, endpoint: Endpoint
    ) -> list[payment_pb2.ProviderEvent]:
        """Return the event of a stored delivery; older events have the delivery's id as their own."""
        headers = {"webhook-id": stored.delivery or stored.event_id}
        return provider_events(stored.payload, headers, endpoint.provider)


def verify(body: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: datetime) -> int:
    """Return the position of the secret that signed a delivery within 300 s of now.

    Args:
        headers: names in any case.
        secrets: a secret of another form verifies nothing (see `secret_forms.is_standard`).
    Raises:
        Malformed: a header is missing or unreadable, or the body is not UTF-8.
        NotVerified: the time is too far away, or no signature fits.
    """
    event_id = _fitting(headers, "webhook-id", _ID)
    timestamp = int(_fitting(headers, "webhook-timestamp", _TIMESTAMP))
    entries = _header(headers, "webhook-signature").split(" ")
    given = [entry.encode() for entry in entries if _SIGNATURE.fullmatch(entry)]
    # Entries of later versions are passed over; an empty entry is of no version.
    if not given or "" in entries:
        raise Malformed("webhook-signature is missing or unreadable")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8") from None
    if abs(now.timestamp() - timestamp) > TOLERANCE_SECONDS:
        raise NotVerified("webhook-timestamp is too far from now")
    signed_at = datetime.fromtimestamp(timestamp, UTC)
    for position, secret in enumerate(secrets):
        if not is_standard(secret):
            continue
        expected = Webhook(secret).sign(event_id, signed_at, text).encode()
        # Compared as text, so that a signature has only one form; other versions never equal a v1.
        if any(hmac.compare_digest(expected, entry) for entry in given):
            return position
    raise NotVerified("no signature fits")


def provider_events(
    body: bytes, headers: Mapping[str, str], provider: str
) -> list[payment_pb2.ProviderEvent]:
    """Return the event of a verified delivery, always one.

    It never fails: a body that is not as it should be makes an unread event; see `reading.unread`.

    Args:
        provider: the name of our account at the provider.
    """
    event_id = _header(headers, "webhook-id")
    message = Reader(parsed(body))
    data = message.within("data")
    if not message.has("data"):
        message.note("data is missing")
    event = payment_pb2.ProviderEvent(
        provider=provider,
        event_id=event_id,
        provider_type=message.identifier("type", required=True),
        payload=body,
    )
    if event.provider_type and event.provider_type not in _TYPES:
        message.note(f"type {event.provider_type!r} is not known", payment_pb2.UNREAD_REASON_TYPE)
    event.type = _TYPES.get(event.provider_type, UNSPECIFIED)
    if message.has("created_at") and (time := message.instant("created_at")) is not None:
        event.occur_time.CopyFrom(time)
    _tell(event, data)
    check_says_of_what(event, message)
    if not message.problems:
        return [event]
    moves = event.type in MOVES_MONEY or is_of_family(event.provider_type, _FAMILIES)
    return [unread(event, message.problems[0], moves_money=moves, delivery=event_id)]


def _tell(event: payment_pb2.ProviderEvent, data: Reader) -> None:
    """Set what an event says of its payment; missing or null fields say nothing."""
    reference, object_reference = data.identifier("reference"), data.identifier("object_reference")
    event.payment_ref = data.identifier("payment_id")
    event.payment_id = reference if reference.startswith(("dep_", "wd_")) else ""
    event.object_ref = data.identifier("object_id")
    event.object_id = object_reference if object_reference.startswith("ref_") else ""
    if data.has("amount_minor") and (amount := data.amount("amount_minor")) is not None:
        event.provider_amount_minor = amount
    if data.has("currency") and data.text("currency"):
        event.currency_code = data.currency("currency")
    event.final = data.flag("final") or False
    event.stage = data.identifier("stage")
    event.reason = data.text("reason")


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _fitting(headers: Mapping[str, str], name: str, form: re.Pattern[str]) -> str:
    value = _header(headers, name)
    if not form.fullmatch(value):
        raise Malformed(f"{name} is missing or unreadable")
    return value
