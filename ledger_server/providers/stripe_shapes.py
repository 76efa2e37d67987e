"""Owns the shapes of Stripe's answers: the fields that the adapter reads, and their meaning."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct, convert

from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.providers.adapter import Accepted, Made
from ledger_server.providers.amounts import AmountRefused, Amounts

if TYPE_CHECKING:
    from stripe import StripeObject  # settlement reports are read without it

OUR_ID: Final = "our_id"
PLAYER_ID: Final = "player_id"

# One table for payments, payouts and refunds: no state name has different meanings among them.
_STATES: Final = {
    "requires_capture": RemoteState.AUTHORIZED,
    "succeeded": RemoteState.SUCCEEDED,
    "paid": RemoteState.SUCCEEDED,
    "canceled": RemoteState.FAILED,
    "failed": RemoteState.FAILED,
}
# By the type; a type that is not listed is UNKNOWN, since Stripe adds types at any time.
_KINDS: Final = {
    "charge": ProviderRecordKind.PAYMENT,
    "payment": ProviderRecordKind.PAYMENT,
    "payment_failure_refund": ProviderRecordKind.PAYMENT,
    "payment_reversal": ProviderRecordKind.PAYMENT,
    "refund": ProviderRecordKind.REFUND,
    "payment_refund": ProviderRecordKind.REFUND,
    "refund_failure": ProviderRecordKind.REFUND,
    "payout": ProviderRecordKind.PAYOUT,
    "payout_cancel": ProviderRecordKind.PAYOUT,
    "payout_failure": ProviderRecordKind.PAYOUT,
    "stripe_fee": ProviderRecordKind.FEE,
    "stripe_fx_fee": ProviderRecordKind.FEE,
    "tax_fee": ProviderRecordKind.FEE,
}
# Known types that belong to no payment of ours, as Stripe's API reference lists them.
_OTHER: Final = frozenset({
    "adjustment", "advance", "advance_funding", "anticipation_repayment", "application_fee",
    "application_fee_refund", "climate_order_purchase", "climate_order_refund",
    "connect_collection_transfer", "contribution", "fee_credit_funding", "inbound_transfer",
    "inbound_transfer_reversal", "issuing_authorization_hold", "issuing_authorization_release",
    "issuing_dispute", "issuing_dispute_provisional_credit", "issuing_dispute_provisional_credit_reversal",
    "issuing_transaction", "obligation_outbound", "obligation_reversal_inbound",
    "payment_network_reserve_hold", "payment_network_reserve_release", "payment_unreconciled",
    "payout_minimum_balance_hold", "payout_minimum_balance_release", "reserve_hold", "reserve_release",
    "reserve_transaction", "reserved_funds", "stripe_balance_payment_debit",
    "stripe_balance_payment_debit_reversal", "tax_fund", "topup", "topup_reversal", "transfer",
    "transfer_cancel", "transfer_failure", "transfer_refund",
})  # fmt: skip
# Cases in which Stripe's reporting category says more than the type. For disputes the type is `adjustment`;
# for the part of an authorisation that was never captured it is `refund`, though it only takes the charge
# back in part.
_BY_CATEGORY: Final = {
    "charge_failure": ProviderRecordKind.PAYMENT,
    "dispute": ProviderRecordKind.DISPUTE,
    "dispute_reversal": ProviderRecordKind.DISPUTE,
    "fee": ProviderRecordKind.FEE,
    "partial_capture_reversal": ProviderRecordKind.PAYMENT,
    "refund_failure": ProviderRecordKind.REFUND,
}
# Types and categories of money that came back: the object has failed, whatever state its source still shows.
_CAME_BACK: Final = frozenset(
    {
        "charge_failure",
        "payment_failure_refund",
        "payment_reversal",
        "payout_cancel",
        "payout_failure",
        "payout_reversal",
        "refund_failure",
    }
)
_STATEFUL: Final = frozenset(
    {
        ProviderRecordKind.PAYMENT,
        ProviderRecordKind.PAYOUT,
        ProviderRecordKind.REFUND,
        ProviderRecordKind.SETTLEMENT,
    }
)
_PARTIAL_CAPTURE: Final = "partial_capture_reversal"


class _Named(Struct, frozen=True):
    """An expanded object in the place of its id."""

    id: str


class Remote(Struct, frozen=True):
    """A PaymentIntent, payout or refund."""

    id: str
    status: str | None = None
    metadata: Mapping[str, str] | None = None
    failure_code: str | None = None
    failure_reason: str | None = None
    cancellation_reason: str | None = None
    amount: int | None = None
    currency: str | None = None
    destination: _Named | str | None = None
    payment_intent: _Named | str | None = None

    def accepted(self) -> Accepted:
        """Return what the ledger makes of it."""
        echoed = self.metadata or {}
        return Accepted(
            provider_ref=self.id,
            state=_STATES.get(self.status or "", RemoteState.PENDING),
            reason=self.failure_code or self.failure_reason or self.cancellation_reason or "",
            made=Made(
                amount=self.amount,
                currency=None if self.currency is None else self.currency.upper(),
                destination=_id(self.destination),
                payment_ref=_id(self.payment_intent),
                player_id=echoed.get(PLAYER_ID),
                our_id=echoed.get(OUR_ID),
            ),
        )

    def is_ours(self, our_id: str) -> bool:
        """Return whether it echoes an id of ours."""
        return (self.metadata or {}).get(OUR_ID) == our_id


class StripePage(Struct, frozen=True):
    """A page of a listing, newest first, or of a search."""

    data: list[Remote]
    has_more: bool

    @property
    def next_cursor(self) -> str | None:
        """Where the listing goes on; None on the last page, empty if a page without objects promises more."""
        return _next_cursor(self.data, has_more=self.has_more)


class _Source(Struct, frozen=True):
    id: str
    object: str = ""
    status: str | None = None
    metadata: Mapping[str, str] | None = None
    payment_intent: str | None = None
    charge: str | None = None
    automatic: bool = False
    amount: int | None = None
    currency: str | None = None

    @property
    def our_id(self) -> str:
        """Our id as Stripe echoes it; empty where it has none."""
        return (self.metadata or {}).get(OUR_ID) or ""

    @property
    def is_ours(self) -> bool:
        """Whether we asked for it."""
        return not self.automatic and self.our_id != ""


class _Movement(Struct, frozen=True):
    id: str
    type: str
    amount: int
    currency: str
    created: int
    fee: int = 0
    reporting_category: str = ""
    source: _Source | str | None = None

    @property
    def expanded(self) -> _Source | None:
        """The object that moved, if it was sent along."""
        return self.source if isinstance(self.source, _Source) else None

    @property
    def kind(self) -> ProviderRecordKind:
        """The kind of the movement."""
        kind = _BY_CATEGORY.get(self.reporting_category) or _KINDS.get(self.type)
        if kind is None:
            return ProviderRecordKind.OTHER if self.type in _OTHER else ProviderRecordKind.UNKNOWN
        # Stripe uses the same objects for payouts of the balance to our own bank and for payouts to players.
        if kind is ProviderRecordKind.PAYOUT and self.expanded is not None and not self.expanded.is_ours:
            return ProviderRecordKind.SETTLEMENT
        return kind

    @property
    def state(self) -> RemoteState:
        """The present state of the object that moved; a movement without such an object has succeeded."""
        if self.kind not in _STATEFUL:
            return RemoteState.SUCCEEDED
        if self.type in _CAME_BACK or self.reporting_category in _CAME_BACK:
            return RemoteState.FAILED
        if self.expanded is None or self.reporting_category == _PARTIAL_CAPTURE:
            return RemoteState.SUCCEEDED
        return _STATES.get(self.expanded.status or "succeeded", RemoteState.PENDING)


class Movements(Struct, frozen=True):
    """A page of balance transactions, newest first."""

    data: list[_Movement]
    has_more: bool

    @property
    def next_cursor(self) -> str | None:
        """Where the listing goes on; None on the last page, empty if a page without objects promises more."""
        return _next_cursor(self.data, has_more=self.has_more)

    def provider_records(self, amounts: Amounts) -> Iterator[ProviderRecord]:
        """Return a record per movement, and one more for the fee of each that has one."""
        for movement in self.data:
            yield _provider_record(movement, amounts)
            if movement.fee and movement.kind is not ProviderRecordKind.FEE:
                yield _fee(movement, amounts)


def _next_cursor(data: Sequence[Remote | _Movement], *, has_more: bool) -> str | None:
    if not has_more:
        return None
    return data[-1].id if data else ""


def _id(named: _Named | str | None) -> str | None:
    return named.id if isinstance(named, _Named) else named


def remote(answer: "StripeObject") -> Remote:
    """Read a payment, payout or refund; msgspec.ValidationError where Stripe's answer is none."""
    return convert(answer.to_dict(), type=Remote)


