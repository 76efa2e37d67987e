"""Owns Standard Webhooks: whether a delivery is genuine, and what it says in the ledger's words.

The SDK makes the signature; everything around it is checked here, since the SDK reads the wall clock, takes
one secret, and raises whatever comes up on input that is not as it should be.
Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from defter.payments.v1 import payment_pb2
from standardwebhooks import Webhook

from webhook_edge.scheme import Endpoint, Malformed, NotVerified, Secret, Success

__all__ = ["Malformed", "NotVerified", "StandardScheme", "is_secret", "provider_events", "verify"]

TOLERANCE_SECONDS: Final = 300
"""How far a delivery's time may be from ours, either way."""

# The id has no full stop, which would let id and time shift under the same signature.
_ID: Final = re.compile(r"[!-\-/-~]{1,255}")
# As it was signed: the SDK signs the number, so other ways to write it would not be what was signed.
_TIMESTAMP: Final = re.compile(r"0|[1-9][0-9]{0,11}")
_SIGNATURE: Final = re.compile(r"v[0-9]+[a-z]?,[A-Za-z0-9+/_=-]+")
_SECRET_BYTES: Final = range(24, 65)

_MOST_CHARACTERS: Final = 255
_FIRST_YEAR: Final = 1970
_MOST_AMOUNT: Final = 2**63 - 1
_CURRENCY: Final = re.compile(r"[A-Z0-9]{3,10}")

_Kind = TypeVar("_Kind", bool, dict[str, object], int, str)

_UNSPECIFIED: Final = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
_TYPES: Final[Mapping[str, payment_pb2.ProviderEventType.ValueType]] = {
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
    """Standard Webhooks; whatever is 2xx is a success to its senders."""

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


def verify(body: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: datetime) -> int:
    """Return the position of the secret that signed a delivery within 300 s of now.

    Args:
        headers: names in any case.
        secrets: `whsec_…`; those that are none of this scheme verify nothing (see `is_secret`).
    Raises:
        Malformed: a header is missing or unreadable, or the body is not UTF-8.
        NotVerified: the time is too far away, or no signature fits.
    """
    event_id = _fitting(headers, "webhook-id", _ID)
    timestamp = int(_fitting(headers, "webhook-timestamp", _TIMESTAMP))
    entries = _header(headers, "webhook-signature").split(" ")
    given = [entry.encode() for entry in entries if _SIGNATURE.fullmatch(entry)]
    # An entry of a later version is passed over; an empty one is no entry of any version.
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
        if not is_secret(secret):
            continue
        expected = Webhook(secret).sign(event_id, signed_at, text).encode()
        # Compared as written, so that a signature has one form only; other versions never equal a v1.
        if any(hmac.compare_digest(expected, entry) for entry in given):
            return position
    raise NotVerified("no signature fits")


def is_secret(secret: str) -> bool:
    """Return whether this is a symmetric secret of the scheme: `whsec_` and base64 of 24 to 64 bytes."""
    encoded = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        return False
    return encoded != secret and len(key) in _SECRET_BYTES


def provider_events(
    body: bytes, headers: Mapping[str, str], provider: str
) -> list[payment_pb2.ProviderEvent]:
    """Return what a verified delivery says, always one event.

    It never fails: what cannot be read is left out and makes the type UNSPECIFIED, so that the event is
    stored and acknowledged, and nothing is booked by half of it.

    Args:
        provider: the name of our account at the provider.
    """
    message = _Fields(_json(body))
    data = _Fields(message.read("data", dict) if message.is_object else None)
    provider_type = message.text("type")
    reference, object_reference = data.text("reference"), data.text("object_reference")
    event = payment_pb2.ProviderEvent(
        provider=provider,
        event_id=_header(headers, "webhook-id"),
        provider_type=provider_type,
        payment_ref=data.text("payment_id"),
        payment_id=reference if reference.startswith(("dep_", "wd_")) else "",
        object_ref=data.text("object_id"),
        object_id=object_reference if object_reference.startswith("ref_") else "",
        provider_amount_minor=data.amount("amount_minor"),
        currency_code=data.currency("currency"),
        final=data.read("final", bool) or False,
        stage=data.text("stage"),
        reason=data.text("reason"),
        payload=body,
    )
    if occur_time := message.time("created_at"):
        event.occur_time.FromDatetime(occur_time)
    if message.is_sound and data.is_sound:
        event.type = _TYPES.get(provider_type, _UNSPECIFIED)
    return [event]


class _Fields:
    """Reads the fields of a JSON object one by one, and remembers whether any was not as it should be.

    A field that is missing or null reads as nothing; that is sound.
    """

    def __init__(self, fields: object) -> None:
        self.is_object = isinstance(fields, dict)
        self.is_sound = self.is_object
        self._fields: dict[str, object] = fields if isinstance(fields, dict) else {}

    def read(self, name: str, kind: type[_Kind]) -> _Kind | None:
        """Return a field of exactly one type: a Boolean is no number."""
        value = self._fields.get(name)
        if type(value) is kind:
            return value
        self.is_sound = self.is_sound and value is None
        return None

    def text(self, name: str) -> str:
        """Return a text that can be stored, cut where nobody would read on; ids are never that long."""
        value = self.read(name, str) or ""
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            self.is_sound = False
            return ""
        if len(value) > _MOST_CHARACTERS and name != "reason":
            self.is_sound = False
        return value[:_MOST_CHARACTERS]

    def amount(self, name: str) -> int | None:
        """Return an amount; one below zero has no meaning in these events."""
        value = self.read(name, int)
        if value is not None and not 0 <= value <= _MOST_AMOUNT:
            self.is_sound = False
            return None
        return value

    def currency(self, name: str) -> str:
        """Return a currency's code in upper case."""
        value = self.text(name).upper()
        if value and not _CURRENCY.fullmatch(value):
            self.is_sound = False
            return ""
        return value

    def time(self, name: str) -> datetime | None:
        """Return an instant, in UTC."""
        value = self.text(name)
        try:
            time = datetime.fromisoformat(value) if value else None
            if time is None:
                return None
            if time.tzinfo is not None and (utc := time.astimezone(UTC)).year >= _FIRST_YEAR:
                return utc
        except (ValueError, OverflowError):
            pass
        self.is_sound = False
        return None


def _json(body: bytes) -> object:
    """Return what the body says in JSON, or nothing."""
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _fitting(headers: Mapping[str, str], name: str, form: re.Pattern[str]) -> str:
    value = _header(headers, name)
    if not form.fullmatch(value):
        raise Malformed(f"{name} is missing or unreadable")
    return value
