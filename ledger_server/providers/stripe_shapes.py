"""Owns which of Stripe's fields the adapter reads, and what they mean to the ledger."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct, convert
from stripe import StripeObject

from ledger_server.providers.adapter import Accepted, ProviderRecord, RecordKind, RemoteState
from ledger_server.providers.amounts import AmountRefused, Amounts

OUR_ID: Final = "our_id"
PLAYER_ID: Final = "player_id"

# Payments, payouts and refunds have no state name in common that would mean different things.
_STATES: Final = {
    "requires_capture": RemoteState.AUTHORIZED,
    "succeeded": RemoteState.SUCCEEDED,
    "paid": RemoteState.SUCCEEDED,
    "canceled": RemoteState.FAILED,
    "failed": RemoteState.FAILED,
}
# Every other type (reserves, transfers, corrections, what comes to be) is OTHER: the set is open.
_KINDS: Final = {
    "charge": RecordKind.PAYMENT,
    "payment": RecordKind.PAYMENT,
    "refund": RecordKind.REFUND,
    "payment_refund": RecordKind.REFUND,
    "payout": RecordKind.PAYOUT,
    "stripe_fee": RecordKind.FEE,
    "stripe_fx_fee": RecordKind.FEE,
}
_DISPUTE: Final = "dispute"


class Remote(Struct, frozen=True):
    """A PaymentIntent, payout or refund."""

    id: str
    status: str | None = None
    metadata: Mapping[str, str] | None = None
    failure_code: str | None = None
    failure_reason: str | None = None
    cancellation_reason: str | None = None

    def accepted(self) -> Accepted:
        """Return what the ledger makes of it."""
        return Accepted(
            provider_ref=self.id,
            state=_STATES.get(self.status or "", RemoteState.PENDING),
            reason=self.failure_code or self.failure_reason or self.cancellation_reason or "",
        )

    def is_ours(self, our_id: str) -> bool:
        """Return whether it echoes an id of ours."""
        return (self.metadata or {}).get(OUR_ID) == our_id


class Page(Struct, frozen=True):
    """A page of a listing, newest first, or of a search."""

    data: list[Remote]
    has_more: bool


class _Source(Struct, frozen=True):
    id: str
    object: str = ""
    status: str | None = None
    metadata: Mapping[str, str] | None = None
    payment_intent: str | None = None
    charge: str | None = None
    amount: int | None = None
    amount_captured: int | None = None
    currency: str | None = None


class _Movement(Struct, frozen=True):
    id: str
    type: str
    amount: int
    currency: str
    created: int
    fee: int = 0
    reporting_category: str = ""
    source: _Source | str | None = None


class Movements(Struct, frozen=True):
    """A page of balance transactions, newest first."""

    data: list[_Movement]
    has_more: bool

    def records(self, amounts: Amounts) -> Iterator[ProviderRecord]:
        """Return a record per movement, and one more for the fee of each that has one."""
        for movement in self.data:
            yield _record(movement, amounts)
            if movement.fee and _KINDS.get(movement.type) is not RecordKind.FEE:
                yield _fee(movement, amounts)


def remote(answer: StripeObject) -> Remote:
    """Read a payment, payout or refund; msgspec.ValidationError where Stripe's answer is none."""
    return convert(answer.to_dict(), type=Remote)


def page(answer: StripeObject) -> Page:
    """Read a page of payments, payouts or refunds."""
    return convert(answer.to_dict(), type=Page)


def movements(answer: StripeObject) -> Movements:
    """Read a page of balance transactions."""
    return convert(answer.to_dict(), type=Movements)


def _record(movement: _Movement, amounts: Amounts) -> ProviderRecord:
    source = movement.source if isinstance(movement.source, _Source) else None
    kind = _KINDS.get(movement.type, RecordKind.OTHER)
    if movement.reporting_category.startswith(_DISPUTE):
        kind = RecordKind.DISPUTE
    # Stripe keeps its books in the currency that it settles in; the ledger knows what the player paid.
    amount, currency = movement.amount, movement.currency
    if source and source.amount is not None and source.currency and source.currency != currency:
        sign = -1 if movement.amount < 0 else 1
        # Of a partial capture only that part moved.
        stated = source.amount if source.amount_captured is None else source.amount_captured
        amount, currency = sign * stated, source.currency
    return ProviderRecord(
        kind=kind,
        provider_ref=_ref(movement, kind),
        payment_ref=_payment(source),
        our_id=((source.metadata or {}).get(OUR_ID) or "") if source else "",
        state=_STATES.get((source.status if source else None) or "succeeded", RemoteState.PENDING)
        if kind in {RecordKind.PAYMENT, RecordKind.PAYOUT, RecordKind.REFUND}
        else RemoteState.SUCCEEDED,
        amount=_ledger_amount(amount, currency.upper(), amounts),
        currency=currency.upper(),
        create_time=datetime.fromtimestamp(movement.created, UTC),
        provider_type=movement.type,
    )


def _fee(movement: _Movement, amounts: Amounts) -> ProviderRecord:
    currency = movement.currency.upper()
    return ProviderRecord(
        kind=RecordKind.FEE,
        provider_ref=movement.id,
        payment_ref=_payment(movement.source if isinstance(movement.source, _Source) else None),
        state=RemoteState.SUCCEEDED,
        amount=_ledger_amount(-movement.fee, currency, amounts),
        currency=currency,
        create_time=datetime.fromtimestamp(movement.created, UTC),
        provider_type=f"{movement.type}.fee",
    )


def _ref(movement: _Movement, kind: RecordKind) -> str:
    """Return the id that the ledger knows a movement by: of a payment its PaymentIntent.

    One dispute moves money several times, and so may anything that is none of payment, payout and refund:
    those go by the movement's own id.
    """
    if kind not in {RecordKind.PAYMENT, RecordKind.PAYOUT, RecordKind.REFUND}:
        return movement.id
    match movement.source:
        case None:
            return movement.id
        case str(source_id):
            return source_id
        case source:
            return (source.payment_intent if kind is RecordKind.PAYMENT else None) or source.id


def _payment(source: _Source | None) -> str:
    return (source.payment_intent or source.charge or "") if source else ""


def _ledger_amount(amount: int, currency: str, amounts: Amounts) -> int | None:
    try:
        return amounts.from_provider(amount, currency)
    except AmountRefused:
        return None