def page(answer: "StripeObject") -> StripePage:
    """Read a page of payments, payouts or refunds."""
    return convert(answer.to_dict(), type=StripePage)


def movements(answer: "StripeObject") -> Movements:
    """Read a page of balance transactions."""
    return convert(answer.to_dict(), type=Movements)


def _provider_record(movement: _Movement, amounts: Amounts) -> ProviderRecord:
    source, kind, ref = movement.expanded, movement.kind, _ref(movement)
    # Stripe keeps its books in the settlement currency; the ledger knows what the player paid. For a partial
    # capture the whole authorised amount moves first, and then the rest moves back.
    amount, currency = movement.amount, movement.currency
    if source and source.amount is not None and source.currency and source.currency != currency:
        amount, currency = (-source.amount if movement.amount < 0 else source.amount), source.currency
    return ProviderRecord(
        kind=kind,
        record_id=movement.id,
        provider_ref=ref,
        payment_ref=_payment(source),
        our_id=source.our_id if source else "",
        state=movement.state,
        amount=_ledger_amount(amount, currency.upper(), amounts),
        currency=currency.upper(),
        create_time=datetime.fromtimestamp(movement.created, UTC),
        provider_type=movement.type,
        batch=ref if kind is ProviderRecordKind.SETTLEMENT else "",
    )


