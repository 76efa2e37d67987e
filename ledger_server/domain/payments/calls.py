"""Owns what a call to a provider is to the rules: which one is owed, and what became of it."""

from msgspec import Struct

from ledger_server.domain.code import Code


class CallKind(Code):
    """What is asked of a provider. Numbers are stored: never reuse one."""

    CREATE_PAYMENT = 1
    CREATE_PAYOUT = 2
    REFUND = 3


class OwedCall(Struct, frozen=True, kw_only=True):
    """A call that is owed from the commit on that decided it; its number is that of the record.

    `subject` is the number of the payment, or of the refund, that the call is for; our id of it is what
    the provider echoes, and `tx_` with that id is the idempotency key of every try.
    """

    kind: CallKind
    provider: str
    payment: int
    subject: int


class CallBegun(Struct, frozen=True, kw_only=True):
    """The dispatcher is about to call; from here on the outcome has to be heard from the provider."""


class CallAccepted(Struct, frozen=True, kw_only=True):
    """The provider has taken the call on; the player pays at `payment_url`, if there is one."""

    provider_ref: str
    payment_url: str = ""


class CallRejected(Struct, frozen=True, kw_only=True):
    """The provider has definitely refused; nothing was done."""

    reason: str


CallNews = CallBegun | CallAccepted | CallRejected
