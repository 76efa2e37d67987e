"""Owns the list of provider events that the ledger needs: an account has to be subscribed to them.

`docs/operations/webhooks.md` tells operators the same. Rare events come only when something goes wrong, so
their absence proves nothing; other events come wherever money moves at all.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from webhook_edge.scheme import Endpoint

DEPOSITS: Final = "deposits"
REFUNDS: Final = "refunds"
DISPUTES: Final = "disputes"
PAYOUTS: Final = "payouts"
PARTS: Final = (DEPOSITS, REFUNDS, DISPUTES, PAYOUTS)
"""What an account may be used for."""

_OUTBOUND: Final = "v2.money_management.outbound_payment."
_TREASURY: Final = "treasury.outbound_payment."


class Need(Struct, frozen=True):
    """A piece of news that has to come; any of the types brings it.

    Attributes:
        part: what it is needed for, one of `PARTS`.
        rare: whether the news comes only when something goes wrong.
    """

    part: str
    what: str
    types: tuple[str, ...]
    rare: bool = False


def needs_of(endpoint: Endpoint) -> Sequence[Need]:
    """Return the news that an endpoint's account has to send."""
    if endpoint.scheme == "adyen" and endpoint.options.get("auto_capture", "").lower() == "true":
        return (Need(DEPOSITS, "captured", ("AUTHORISATION",)), *_NEEDS["adyen"][1:])
    return _NEEDS[endpoint.scheme]


def needed_types(endpoint: Endpoint) -> frozenset[str]:
    """Return the provider's names of all types that an endpoint's account has to send."""
    return _TYPES[endpoint.scheme]


_NEEDS: Final[Mapping[str, tuple[Need, ...]]] = {
    "stripe": (
        # `charge.succeeded` says whether it is captured; any of the three tells the same capture.
        Need(DEPOSITS, "captured", ("payment_intent.succeeded", "charge.succeeded", "charge.captured")),
        Need(
            DEPOSITS,
            "given up",
            ("payment_intent.canceled", "checkout.session.expired", "charge.expired"),
            rare=True,
        ),
        # `charge.refunded` tells a total, and no refund by itself.
        Need(REFUNDS, "refunded", ("refund.created", "refund.updated", "charge.refund.updated")),
        Need(REFUNDS, "refund failed", ("refund.failed",), rare=True),
        Need(DISPUTES, "money taken", ("charge.dispute.funds_withdrawn",), rare=True),
        Need(DISPUTES, "money given back", ("charge.dispute.funds_reinstated",), rare=True),
        Need(
            PAYOUTS, "paid", ("payout.paid", "transfer.created", _TREASURY + "posted", _OUTBOUND + "posted")
        ),
        Need(
            PAYOUTS,
            "failed",
            ("payout.failed", "transfer.reversed", _TREASURY + "failed", _OUTBOUND + "failed"),
            rare=True,
        ),
        Need(
            PAYOUTS, "came back", ("payout.failed", _TREASURY + "returned", _OUTBOUND + "returned"), rare=True
        ),
    ),
    "adyen": (
        Need(DEPOSITS, "captured", ("CAPTURE",)),
        Need(DEPOSITS, "capture failed", ("CAPTURE_FAILED",), rare=True),
        Need(DEPOSITS, "given up", ("CANCELLATION", "TECHNICAL_CANCEL", "EXPIRE", "OFFER_CLOSED"), rare=True),
        Need(REFUNDS, "refunded", ("REFUND", "REFUND_WITH_DATA")),
        Need(REFUNDS, "refund failed", ("REFUND_FAILED", "REFUNDED_REVERSED"), rare=True),
        Need(DISPUTES, "money taken", ("CHARGEBACK", "SECOND_CHARGEBACK"), rare=True),
        Need(DISPUTES, "money given back", ("CHARGEBACK_REVERSED",), rare=True),
        # One type tells that a transfer was paid, failed or came back.
        Need(PAYOUTS, "paid", ("balancePlatform.transfer.updated", "PAYOUT_THIRDPARTY")),
    ),
    "standard": (
        Need(DEPOSITS, "captured", ("payment.captured",)),
        Need(DEPOSITS, "given up", ("payment.failed",), rare=True),
        Need(DEPOSITS, "capture failed", ("payment.capture_failed",), rare=True),
        Need(REFUNDS, "refunded", ("refund.succeeded",)),
        Need(REFUNDS, "refund failed", ("refund.failed",), rare=True),
        Need(DISPUTES, "money taken", ("dispute.funds_withdrawn",), rare=True),
        Need(DISPUTES, "money given back", ("dispute.funds_reinstated",), rare=True),
        Need(PAYOUTS, "paid", ("payout.paid",)),
        Need(PAYOUTS, "failed", ("payout.failed",), rare=True),
    ),
}
_TYPES: Final[Mapping[str, frozenset[str]]] = {
    scheme: frozenset(type_ for need in needs for type_ in need.types)
    | ({"AUTHORISATION"} if scheme == "adyen" else frozenset())
    for scheme, needs in _NEEDS.items()
}
