"""Owns Adyen's signatures: whether a delivery is genuine, item by item or as a whole.

The SDK makes and compares the signatures; everything around it is checked here, since the SDK verifies only
the first of several items, takes one key, and raises arbitrary errors on hostile input. Source:
https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures
"""

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from Adyen import util
from defter.payments.v1 import payment_pb2

from webhook_edge import adyen_events, adyen_transfers
from webhook_edge.reading import parsed
from webhook_edge.scheme import Endpoint, Malformed, NotVerified, Secret, Success
from webhook_edge.secret_forms import is_adyen

_HEADER: Final = "hmacsignature"
_PROTOCOL: Final = "hmacsha256"
# Merchants choose their references freely; every other signed field is Adyen's own and has no colon.
_MAY_HAVE_COLONS: Final = "merchantReference"
_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/=_-]{1,255}")


class AdyenScheme:
    """One endpoint's webhooks: standard notifications, and platform webhooks with a signed body.

    Options of an endpoint: `live`, `true` or `false`, refuses the other environment; `auto_capture`, `true`
    where the account captures by itself, which means that an authorisation is a capture; `merchant_account`
    and `balance_account`: events of other accounts are not ours.

    The signed text joins the fields with colons and does not escape them, so one signature could fit several
    ways to split the text. Only the merchant's reference may have colons: the three fields before it and the
    four after it have none, which leaves one way.

    Adyen signs no time, so a delivery may have any age; the ledger takes each event once.
    """

    # Older integrations must answer this word; for newer ones any 2xx will do.
    success: Final = Success(body=b"[accepted]")

    def verify(self, body: bytes, headers: Mapping[str, str], endpoint: Endpoint, now: datetime) -> Secret:
        """Return the secret that verifies the body; if items have different ones, the one listed last.

        So during a rotation the metric shows the old secret for as long as it is still needed.
        """
        _check_credentials(headers, endpoint, now)
        # If the environment is not told, the events are left unread instead.
        if _HEADER in headers:
            secret = _verify_body(body, headers, endpoint.secrets)
            is_ours = adyen_transfers.is_of_environment(parsed(body), endpoint, unless_told=True)
        else:
            secret = _verify_items(body, endpoint.secrets)
            is_ours = adyen_events.is_of_environment(parsed(body), endpoint, unless_told=True)
        if not is_ours:
            raise NotVerified("the environment is not the endpoint's")
        return secret

    def events(
        self, body: bytes, headers: Mapping[str, str], endpoint: Endpoint
    ) -> list[payment_pb2.ProviderEvent]:
        """Return the events of a verified body; see `Scheme.events`."""
        # Decided as in `verify`: a body is read only as what its signature covers.
        if _HEADER in headers:
            return adyen_transfers.platform_events(body, endpoint)
        return adyen_events.notification_events(body, endpoint)

    def read_again(
        self, stored: payment_pb2.ProviderEvent, endpoint: Endpoint
    ) -> list[payment_pb2.ProviderEvent]:
        """Return the events of a stored body, read as what its signature covered."""
        # Older events did not keep the kind of signature; their type tells it: an item's code is signed and
        # has no full stop.
        whole = stored.delivery == adyen_transfers.WHOLE_BODY
        if whole or (not stored.unread_reason and stored.provider_type.startswith("balancePlatform.")):
            return adyen_transfers.platform_events(stored.payload, endpoint)
        return adyen_events.stored_item_events(stored, endpoint)


def _check_credentials(headers: Mapping[str, str], endpoint: Endpoint, now: datetime) -> None:
    if endpoint.basic_auth is None:
        return
    username, password = endpoint.basic_auth
    kind, _, encoded = headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded.strip(), validate=True) if kind.lower() == "basic" else b""
    except ValueError:
        given = b""
    given_username, _, given_password = given.partition(b":")
    # Both are always compared, so that the time taken does not tell which one is wrong.
    same_username = hmac.compare_digest(given_username, username.encode(errors="surrogatepass"))
    same_password = hmac.compare_digest(given_password, password.value.encode(errors="surrogatepass"))
    counts = password.not_after is None or now < password.not_after
    if not (same_username and same_password and counts):
        raise NotVerified("username and password are not the endpoint's")


def _verify_body(body: bytes, headers: Mapping[str, str], secrets: Sequence[Secret]) -> Secret:
    signature = headers[_HEADER]
    if headers.get("protocol", "").lower() != _PROTOCOL:
        raise Malformed("the protocol is missing or another one")
    if not _SIGNATURE.fullmatch(signature):
        raise Malformed(f"{_HEADER} is unreadable")
    for secret in secrets:
        try:
            if _is_key(secret) and util.is_valid_hmac_payload(signature, secret.value, body):
                return secret
        except ValueError:
            # The key is invalid: not hexadecimal.
            continue
    raise NotVerified("no signature fits")


def _verify_items(body: bytes, secrets: Sequence[Secret]) -> Secret:
    items = adyen_events.items_of(parsed(body))
    if not items:
        raise Malformed("the body has no notification items")
    return secrets[max(_verify_item(item, secrets) for item in items)]


def _verify_item(item: Mapping[str, object], secrets: Sequence[Secret]) -> int:
    """Return the place of the secret that verifies one item."""
    # Unsigned fields are kept from the SDK, which would look for items within items.
    signed = _signed_fields(item)
    for place, secret in enumerate(secrets):
        try:
            if _is_key(secret) and util.is_valid_hmac_notification(signed, secret.value):
                return place
        except ValueError:
            # The key is not hexadecimal, or a text has no UTF-8 form.
            continue
    raise NotVerified("an item's signature does not fit")


def _is_key(secret: Secret) -> bool:
    return is_adyen(secret.value)


def _signed_fields(item: Mapping[str, object]) -> dict[str, object]:
    """Return an item's signed fields and their signature; a null field is signed as if it were missing."""
    additional, amount = item.get("additionalData"), item.get("amount")
    signature = additional.get("hmacSignature") if isinstance(additional, dict) else None
    if not isinstance(signature, str) or not signature:
        raise Malformed("an item has no signature")
    if amount is not None and not isinstance(amount, dict):
        raise Malformed("an item's amount is no object")
    money = {"value": _signed_number(amount or {}), "currency": _signed_text(amount or {}, "currency")}
    texts = {name: _signed_text(item, name) for name in adyen_events.SIGNED_TEXTS}
    parted = [value for name, value in texts.items() if name != _MAY_HAVE_COLONS]
    if any(":" in str(value) for value in (*money.values(), *parted)):
        raise NotVerified("an item's fields have a colon, so the signature fits several readings")
    if not _SIGNATURE.fullmatch(signature):
        raise NotVerified("an item's signature is none")
    return {**texts, "amount": money, "additionalData": {"hmacSignature": signature}}


def _signed_text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise Malformed(f"an item's {name} is no text")
    return value or ""


def _signed_number(amount: Mapping[str, object]) -> str | int:
    value = amount.get("value")
    # A Boolean is not a number here, though it is one in Python.
    return value if type(value) is int else _signed_text(amount, "value")
