"""Owns provider records: one movement as a provider lists it, in the ledger's own words."""

from datetime import datetime

from msgspec import Struct

from ledger_server.domain.code import Code


class ProviderRecordKind(Code):
    """What a record is of; numbers are those of `RecordKind` in the contract."""

    PAYMENT = 1
    PAYOUT = 2
    REFUND = 3
    DISPUTE = 4
    FEE = 5
    SETTLEMENT = 6
    """The provider's balance, paid out to our own bank."""
    OTHER = 7
    """A known type that belongs to no payment: a reserve, a top-up, a correction by hand."""
    UNKNOWN = 8
    """A type that nobody here knows: providers add some at any time."""


class RemoteState(Code):
    """Where a payment, payout or refund stands at its provider."""

    PENDING = 1
    AUTHORIZED = 2
    SUCCEEDED = 3
    """Captured, paid, or refunded."""
    FAILED = 4
    """Failed, cancelled, or came back."""


class ProviderRecord(Struct, frozen=True, kw_only=True):
    """One movement as a provider lists it.

    Attributes:
        record_id: the provider's id of the movement; unique with the kind.
        provider_ref: the provider's id of what moved: the capture, payout, refund, dispute or fee. Money that
            came in and left again makes two records of one object.
        payment_ref: the provider's id of the payment that it belongs to, where that is another id.
        our_id: our id as the provider echoes it; empty where it has none.
        state: where the object stands now, not only when it moved.
        amount: minor units of the ledger, positive into our account and negative out of it; None if the
            provider's amount has no exact value in the ledger's units.
        provider_type: the provider's own name of the type.
        batch: the settlement batch that the movement was paid out with, if a settlement report told of it.
    """

    kind: ProviderRecordKind
    record_id: str
    provider_ref: str
    payment_ref: str
    our_id: str
    state: RemoteState
    amount: int | None
    currency: str
    create_time: datetime
    provider_type: str
    batch: str
