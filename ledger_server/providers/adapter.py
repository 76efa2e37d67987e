"""Owns the interface of provider adapters, and the answers that a call can have.

Amounts are minor units of the ledger; an adapter converts with its provider's own exponents (see
`amounts.py`). A call never raises for what a provider or a network does: a time-out, a broken connection or
a 5xx is `Unknown`, since the provider may have acted. Only `Declined` and `Unsent` say that nothing was done.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.providers.sending import Proof


class ProviderCallKind(StrEnum):
    """What is asked of a provider."""

    CREATE_PAYMENT = "create_payment"
    CREATE_PAYOUT = "create_payout"
    REFUND = "refund"


class ProviderCall(Struct, frozen=True, kw_only=True):
    """One call that the ledger owes to a provider.

    Attributes:
        our_id: `dep_…`, `wd_…` or `ref_…`: the provider echoes it, and finds the object by it.
        payment_ref: of a refund, the provider's id of the payment; empty otherwise.
        amount: minor units of the ledger, at least 1.
        destination: of a payout, where it goes, as the provider names it.
        idempotency_key: the same for every try of this call; at most 64 characters.
        first_try_time: a time before the first try. A provider that can only be asked by listing is searched
            from here on; None leaves the start to the adapter's settings.
        look_time: the database's time of a look; no object that is looked for is younger. None leaves it to
            the adapter's clock.
    """

    kind: ProviderCallKind
    our_id: str
    payment_ref: str = ""
    player_id: str
    amount: int
    currency: str
    destination: str = ""
    idempotency_key: str
    first_try_time: datetime | None = None
    look_time: datetime | None = None


class Made(Struct, frozen=True, kw_only=True):
    """What a provider says of an object beside its state; None for what it does not tell.

    Attributes:
        amount: in the provider's minor units.
        currency: in capitals.
        destination: of a payout, where it goes.
        payment_ref: of a refund, the provider's id of the payment.
        player_id: of a payment, the player as we named them.
        our_id: our id, as the provider echoes it.
    """

    amount: int | None = None
    currency: str | None = None
    destination: str | None = None
    payment_ref: str | None = None
    player_id: str | None = None
    our_id: str | None = None


class Accepted(Struct, frozen=True, kw_only=True):
    """The provider has taken the call on; `state` is the object's state in the same answer.

    `payment_url` is where the player pays, if the provider has such a page. `made` is what the provider says
    it has made; whether that is what we asked for is judged by `matching.py`. `others` are further objects
    under the same id of ours: each of them may have moved money.
    """

    provider_ref: str
    state: RemoteState = RemoteState.PENDING
    reason: str = ""
    payment_url: str = ""
    made: Made = Made()
    others: tuple["Accepted", ...] = ()


class Declined(Struct, frozen=True, kw_only=True):
    """The provider has definitely refused; nothing was done and nothing will be."""

    code: str
    message: str


class Unknown(Struct, frozen=True, kw_only=True):
    """The outcome is unknown. Ask by reading, or try again with the same key.

    `retry_after_seconds` is the pause that the provider asked for, if it did. `silent` says that nothing at
    all was heard of the provider: no connection, or no answer in time.
    """

    reason: str
    retry_after_seconds: float | None = None
    silent: bool = False


class Unsent(Struct, frozen=True, kw_only=True):
    """No byte of the call has left: the proof that it may leave was missing."""

    reason: str


class NotOurs(Struct, frozen=True, kw_only=True):
    """The provider has something else under our id or key than what we asked for: a person decides.

    Attributes:
        provider_ref: of the object, if there is one to name.
        evidence: what differs, each with what was asked for and what was found.
    """

    provider_ref: str
    reason: str
    evidence: Mapping[str, str]


class NotFound(Struct, frozen=True):
    """The provider has, for certain, nothing under that id at this moment."""


Answer = Accepted | Declined | Unknown | Unsent | NotOurs


class ProviderRecordPage(Struct, frozen=True, kw_only=True):
    """A page of records; an empty cursor says that it was the last one."""

    records: Sequence[ProviderRecord]
    next_cursor: str


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a provider can do.

    Attributes:
        listed: the kinds of which the listing has every record: only for these does absence from a complete
            listing prove anything.
        idempotency_seconds: for how long the provider is certain to remember an idempotency key. After that,
            a call with an unknown outcome may not be tried again, only asked for.
    """

    payments: bool
    payouts: bool
    refunds: bool
    listed: frozenset[ProviderRecordKind]
    idempotency_seconds: float


class ListingFailed(Exception):
    """A page could not be read; what was read so far is incomplete.

    `retry_after_seconds` is the pause that the provider asked for, if it did.
    """

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class Adapter(Protocol):
    """One account at one provider."""

    @property
    def capabilities(self) -> Capabilities:
        """What the provider can do."""

    def to_provider(self, amount: int, currency: str, kind: ProviderCallKind) -> int:
        """Return an amount in the provider's minor units.

        Raises:
            CurrencyUnsupported: the provider does not know the currency.
            NotRepresentable: the amount has no exact value there.
        """

    def from_provider(self, amount: int, currency: str) -> int:
        """Return an amount of the provider in the ledger's minor units; raises like `to_provider`."""

    async def call(self, call: ProviderCall, proof: Proof) -> Answer:
        """Make a call, once; safe to repeat with the same call within `idempotency_seconds`.

        Args:
            proof: asked for once the connection is there, and checked at each write of the request.
        """

    async def find(self, call: ProviderCall, provider_ref: str) -> Accepted | NotFound | Unknown:
        """Find out what became of a call: by the provider's id if that is known, else by our own."""

    async def list_provider_records(
        self, from_time: datetime, to_time: datetime, cursor: str, limit: int
    ) -> ProviderRecordPage:
        """Return a page of what was created in from_time ≤ create_time < to_time.

        Pages come in no promised order, may repeat records while data moves, and may hold more records than
        `limit`, since a movement's fee is a record too. Only after the last page is a window complete.

        Raises:
            ListingFailed: try again, not before `retry_after_seconds`.
        """

    async def close(self) -> None:
        """Let go of connections."""


class ProviderAccount(Struct, frozen=True, kw_only=True):
    """One configured account at a provider: its name is what callers say in `provider`."""

    name: str
    adapter: str
    settings: Mapping[str, str]