def _fee(movement: _Movement, amounts: Amounts) -> ProviderRecord:
    """Return the record of what Stripe kept of a movement; the ledger knows that fee by the movement's id."""
    currency = movement.currency.upper()
    return ProviderRecord(
        kind=ProviderRecordKind.FEE,
        record_id=movement.id,
        provider_ref=movement.id,
        payment_ref=_payment(movement.expanded),
        state=RemoteState.SUCCEEDED,
        amount=_ledger_amount(-movement.fee, currency, amounts),
        currency=currency,
        create_time=datetime.fromtimestamp(movement.created, UTC),
        provider_type=f"{movement.type}.fee",
        our_id="",
        batch="",
    )


def _ref(movement: _Movement) -> str:
    """Return the id of what moved: of a payment its PaymentIntent; of what is no object, the movement's."""
    if movement.kind not in _STATEFUL and movement.kind is not ProviderRecordKind.DISPUTE:
        return movement.id
    match movement.source:
        case None:
            return movement.id
        case str(source_id):
            return source_id
        case source:
            return (_payment(source) if movement.kind is ProviderRecordKind.PAYMENT else "") or source.id


def _payment(source: _Source | None) -> str:
    return (source.payment_intent or source.charge or "") if source else ""


def _ledger_amount(amount: int, currency: str, amounts: Amounts) -> int | None:
    try:
        return amounts.from_provider(amount, currency)
    except AmountRefused:
        return None
