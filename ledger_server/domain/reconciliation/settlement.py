"""Owns the contents of settlement reports: lines, the provider records they stand for, and the batches."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, assert_never

from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.code import Code
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState


class ReportFormat(Code):
    """Which report a file is; numbers are those of `ReportFormat` in the contract."""

    STRIPE_PAYOUT_RECONCILIATION = 1
    """Also its kin: what is not paid out yet (`ending_balance_reconciliation.itemized`), and the payouts
    themselves (`payouts.itemized`)."""
    STRIPE_BALANCE_CHANGE = 2
    ADYEN_SETTLEMENT_DETAILS = 3


class SettlementBatchState(Code):
    """Where a batch stands; numbers are those of `SettlementBatchState` in the contract."""

    IN_PROGRESS = 1
    """The pay-out or the lines that it consists of are not known yet."""
    BALANCED = 2
    UNBALANCED = 3
    CONFIRMED = 4
    """Set when the money is moved to the bank, never found by adding up."""


class SettlementLine(Struct, frozen=True, kw_only=True):
    """One line of a settlement report. Amounts are minor units of the ledger; gross − fee = net.

    Attributes:
        line_number: where it stands in the file, the header being line 1.
        line_id: the same in every file that has the line, under whatever number; a line that was read before
            is recognised by it.
        provider_ref: the provider's id of what moved, as in `ProviderRecord`.
        payment_ref: the provider's id of the payment that it belongs to.
        our_id: our id as the provider echoes it; empty where it has none.
        batch: the provider's id of the payout that has it; empty if none has.
        currency: the settlement currency, of gross, fee and net.
        gross: what moved before fees, positive into our account; 0 of a line that is all fee.
        fee: what the provider kept of it, of whatever kind; negative where it gave some back.
        original_amount: `gross` in the currency that the player paid; None if that has no exact value in the
            ledger's units or is not stated.
        is_payout: whether the line is the batch's own pay-out to our bank (gross is negative then), or the
            pay-out coming back.
    """

    line_number: int
    line_id: str
    kind: ProviderRecordKind
    provider_type: str
    provider_ref: str
    payment_ref: str
    our_id: str
    state: RemoteState
    batch: str
    currency: str
    gross: int
    fee: int
    net: int
    original_amount: int | None
    original_currency: str
    create_time: datetime
    is_payout: bool

    def __post_init__(self) -> None:
        """Check the equation that every sum relies on."""
        assert self.gross - self.fee == self.net, "a reader lets no line pass that contradicts itself"
        assert self.create_time.tzinfo is not None, "a reader knows the zone of each time"
        assert self.gross == 0 or self.kind is not ProviderRecordKind.FEE, (
            "a line that is all fee moves nothing else"
        )


def provider_records_of(line: SettlementLine) -> tuple[ProviderRecord, ...]:
    """Return a line's records: the movement, and what the provider kept of it as a FEE record of its own.

    Both have the line's id; id and kind together are what a listing calls them too.
    """
    if line.kind is ProviderRecordKind.FEE:
        return (_provider_record_of_fee(line, line.provider_ref, line.provider_type),)
    movement = ProviderRecord(
        kind=line.kind,
        record_id=line.line_id,
        provider_ref=line.provider_ref,
        payment_ref=line.payment_ref,
        our_id=line.our_id,
        state=line.state,
        amount=line.original_amount,
        currency=line.original_currency,
        create_time=line.create_time,
        provider_type=line.provider_type,
        batch=line.batch,
    )
    if not line.fee:
        return (movement,)
    return movement, _provider_record_of_fee(line, line.line_id, f"{line.provider_type}.fee")


def _provider_record_of_fee(line: SettlementLine, provider_ref: str, provider_type: str) -> ProviderRecord:
    return ProviderRecord(
        kind=ProviderRecordKind.FEE,
        record_id=line.line_id,
        provider_ref=provider_ref,
        payment_ref=line.payment_ref,
        state=RemoteState.SUCCEEDED,
        amount=-line.fee,
        currency=line.currency,
        create_time=line.create_time,
        provider_type=provider_type,
        batch=line.batch,
        our_id="",
    )


class Totals(Struct, frozen=True, kw_only=True):
    """The sums of one batch's lines: gross − fees − refunds − chargebacks + corrections = paid out.

    Attributes:
        gross: payments taken in, less payments that failed later.
        fee: kept, of whatever kind; positive.
        refund: refunds and payouts to players, less those that came back; positive.
        chargeback: disputed money, less what came back; positive if we lost money.
        correction: everything else, signed: reserves, top-ups, what was carried over, unknown types.
        paid_out: what the provider says that it paid out, less what came back; None if there is no pay-out
            line.
        line_count: lines without the pay-out's own.
        paid_out_time: of the last pay-out line.
    """

    gross: int
    fee: int
    refund: int
    chargeback: int
    correction: int
    paid_out: int | None
    line_count: int
    paid_out_time: datetime | None

    @classmethod
    def of(cls, line: SettlementLine) -> "Totals":
        """Return what one line adds to its batch."""
        return cls.of_sum(
            line.kind,
            is_payout=line.is_payout,
            gross=line.gross,
            fee=line.fee,
            line_count=1,
            last_time=line.create_time,
        )

    @classmethod
    def of_sum(
        cls,
        kind: ProviderRecordKind,
        *,
        is_payout: bool,
        gross: int,
        fee: int,
        line_count: int,
        last_time: datetime,
    ) -> "Totals":
        """Return what lines of one kind add to their batch, given what they add up to."""
        if is_payout:
            return replace(NOTHING, fee=fee, paid_out=-gross, paid_out_time=last_time)
        match kind:
            case ProviderRecordKind.PAYMENT:
                return replace(NOTHING, gross=gross, fee=fee, line_count=line_count)
            case ProviderRecordKind.REFUND | ProviderRecordKind.PAYOUT:
                return replace(NOTHING, refund=-gross, fee=fee, line_count=line_count)
            case ProviderRecordKind.DISPUTE:
                return replace(NOTHING, chargeback=-gross, fee=fee, line_count=line_count)
            case (
                ProviderRecordKind.FEE
                | ProviderRecordKind.SETTLEMENT
                | ProviderRecordKind.OTHER
                | ProviderRecordKind.UNKNOWN
            ):
                return replace(NOTHING, correction=gross, fee=fee, line_count=line_count)
            case _:
                assert_never(kind)

    def plus(self, other: "Totals") -> "Totals":
        """Return the sum of both: a batch may be spread over several files."""
        times = [time for time in (self.paid_out_time, other.paid_out_time) if time is not None]
        paid_out = [amount for amount in (self.paid_out, other.paid_out) if amount is not None]
        return Totals(
            gross=self.gross + other.gross,
            fee=self.fee + other.fee,
            refund=self.refund + other.refund,
            chargeback=self.chargeback + other.chargeback,
            correction=self.correction + other.correction,
            paid_out=sum(paid_out) if paid_out else None,
            line_count=self.line_count + other.line_count,
            paid_out_time=max(times, default=None),
        )

    @property
    def computed(self) -> int:
        """What should have been paid out by the lines."""
        return self.gross - self.fee - self.refund - self.chargeback + self.correction

    @property
    def difference(self) -> int:
        """What was paid out beyond `computed`; 0 while the batch is in progress."""
        if self.state is SettlementBatchState.IN_PROGRESS or self.paid_out is None:
            return 0
        return self.paid_out - self.computed

    @property
    def state(self) -> SettlementBatchState:
        """Where the batch stands.

        Some reports have lines and pay-outs in different files. With only one of the two there is nothing to
        compare, so neither a pay-out without lines nor lines without a pay-out are out of balance.
        """
        if self.paid_out is None or not self.line_count:
            return SettlementBatchState.IN_PROGRESS
        return (
            SettlementBatchState.BALANCED
            if self.paid_out == self.computed
            else SettlementBatchState.UNBALANCED
        )


class SettlementBatch(Struct, frozen=True, kw_only=True):
    """One payout of a provider to our bank, in one currency."""

    batch_id: str
    currency: str
    totals: Totals

    @property
    def state(self) -> SettlementBatchState:
        """Where it stands."""
        return self.totals.state


NOTHING: Final = Totals(
    gross=0,
    fee=0,
    refund=0,
    chargeback=0,
    correction=0,
    paid_out=None,
    line_count=0,
    paid_out_time=None,
)
"""The sums of no lines at all."""


def batches_of(lines: Iterable[SettlementLine]) -> tuple[SettlementBatch, ...]:
    """Add lines up by batch and currency, in the order in which batches first appear.

    Memory is one sum per batch, however many lines there are. Lines without a batch are left out. A caller
    with lines of several files passes each `line_id` once.
    """
    sums: dict[tuple[str, str], Totals] = {}
    for line in lines:
        if line.batch:
            key = (line.batch, line.currency)
            sums[key] = sums.get(key, NOTHING).plus(Totals.of(line))
    return tuple(
        SettlementBatch(batch_id=batch_id, currency=currency, totals=totals)
        for (batch_id, currency), totals in sums.items()
    )
