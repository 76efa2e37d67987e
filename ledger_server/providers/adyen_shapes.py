"""Owns the shapes of Adyen's answers: the fields that the adapter reads, and their meaning."""

from datetime import datetime
from typing import Final
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct, convert

from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.providers.adapter import Accepted, Made
from ledger_server.providers.amounts import AmountRefused, Amounts
from ledger_server.providers.asking import parsed_time

# A paid link does not tell the payment's outcome; the payment's webhook does.
_LINK_STATES: Final = {"expired": RemoteState.FAILED}
_TRANSFER_STATES: Final = {
    "booked": RemoteState.SUCCEEDED,
    "captured": RemoteState.SUCCEEDED,
    "credited": RemoteState.SUCCEEDED,
    "refunded": RemoteState.SUCCEEDED,
    "cancelled": RemoteState.FAILED,
    "error": RemoteState.FAILED,
    "expired": RemoteState.FAILED,
    "failed": RemoteState.FAILED,
    "refused": RemoteState.FAILED,
    "rejected": RemoteState.FAILED,
    "returned": RemoteState.FAILED,
    "reversed": RemoteState.FAILED,
}
# By the transfer's type; a type that is not listed is UNKNOWN, since Adyen adds types at any time.
_KINDS: Final = {
    "bankTransfer": ProviderRecordKind.PAYOUT,
    "capture": ProviderRecordKind.PAYMENT,
    "captureReversal": ProviderRecordKind.PAYMENT,
    "cardTransfer": ProviderRecordKind.PAYOUT,
    "chargeback": ProviderRecordKind.DISPUTE,
    "chargebackCorrection": ProviderRecordKind.DISPUTE,
    "chargebackReversal": ProviderRecordKind.DISPUTE,
    "chargebackReversalCorrection": ProviderRecordKind.DISPUTE,
    "fee": ProviderRecordKind.FEE,
    "invoiceDeduction": ProviderRecordKind.FEE,
    "miscCost": ProviderRecordKind.FEE,
    "payment": ProviderRecordKind.PAYMENT,
    "paymentCost": ProviderRecordKind.FEE,
    "refund": ProviderRecordKind.REFUND,
    "refundReversal": ProviderRecordKind.REFUND,
    "secondChargeback": ProviderRecordKind.DISPUTE,
    "secondChargebackCorrection": ProviderRecordKind.DISPUTE,
}
# Known types that belong to no payment of ours, as the Transfers API lists them.
_OTHER: Final = frozenset({
    "atmWithdrawal", "atmWithdrawalReversal", "balanceAdjustment", "balanceMigration", "balanceRollover",
    "bankDirectDebit", "capitalFundsCollection", "cashOutInstruction", "cashoutFee", "cashoutFunding",
    "cashoutRepayment", "depositCorrection", "grant", "installment", "installmentReversal",
    "internalDirectDebit", "internalTransfer", "leftover", "manualCorrection", "repayment",
    "reserveAdjustment",
})  # fmt: skip
SHOPPER_PREFIX: Final = "player_"
"""The prefix of a player's id, since Adyen requires at least three characters."""
_TO_A_BANK: Final = "bankTransfer"
_OUR_PAYOUT: Final = "wd_"
_OUR_IDS: Final = (_OUR_PAYOUT, "dep_", "ref_")
_OUTGOING: Final = "outgoing"


class _Amount(Struct, frozen=True):
    value: int
    currency: str


class Link(Struct, frozen=True, rename="camel"):
    """A payment link."""

    id: str
    status: str
    url: str = ""
    amount: _Amount | None = None
    reference: str | None = None
    shopper_reference: str | None = None

    def accepted(self) -> Accepted:
        """Return what the ledger makes of it."""
        state = _LINK_STATES.get(self.status, RemoteState.PENDING)
        shopper = self.shopper_reference
        made = Made(
            amount=self.amount.value if self.amount else None,
            currency=self.amount.currency if self.amount else None,
            player_id=None if shopper is None else shopper.removeprefix(SHOPPER_PREFIX),
            our_id=self.reference,
        )
        return Accepted(provider_ref=self.id, state=state, payment_url=self.url, made=made)


