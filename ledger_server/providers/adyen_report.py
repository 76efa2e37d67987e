"""Owns the reading of Adyen's settlement details report: the meaning of its columns.

Source: docs.adyen.com/reporting/settlement-reconciliation/transaction-level/settlement-details-report.
Amounts are decimals in major units without a sign; the sign follows from the debit or credit column. Columns
ending in (GC) are in the currency that the player paid, those in (NC) in the one that is settled.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from msgspec import Struct

from ledger_server.domain.provider_record import ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.settlement import SettlementLine
from ledger_server.providers.adyen_zones import AMBIGUOUS, ZONES
from ledger_server.providers.report_rows import EXACT, Broken, Header, Row, Units, Unreadable, shown

_ID_BYTES: Final = 16

_ACCOUNT: Final = "Merchant Account"
_PSP: Final = "Psp Reference"
_OURS: Final = "Merchant Reference"
_TIME: Final = "Creation Date"
_ZONE: Final = "TimeZone"
_TYPE: Final = "Type"
_MODIFICATION: Final = "Modification Reference"
_GROSS_CURRENCY: Final = "Gross Currency"
_GROSS: Final = ("Gross Debit (GC)", "Gross Credit (GC)")
_NET_CURRENCY: Final = "Net Currency"
_NET: Final = ("Net Debit (NC)", "Net Credit (NC)")
_FEES: Final = ("Commission (NC)", "Markup (NC)", "Scheme Fees (NC)", "Interchange (NC)")
_BATCH: Final = "Batch Number"
# Columns that the vendor adds on request.
_OUR_MODIFICATION: Final = "Modification Merchant Reference"
_RATE: Final = "Exchange Rate"
_MORE_FEES: Final = ("Payment Fees (NC)", "DCC Markup (NC)")

_REQUIRED: Final = (
    _ACCOUNT,
    _PSP,
    _OURS,
    _TIME,
    _ZONE,
    _TYPE,
    _MODIFICATION,
    _GROSS_CURRENCY,
    *_GROSS,
    _NET_CURRENCY,
    *_NET,
    *_FEES,
    _BATCH,
)

_PAYOUT: Final = "merchantpayout"
# In lower case: Adyen writes both Balancetransfer and BalanceTransfer.
_KINDS: Final = {
    "settled": ProviderRecordKind.PAYMENT,
    "settledexternally": ProviderRecordKind.PAYMENT,
    "settledinstallment": ProviderRecordKind.PAYMENT,
    "settledreversed": ProviderRecordKind.PAYMENT,
    "capturefailed": ProviderRecordKind.PAYMENT,
    "refunded": ProviderRecordKind.REFUND,
    "refundedexternally": ProviderRecordKind.REFUND,
    "refundedinstallment": ProviderRecordKind.REFUND,
    "refundedreversed": ProviderRecordKind.REFUND,
    "refundfailed": ProviderRecordKind.REFUND,
    "refundnotcleared": ProviderRecordKind.REFUND,
    "chargeback": ProviderRecordKind.DISPUTE,
    "chargebackexternally": ProviderRecordKind.DISPUTE,
    "chargebackreversed": ProviderRecordKind.DISPUTE,
    "chargebackreversedexternally": ProviderRecordKind.DISPUTE,
    "secondchargeback": ProviderRecordKind.DISPUTE,
    "fee": ProviderRecordKind.FEE,
    "misccosts": ProviderRecordKind.FEE,
    "invoicededuction": ProviderRecordKind.FEE,
    "paymentcost": ProviderRecordKind.FEE,
    "settlecost": ProviderRecordKind.FEE,
    "authorisationschemefee": ProviderRecordKind.FEE,
    # A card payout of a balance platform: the platform books its amount, and this report only its cost.
    "bppaidout": ProviderRecordKind.FEE,
    "paidout": ProviderRecordKind.PAYOUT,
    "paidoutreversed": ProviderRecordKind.PAYOUT,
    _PAYOUT: ProviderRecordKind.SETTLEMENT,
    # An earlier pay-out that our bank sent back belongs to the batch in which it comes back.
    "bankinstructionreturned": ProviderRecordKind.SETTLEMENT,
    "balancetransfer": ProviderRecordKind.OTHER,
    "depositcorrection": ProviderRecordKind.OTHER,
    "epapaid": ProviderRecordKind.OTHER,
    "internalcompanypayout": ProviderRecordKind.OTHER,
    "manualcorrected": ProviderRecordKind.OTHER,
    "matchedstatement": ProviderRecordKind.OTHER,
    "merchantpayin": ProviderRecordKind.OTHER,
    "merchantpayinreversed": ProviderRecordKind.OTHER,
    "reserveadjustment": ProviderRecordKind.OTHER,
}
# An object whose money came back has failed, whatever its state was before.
_CAME_BACK: Final = frozenset(
    {
        "bankinstructionreturned",
        "capturefailed",
        "paidoutreversed",
        "refundedreversed",
        "refundfailed",
        "refundnotcleared",
        "settledreversed",
    }
)
_OF_PLAYERS: Final = frozenset(
    {
        ProviderRecordKind.PAYMENT,
        ProviderRecordKind.PAYOUT,
        ProviderRecordKind.REFUND,
        ProviderRecordKind.DISPUTE,
    }
)


class _Money(Struct, frozen=True):
    """The money of a row: minor units of the settlement currency, and what the player paid."""

    gross: int
    fee: int
    net: int
    original: int | None
    original_currency: str


class AdyenReport:
    """Reads the rows of one file.

    Args:
        account: only lines of this merchant account; empty: all.
    """

    __slots__ = ("_account", "_accounts", "_matched", "_repeats", "_rows", "_seen", "_units")

    def __init__(self, header: Header, units: Units, *, account: str = "") -> None:
        header.require(_REQUIRED)
        self._units: Final = units
        self._account: Final = account
        self._accounts: dict[str, str] = {}
        self._rows = 0
        self._matched = 0
        # Some 80 bytes a line: without this table two payments that look the same would be one.
        self._seen: set[bytes] = set()
        self._repeats: dict[bytes, int] = {}

    def line(self, row: Row) -> SettlementLine | None:
        """Return what a row says; None if it is of another account.

        Raises:
            Unreadable: the row is refused.
        """
        self._rows += 1
        if self._account and row.text(_ACCOUNT) != self._account:
            return None
        self._matched += 1
        batch = self._batch(row)
        type_name = row.required(_TYPE)
        lower = type_name.lower()
        kind = _KINDS.get(lower, ProviderRecordKind.UNKNOWN)
        currency = row.required(_NET_CURRENCY).upper()
        money = self._money(row, kind, lower, currency)
        create_time = _create_time(row)
        line_id = self._line_id(row, create_time, money.net)
        payment, modification = row.text(_PSP), row.text(_MODIFICATION)
        of_payout = kind is ProviderRecordKind.PAYOUT
        return SettlementLine(
            line_number=row.line,
            line_id=line_id,
            kind=kind,
            provider_type=type_name,
            provider_ref=(payment if of_payout else "") or modification or payment or line_id,
            payment_ref=payment,
            our_id=_our_id(row, kind),
            state=RemoteState.FAILED if lower in _CAME_BACK else RemoteState.SUCCEEDED,
            batch=batch,
            currency=currency,
            gross=money.gross,
            fee=money.fee,
            net=money.net,
            original_amount=money.original,
            original_currency=money.original_currency,
            create_time=create_time,
            is_payout=lower == _PAYOUT,
        )

    def finish(self) -> None:
        """End the file; Broken if no row was of the account that was asked for."""
        if self._rows and not self._matched:
            raise Broken(1, f"no line is of the {_ACCOUNT} {shown(self._account)}")

    def _batch(self, row: Row) -> str:
        """Return the batch number. Each merchant account counts its own from 1."""
        batch, account = row.text(_BATCH), row.required(_ACCOUNT)
        if batch and self._accounts.setdefault(batch, account) != account:
            raise Unreadable(
                f"batch {shown(batch)} is of {shown(self._accounts[batch])} on an earlier line and here of "
                f"{shown(account)}: import the file once for each account"
            )
        return batch

    def _money(self, row: Row, kind: ProviderRecordKind, lower: str, currency: str) -> _Money:
        """Return the money of a row, if its numbers agree with each other.

        Adyen's rule, from its own samples: net = gross − fees, with fees as positive numbers. If both are in
        one currency the rule holds to the last cent, and a row that breaks it is refused: with a wrong number
        either our fees or our balance would be wrong. If the row converts, the fees are as stated, gross is
        net plus fees, and the rate, which is printed rounded, only has to be plausible.
        """
        net = _debit_or_credit(row, _NET)
        if net is None:
            raise Unreadable(f"both {_NET[0]} and {_NET[1]} are blank")
        gross = _debit_or_credit(row, _GROSS)
        net_minor = self._units.minor(net, currency)
        if kind is ProviderRecordKind.FEE:
            self._check_fee(row, lower, net, gross, currency)
            return _Money(0, -net_minor, net_minor, 0, currency)
        paid_in = row.text(_GROSS_CURRENCY).upper() or currency
        if gross is not None and paid_in == currency:
            fees = EXACT.subtract(gross, net)
            if fees not in _fees(row):
                raise Unreadable(f"gross {gross} {paid_in} less fees {next(_fees(row))} is not net {net}")
            gross_minor = self._units.minor(gross, currency)
            fee_minor = self._units.minor(fees, currency)
            return _Money(gross_minor, fee_minor, net_minor, gross_minor, currency)
        fees = next(_fees(row))
        converted = EXACT.add(net, fees)
        fee_minor, gross_minor = self._units.minor(fees, currency), self._units.minor(converted, currency)
        if gross is None:
            if kind in _OF_PLAYERS:
                raise Unreadable(
                    f"both {_GROSS[0]} and {_GROSS[1]} are blank on a row of type {row.text(_TYPE)}"
                )
            return _Money(gross_minor, fee_minor, net_minor, gross_minor, currency)
        self._check_rate(row, gross, converted, currency)
        original = self._units.minor(gross, paid_in) if self._units.knows(paid_in) else None
        return _Money(gross_minor, fee_minor, net_minor, original, paid_in)

    def _check_fee(self, row: Row, lower: str, net: Decimal, gross: Decimal | None, currency: str) -> None:
        """Refuse a row that is all fee but says two different fees."""
        stated = [fees for fees in _fees(row) if fees]
        taken = EXACT.minus(net)
        if stated and taken not in stated:
            raise Unreadable(f"fees of {stated[0]} are not what was taken, {taken}")
        same_currency = row.text(_GROSS_CURRENCY).upper() in {"", currency}
        # The platform books the amount of a card payout, whatever the gross says here.
        if gross and same_currency and gross != net and lower != "bppaidout":
            raise Unreadable(f"gross {gross} of a fee is not net {net}")

    def _check_rate(self, row: Row, gross: Decimal, converted: Decimal, currency: str) -> None:
        """Refuse a converted row whose rate is beyond rounding: a wrong exponent, a wrong sign."""
        if gross and converted and (gross > 0) != (converted > 0):
            raise Unreadable(f"gross {gross} and net with fees {converted} have different signs")
        rate = row.amount(_RATE)
        if rate is None:
            return
        expected = EXACT.multiply(gross, rate)
        # Adyen's rounding is not documented; one per cent plus one minor unit is more than any rounding.
        allowed = EXACT.add(expected.copy_abs().scaleb(-2, EXACT), self._units.smallest(currency))
        if EXACT.subtract(expected, converted).copy_abs() > allowed:
            raise Unreadable(f"gross {gross} at {_RATE} {rate} is not {converted}, which is net and fees")

    def _line_id(self, row: Row, create_time: datetime, net_minor: int) -> str:
        """Return the line's id, which is the same in every report that has the line.

        Adyen gives lines no id, so it is made from the columns. Columns on request are left out, so that a
        report with more of them has the same ids; rows that agree in all other columns are numbered.
        """
        facts = (
            *(row.text(column) for column in (_ACCOUNT, _PSP, _OURS, _MODIFICATION, _BATCH)),
            row.text(_TYPE).lower(),
            create_time.isoformat(),
            row.text(_GROSS_CURRENCY).upper(),
            _plain(_debit_or_credit(row, _GROSS)),
            row.text(_NET_CURRENCY).upper(),
            str(net_minor),
        )
        digest = _digest(facts)
        if digest not in self._seen:
            self._seen.add(digest)
            return digest.hex()
        repeat = self._repeats[digest] = self._repeats.get(digest, 0) + 1
        return _digest((*facts, str(repeat))).hex()


def _digest(facts: tuple[str, ...]) -> bytes:
    # Lengths are included, so that two different lists of cells never make the same text.
    text = "".join(f"{len(fact)}:{fact}" for fact in facts)
    return hashlib.sha256(text.encode()).digest()[:_ID_BYTES]


def _plain(amount: Decimal | None) -> str:
    """Return an amount in a form in which 5.0 and 5.00 are equal."""
    return "" if amount is None else str(amount.normalize(EXACT) if amount else 0)


def _debit_or_credit(row: Row, columns: tuple[str, str]) -> Decimal | None:
    """Return a signed amount; None if both cells are blank.

    Exactly one cell is ever filled. A zero is not a blank: a row with both cells would contradict itself.
    """
    debit, credit = (row.amount(column) for column in columns)
    if debit is not None and credit is not None:
        raise Unreadable(f"both {columns[0]} and {columns[1]} are filled")
    for column, amount in zip(columns, (debit, credit), strict=True):
        if amount is not None and amount < 0:
            raise Unreadable(f"{column} {amount} is negative: its sign is its column")
    return EXACT.minus(debit) if debit is not None else credit


def _fees(row: Row) -> Iterator[Decimal]:
    """Return the possible fees of a movement, the likeliest reading first.

    Parts may be smaller than a minor unit as long as their sum is not. It is not documented whether the
    columns on request are further parts of the fee or only repeat parts; the row's own numbers decide where
    they can.
    """
    base = _sum(row.amount(column) for column in _FEES)
    more = [row.amount(column) or Decimal(0) for column in _MORE_FEES]
    yield EXACT.add(base, _sum(more))
    if any(more):
        yield base
        for part in more:
            yield EXACT.add(base, part)


def _sum(amounts: Iterable[Decimal | None]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount or Decimal(0))
    return total


def _create_time(row: Row) -> datetime:
    name = row.required(_ZONE)
    zone = ZONES.get(name)
    if zone is None:
        if name in AMBIGUOUS:
            raise Unreadable(f"{_ZONE} {name} may be {AMBIGUOUS[name]}: set the account's reports to UTC")
        raise Unreadable(f"{_ZONE} {shown(name)} is not known")
    return row.local_time(_TIME).replace(tzinfo=zone).astimezone(UTC)


def _our_id(row: Row, kind: ProviderRecordKind) -> str:
    """Return our id of what moved: a refund has an id of its own beside its payment's."""
    match kind:
        case ProviderRecordKind.REFUND:
            return row.text(_OUR_MODIFICATION)
        case ProviderRecordKind.FEE:
            return ""
        case _:
            return row.text(_OURS)
