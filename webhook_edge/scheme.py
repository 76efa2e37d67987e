"""Owns what the edge asks of a provider's webhooks: are these bytes genuine, and what do they say?

Verifying comes before any parsing, and every input whatsoever ends in one of the two refusals or in events;
a scheme lets no other exception out.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from defter.payments.v1 import payment_pb2
from msgspec import Struct


class Malformed(Exception):
    """What came is no webhook of this scheme: a header is missing, or can't be read. HTTP 400."""


class NotVerified(Exception):
    """No secret of the endpoint made this signature, or its time is too far off. HTTP 401."""


class Secret(Struct, frozen=True, kw_only=True):
    """One secret of an endpoint, which counts until `not_after`; `name` may be shown, `value` never."""

    name: str
    value: str
    not_after: datetime | None = None


class Success(Struct, frozen=True, kw_only=True):
    """What the provider wants to hear when its webhook was taken."""

    status: int = 200
    body: bytes = b""
    media_type: str = "text/plain"


class Endpoint(Struct, frozen=True, kw_only=True):
    """One account at a provider, of one tenant.

    Attributes:
        provider: the provider account's name in the ledger's configuration.
        secrets: those that count now; there is at least one.
        options: settings of the scheme (see `options.py`).
    """

    name: str
    tenant_id: str
    provider: str
    scheme: str
    secrets: Sequence[Secret]
    basic_auth: tuple[str, Secret] | None = None
    options: Mapping[str, str]


class Scheme(Protocol):
    """How one provider signs and speaks. Header names are lower case, each at most once."""

    success: Success

    def verify(self, body: bytes, headers: Mapping[str, str], endpoint: Endpoint, now: datetime) -> Secret:
        """Return the secret that verifies the whole body.

        Raises:
            Malformed, NotVerified: and nothing else, whatever the bytes are.
        """

    def events(
        self, body: bytes, headers: Mapping[str, str], endpoint: Endpoint
    ) -> list[payment_pb2.ProviderEvent]:
        """Return what a verified body says; what is not understood is an event of type UNSPECIFIED.

        Nothing: all that it tells is of another account than the endpoint's.
        """

    def read_again(
        self, stored: payment_pb2.ProviderEvent, endpoint: Endpoint
    ) -> list[payment_pb2.ProviderEvent]:
        """Return what the payload of a stored event says, which was verified before it was stored."""