class AdyenRefund(Struct, frozen=True, rename="camel"):
    """Adyen's receipt of a refund; the outcome comes by webhook."""

    psp_reference: str
    amount: _Amount | None = None
    payment_psp_reference: str | None = None
    reference: str | None = None

    def accepted(self) -> Accepted:
        """Return what the ledger makes of it."""
        made = Made(
            amount=self.amount.value if self.amount else None,
            currency=self.amount.currency if self.amount else None,
            payment_ref=self.payment_psp_reference,
            our_id=self.reference,
        )
        return Accepted(provider_ref=self.psp_reference, made=made)


class _Counterparty(Struct, frozen=True, rename="camel"):
    transfer_instrument_id: str | None = None


class Transfer(Struct, frozen=True, rename="camel"):
    """A movement of a balance account."""

    id: str
    amount: _Amount
    status: str
    type: str = ""
    category: str = ""
    direction: str = ""
    reference: str = ""
    reason: str = ""
    created_at: str = ""
    creation_date: str = ""
    counterparty: _Counterparty | None = None

    def accepted(self) -> Accepted:
        """Return what the ledger makes of a payout."""
        made = Made(
            amount=self.amount.value,
            currency=self.amount.currency,
            destination=self.counterparty.transfer_instrument_id if self.counterparty else None,
            our_id=self.reference or None,
        )
        return Accepted(provider_ref=self.id, state=self._state(), reason=self.reason, made=made)

    def provider_record(self, amounts: Amounts) -> ProviderRecord:
        """Return it as a record; ValueError when it does not say when it was made."""
        value = -self.amount.value if self.direction == _OUTGOING else self.amount.value
        try:
            amount = amounts.from_provider(value, self.amount.currency)
        except AmountRefused:
            amount = None
        return ProviderRecord(
            kind=self._kind(),
            record_id=self.id,
            provider_ref=self.id,
            # Adyen makes up a reference if none was given.
            our_id=self.reference if self.reference.startswith(_OUR_IDS) else "",
            state=self._state(),
            amount=amount,
            currency=self.amount.currency,
            create_time=self.create_time(),
            provider_type=self.type or self.category or "transfer",
            payment_ref="",
            batch="",
        )

    def create_time(self) -> datetime:
        """Return when it was made; ValueError when it does not say."""
        return parsed_time(self.created_at or self.creation_date)

    def _kind(self) -> ProviderRecordKind:
        """Return the kind of the movement; a transfer to a bank without our reference is our own money."""
        kind = _KINDS.get(self.type)
        if kind is None:
            return ProviderRecordKind.OTHER if self.type in _OTHER else ProviderRecordKind.UNKNOWN
        if kind is not ProviderRecordKind.PAYOUT:
            return kind
        if self.direction != _OUTGOING:
            return ProviderRecordKind.OTHER
        ours = self.reference.startswith(_OUR_PAYOUT)
        return (
            ProviderRecordKind.SETTLEMENT
            if self.type == _TO_A_BANK and not ours
            else ProviderRecordKind.PAYOUT
        )

    def _state(self) -> RemoteState:
        return _TRANSFER_STATES.get(self.status, RemoteState.PENDING)


class _Target(Struct, frozen=True):
    href: str


class _Links(Struct, frozen=True):
    next: _Target | None = None


class Transfers(Struct, frozen=True):
    """A page of transfers, the oldest first."""

    # Required: an answer without this field, such as a proxy's, must not prove that nothing is there.
    data: list[Transfer]
    _links: _Links | None = None

    @property
    def next_cursor(self) -> str:
        """Return the cursor in the link to the next page; empty on the last one."""
        if self._links is None or self._links.next is None:
            return ""
        return parse_qs(urlsplit(self._links.next.href).query).get("cursor", [""])[0]


def link(answer: object) -> Link:
    """Read a payment link; msgspec.ValidationError where Adyen's answer is none."""
    return convert(answer, type=Link)


def refund(answer: object) -> AdyenRefund:
    """Read the receipt of a refund."""
    return convert(answer, type=AdyenRefund)


def transfer(answer: object) -> Transfer:
    """Read a transfer."""
    return convert(answer, type=Transfer)


def transfers(answer: object) -> Transfers:
    """Read a page of transfers."""
    return convert(answer, type=Transfers)
