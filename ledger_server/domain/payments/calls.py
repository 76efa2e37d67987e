"""Owns calls to providers as the rules see them: which call is owed, and what became of it."""

from msgspec import Struct

from ledger_server.domain.code import Code


class CallKind(Code):
    """What is asked of a provider. Numbers are stored: never reuse one."""

    CREATE_PAYMENT = 1
    CREATE_PAYOUT = 2
    REFUND = 3


class OwedCall(Struct, frozen=True, kw_only=True):
    """A call that is owed as of the commit that decided it; its number is the sequence of that record.

    `subject` is the number of the payment or refund that the call is for. The provider echoes our id of the
    subject, and `tx_` with that id is the idempotency key of every try.
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
