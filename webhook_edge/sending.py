"""Owns sample webhooks: made and signed as a provider would, to try an endpoint out.

The signatures are made by the providers' own SDKs, each loaded when it is asked for.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Final, cast

import httpx
from msgspec import Struct
from standardwebhooks import Webhook

from webhook_edge.secret_forms import check_secret

_PATIENCE_SECONDS: Final = 15.0


class SendingFailed(Exception):
    """No server answered."""


class Sample(Struct, frozen=True, kw_only=True):
    """The content of a sample event.

    Attributes:
        type: in the provider's own words, such as `payment.captured`, `payment_intent.succeeded`, `CAPTURE`.
        event_id: the same id is the same event; without one a fresh id is made.
        payment_ref: the provider's id of the payment.
        reference: our id of the payment.
    """

    type: str
    event_id: str = ""
    payment_ref: str = "sample-payment"
    reference: str = ""
    amount_minor: int = 100
    currency: str = "EUR"


class SignedWebhook(Struct, frozen=True, kw_only=True):
    """A signed webhook."""

    body: bytes
    headers: Mapping[str, str]


def signed(scheme: str, sample: Sample, secret: str, now: datetime) -> SignedWebhook:
    """Return a sample event as the provider of a scheme would send it now.

    Raises:
        ValueError: there is no such scheme, or the secret is not one of it.
    """
    make = _MAKERS.get(scheme)
    if make is None:
        raise ValueError(f"no scheme {scheme!r}; there are {', '.join(sorted(_MAKERS))}")
    try:
        check_secret(scheme, secret)
        return make(sample, secret, now)
    except ValueError:
        # The text of an SDK's error may repeat the secret.
        raise ValueError(f"the secret is none of the scheme {scheme!r}") from None


def send(
    url: str,
    scheme: str,
    sample: Sample,
    secret: str,
    *,
    basic_auth: tuple[str, str] | None = None,
) -> tuple[int, str]:
    """Send a sample event; return the status and the body of the answer.

    Raises:
        ValueError: see `signed`.
        SendingFailed: nobody answered.
    """
    webhook = signed(scheme, sample, secret, datetime.now(UTC))
    try:
        answer = httpx.post(
            url,
            content=webhook.body,
            headers=dict(webhook.headers),
            auth=basic_auth,
            timeout=_PATIENCE_SECONDS,
            follow_redirects=False,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SendingFailed(f"{url}: {error}") from None
    return answer.status_code, answer.text


def _standard(sample: Sample, secret: str, now: datetime) -> SignedWebhook:
    event_id = sample.event_id or f"evt_{uuid.uuid4().hex}"
    content = {
        "type": sample.type,
        "id": event_id,
        "created_at": now.isoformat(),
        "data": {
            "payment_id": sample.payment_ref,
            "reference": sample.reference,
            "object_id": f"{sample.payment_ref}-{sample.type}",
            "amount_minor": sample.amount_minor,
            "currency": sample.currency,
            "final": True,
        },
    }
    body = json.dumps(content)
    headers = {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, now, body),
    }
    return _json(body, headers)


def _stripe(sample: Sample, secret: str, now: datetime) -> SignedWebhook:
    created = int(now.timestamp())
    content = {
        "id": sample.event_id or f"evt_{uuid.uuid4().hex}",
        "object": "event",
        "type": sample.type,
        "created": created,
        "livemode": False,
        "data": {
            "object": {
                "id": sample.payment_ref,
                "object": sample.type.partition(".")[0],
                "amount": sample.amount_minor,
                "amount_received": sample.amount_minor,
                "currency": sample.currency.lower(),
                "metadata": {"our_id": sample.reference} if sample.reference else {},
            }
        },
    }
    body = json.dumps(content)
    signature = import_module("stripe").WebhookSignature.generate_signature_header(body, secret, created)
    return _json(body, {"stripe-signature": cast("str", signature)})


def _adyen(sample: Sample, secret: str, now: datetime) -> SignedWebhook:
    # A capture with another date is a capture of its own. So all samples of one day have the same date, and a
    # repeated sample is the same capture.
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    item: dict[str, object] = {
        "amount": {"currency": sample.currency, "value": sample.amount_minor},
        "eventCode": sample.type,
        "eventDate": midnight.isoformat(),
        "merchantAccountCode": "SampleMerchant",
        "merchantReference": sample.reference,
        "pspReference": sample.event_id or uuid.uuid4().hex[:16].upper(),
        "success": "true",
    }
    if sample.type != "AUTHORISATION":
        item["originalReference"] = sample.payment_ref
    signature = cast("bytes", import_module("Adyen.util").generate_notification_sig(item, secret))
    item["additionalData"] = {"hmacSignature": signature.decode()}
    content = {"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}
    return _json(json.dumps(content), {})


def _json(body: str, headers: Mapping[str, str]) -> SignedWebhook:
    return SignedWebhook(body=body.encode(), headers={"content-type": "application/json", **headers})


_MAKERS: Final[Mapping[str, Callable[[Sample, str, datetime], SignedWebhook]]] = {
    "adyen": _adyen,
    "standard": _standard,
    "stripe": _stripe,
}
