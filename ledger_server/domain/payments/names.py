"""Owns the names of the provider's objects: a named object belongs to one payment of ours."""

from collections.abc import Mapping
from typing import Final

from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventType, ProviderEvent
from ledger_server.domain.payments.withdrawal import Withdrawal

# No provider's id contains this character, so a capture is never mistaken for a payment of the same name.
_SEPARATOR: Final = "\x1f"
_CAPTURE: Final = "capture"
_REFUND: Final = "refund"
_DISPUTE: Final = "dispute"
_OBJECTS: Final[Mapping[EventType, str]] = {
    EventType.PAYMENT_CAPTURED: _CAPTURE,
    EventType.CAPTURE_FAILED: _CAPTURE,
    EventType.REFUND_PENDING: _REFUND,
    EventType.REFUND_SUCCEEDED: _REFUND,
    EventType.REFUND_FAILED: _REFUND,
    EventType.DISPUTE_OPENED: _DISPUTE,
    EventType.DISPUTE_FUNDS_WITHDRAWN: _DISPUTE,
    EventType.DISPUTE_FUNDS_REINSTATED: _DISPUTE,
    EventType.DISPUTE_WON: _DISPUTE,
    EventType.DISPUTE_LOST: _DISPUTE,
}


def names_of(payment: Deposit | Withdrawal) -> tuple[str, ...]:
    """Return all names that a payment's objects have at the provider."""
    if isinstance(payment, Withdrawal):
        return payment.refs
    captures = (_name(_CAPTURE, each.provider_ref) for each in payment.captures)
    refunds = (_name(_REFUND, ref) for each in payment.refunds for ref in each.refs)
    disputes = (_name(_DISPUTE, each.provider_ref) for each in payment.disputes)
    return tuple(dict.fromkeys(name for name in (*payment.refs, *captures, *refunds, *disputes) if name))


def told_names(event: ProviderEvent) -> tuple[str, ...]:
    """Return the names of the objects that an event is about."""
    kind = _OBJECTS.get(event.type)
    names = (event.payment_ref, _name(kind, event.object_ref) if kind is not None else "")
    return tuple(name for name in names if name)


def refund_name(provider_ref: str) -> str:
    """Return the name of a refund."""
    return _name(_REFUND, provider_ref)


def _name(kind: str, provider_ref: str) -> str:
    return f"{kind}{_SEPARATOR}{provider_ref}" if provider_ref else ""
