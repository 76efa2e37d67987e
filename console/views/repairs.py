"""Owns what a page tells before a repair: which news the provider's record stands for, and what they move.

The ledger decides by its rules of payments; this reads what the contract says of a record's kind and sign.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from console.catalogue import N_
from defter_client import messages as m

_IN: Final[Mapping[int, str]] = {
    m.RECORD_KIND_PAYMENT: N_("the player's payment was taken in"),
    m.RECORD_KIND_PAYOUT: N_("the payout to the player has failed"),
    m.RECORD_KIND_REFUND: N_("the refund to the player has failed"),
}
_OUT: Final[Mapping[int, str]] = {
    m.RECORD_KIND_PAYMENT: N_("the player's payment was lost again"),
    m.RECORD_KIND_PAYOUT: N_("the payout to the player was made"),
    m.RECORD_KIND_REFUND: N_("the refund to the player was made"),
}


class Leg(NamedTuple):
    """One side of what is moved; amounts are minor units, positive."""

    account: str
    is_debit: bool
    amount_minor: int


class Preview(NamedTuple):
    """What a repair would have the ledger hear, and what that moves where nothing of it is booked yet.

    Attributes:
        news: what the record says, in words, in English.
    """

    news: str
    legs: tuple[Leg, Leg]


def preview_of(finding: m.Finding) -> Preview | None:
    """Return what a repair would book; None where nothing can be booked from the provider's record."""
    side = finding.at_provider
    if not finding.payment_id or not side.HasField("amount_minor") or not side.amount_minor:
        return None
    is_in = side.amount_minor > 0
    news = (_IN if is_in else _OUT).get(side.kind)
    if news is None:
        return None
    amount = abs(side.amount_minor)
    # Positive is into our account at the provider, which is an asset.
    return Preview(
        news,
        (
            Leg(N_("what the provider owes us"), is_in, amount),
            Leg(N_("the player's money"), not is_in, amount),
        ),
    )
