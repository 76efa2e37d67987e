"""Owns Stripe's signatures: whether a delivery is genuine, recent, and of the right mode.

The SDK makes and compares the signature; everything around it is checked here, since the SDK reads the wall
clock, accepts any future time, takes one secret, and raises arbitrary errors on hostile input. Source:
https://docs.stripe.com/webhooks#verify-manually
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from defter.payments.v1 import payment_pb2
from stripe import SignatureVerificationError, WebhookSignature

from webhook_edge.reading import Reader, parsed
from webhook_edge.scheme import Endpoint, Malformed, NotVerified, Secret, Success
from webhook_edge.stripe_events import provider_events

TOLERANCE_SECONDS: Final = 300
"""How far a delivery's time may be from ours, either way."""

_HEADER: Final = "stripe-signature"
# The one canonical form: the SDK signs the number, so another form of it would not be what was signed.
_TIME: Final = re.compile(r"t=(0|[1-9][0-9]{0,11})")
_SCHEME: Final = re.compile(r"v[0-9]+=[!-+\--~]+")
_SIGNATURE: Final = re.compile(r"v1=[0-9a-f]{64}")


class StripeScheme:
    """One endpoint's webhooks, snapshot and thin.

    Options of an endpoint: `livemode`, `true` or `false`, refuses the other mode's events; `api_version`
    leaves events of every other version unread, since their shapes are not known here; `account`, a connected
    account: events of every other account are not ours.
    """

    success: Final = Success()

    def verify(self, body: bytes, headers: Mapping[str, str], endpoint: Endpoint, now: datetime) -> Secret:
        """Return the secret that signed the body, within 300 s of now; see `Scheme.verify`."""
        time, signatures = _signatures(headers.get(_HEADER, ""))
        try:
            body.decode()
        except UnicodeDecodeError:
            raise Malformed("the body is not UTF-8") from None
        if abs(now.timestamp() - time) > TOLERANCE_SECONDS:
            raise NotVerified("the signature's time is too far from now")
        # Rewritten from the parsed values, so that the SDK and the checks here can't read the header
        # differently.
        header = ",".join([f"t={time}", *signatures])
        for secret in endpoint.secrets:
            if _signed(body, header, secret.value):
                _check_mode(body, endpoint)
                return secret
        raise NotVerified("no signature fits")

    def events(
        self,
        body: bytes,
        headers: Mapping[str, str],  # noqa: ARG002  # the interface of all schemes
        endpoint: Endpoint,
    ) -> list[payment_pb2.ProviderEvent]:
        """Return the events of a verified body; see `Scheme.events`."""
        return provider_events(body, endpoint)

    def read_again(
        self, stored: payment_pb2.ProviderEvent, endpoint: Endpoint
    ) -> list[payment_pb2.ProviderEvent]:
        """Return the events of a stored body."""
        return provider_events(stored.payload, endpoint)


def _signatures(header: str) -> tuple[int, list[str]]:
    """Return the time and the signatures of version 1; others, such as v0 of test tools, never count."""
    entries = header.split(",")
    times = [entry for entry in entries if entry == "t" or entry.startswith("t=")]
    time = _TIME.fullmatch(times[0]) if len(times) == 1 else None
    if time is None or not any(_SCHEME.fullmatch(entry) for entry in entries):
        raise Malformed(f"{_HEADER} is missing or unreadable")
    signatures = [entry for entry in entries if _SIGNATURE.fullmatch(entry)]
    if not signatures:
        raise NotVerified("no signature of version 1")
    return int(time[1]), signatures


def _signed(body: bytes, header: str, secret: str) -> bool:
    try:
        # No tolerance: the SDK would compare with the wall clock, and with the past alone.
        return bool(WebhookSignature.verify_header(body, header, secret, None))
    except (SignatureVerificationError, ValueError):
        return False


def _check_mode(body: bytes, endpoint: Endpoint) -> None:
    """Refuse an event of the other mode; an event without a mode is left unread, not refused."""
    expected = endpoint.options.get("livemode")
    livemode = Reader(parsed(body)).flag("livemode")
    if expected is not None and livemode is not None and str(livemode).lower() != expected.lower():
        raise NotVerified("livemode is not the endpoint's")
