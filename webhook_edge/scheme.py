"""Owns the interface of schemes: whether a provider's webhook is genuine, and which events it has.

Verification comes before any parsing. Every input ends in one of the two refusals or in events; a scheme
raises no other exception.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from defter.payments.v1 import payment_pb2
from msgspec import Struct


class Malformed(Exception):
    """The request is not a webhook of this scheme: a header is missing, or can't be read. HTTP 400."""


class NotVerified(Exception):
    """No secret of the endpoint made this signature, or its time is too far off. HTTP 401."""


class Secret(Struct, frozen=True, kw_only=True):
    """One secret of an endpoint, valid until `not_after`; `name` may be shown, `value` never."""

    name: str
    value: str
    not_after: datetime | None = None


class Success(Struct, frozen=True, kw_only=True):
    """The answer that a provider expects for a taken webhook."""

    status: int = 200
    body: bytes = b""
    media_type: str = "text/plain"


class Endpoint(Struct, frozen=True, kw_only=True):
    """One account at a provider, of one tenant.

    Attributes:
        provider: the provider account's name in the ledger's configuration.
        secrets: the valid ones; there is at least one.
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
    """How one provider signs its webhooks, and what they mean. Header names are lower case, each once."""

    success: Success

    def verify(self, body: bytes, headers: Mapping[str, str], endpoint: Endpoint, now: datetime) -> Secret:
        """Return the secret that verifies the whole body.

        Raises:
            Malformed, NotVerified: no other exception, whatever the bytes are.
        """

    def events(
        self, body: bytes, headers: Mapping[str, str], endpoint: Endpoint
    ) -> list[payment_pb2.ProviderEvent]:
        """Return the events of a verified body; one that is not understood has the type UNSPECIFIED.

        Empty if everything in it is about another account than the endpoint's.
        """

    def read_again(
        self, stored: payment_pb2.ProviderEvent, endpoint: Endpoint
    ) -> list[payment_pb2.ProviderEvent]:
        """Return the events of a stored payload, which was verified before it was stored."""
