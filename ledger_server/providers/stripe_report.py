"""Owns the reading of Stripe's itemized reports: the meaning of their columns.

Sources: docs.stripe.com/reports/report-types/balance and /payout-reconciliation (columns), docs.stripe.com/
reports/reporting-categories. Amounts are decimals in major units, positive into our balance; `net` is
`gross` − `fee`.
"""

from datetime import UTC, datetime, tzinfo
from typing import Final

from ledger_server.domain.provider_record import ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.settlement import ReportFormat, SettlementLine
from ledger_server.providers.report_rows import Broken, Header, Row, Units, Unreadable, in_zone, shown
from ledger_server.providers.stripe_shapes import OUR_ID

_ID: Final = "balance_transaction_id"
_CATEGORY: Final = "reporting_category"
_BATCH: Final = "automatic_payout_id"
_PAYOUT_ID: Final = "payout_id"
_ACCOUNT: Final = "connected_account"
_MONEY: Final = (_ID, "currency", "gross", "fee", "net", _CATEGORY)

_KINDS: Final = {
    "charge": ProviderRecordKind.PAYMENT,
    "charge_failure": ProviderRecordKind.PAYMENT,
    "partial_capture_reversal": ProviderRecordKind.PAYMENT,
    "refund": ProviderRecordKind.REFUND,
    "refund_failure": ProviderRecordKind.REFUND,
    "dispute": ProviderRecordKind.DISPUTE,
    "dispute_reversal": ProviderRecordKind.DISPUTE,
    "fee": ProviderRecordKind.FEE,
    "network_cost": ProviderRecordKind.FEE,
    "tax": ProviderRecordKind.FEE,
    "payout": ProviderRecordKind.PAYOUT,
    "payout_reversal": ProviderRecordKind.PAYOUT,
    **dict.fromkeys(
        (
            "advance",
            "advance_funding",
            "anticipation_repayment",
            "climate_order_purchase",
            "climate_order_refund",
            "connect_collection_transfer",
            "connect_reserved_funds",
            "contribution",
            "currency_conversion",
            "fee_credit_funding",
            "financing_paydown",
            "financing_paydown_reversal",
            "financing_payout",
            "financing_payout_reversal",
            "issuing_authorization_hold",
            "issuing_authorization_release",
            "issuing_dispute",
            "issuing_transaction",
            "other_adjustment",
            "payment_network_reserve_hold",
            "payment_network_reserve_release",
            "payment_network_reserved_funds",
            "payout_minimum_balance_hold",
            "payout_minimum_balance_release",
            "platform_earning",
            "platform_earning_refund",
            "revenue_share",
            "reward",
            "risk_reserved_funds",
            "stripe_balance_payment_debit",
            "stripe_balance_payment_debit_reversal",
            "tax_fund",
            "tax_withholding",
            "topup",
            "topup_reversal",
            "transfer",
            "transfer_reversal",
            "unreconciled_customer_funds",
        ),
        ProviderRecordKind.OTHER,
    ),
}
# An object whose money came back has failed, whatever its state was before.
_CAME_BACK: Final = frozenset({"charge_failure", "payout_reversal", "refund_failure"})
_PARTIAL_CAPTURE: Final = "partial_capture_reversal"
_PAYOUT_STATES: Final = {
    "paid": RemoteState.SUCCEEDED,
    "failed": RemoteState.FAILED,
    "canceled": RemoteState.FAILED,
}


class StripeReport:
    """Reads the rows of one file.

    Args:
        account: only lines of this connected account; empty: all.
        time_zone: of `created` in a file without `created_utc`. The file does not name the zone that it was
            requested in, so without this setting such a file is refused.
    """

    __slots__ = ("_account", "_batched", "_payouts", "_seen", "_time", "_units", "_zone")

    def __init__(
        self,
        report_format: ReportFormat,
        header: Header,
        units: Units,
        *,
        account: str = "",
        time_zone: tzinfo | None = None,
    ) -> None:
        self._batched: Final = report_format is ReportFormat.STRIPE_PAYOUT_RECONCILIATION
        # The payouts' own report says what was paid out; its rows are told from the others' by this column.
        self._payouts: Final = self._batched and _PAYOUT_ID in header and _BATCH not in header
        self._units: Final = units
        self._account: Final = account
        needed = [*_MONEY]
        if self._payouts:
            needed.append(_PAYOUT_ID)
        elif self._batched:
            needed.append(_BATCH)
        local = "effective_at" if self._payouts else "created"
        self._time, self._zone = f"{local}_utc", None
        if self._time not in header and local in header:
            if time_zone is None:
                raise Broken(
                    header.line,
                    f"{local} is in a zone that the file does not name: add the column {local}_utc",
                )
            self._time, self._zone = local, time_zone
        header.require([*needed, self._time, *([_ACCOUNT] if account else [])])
        # Each balance transaction's row as it was first read: some 150 bytes a line.
        self._seen: dict[str, int] = {}

    def line(self, row: Row) -> SettlementLine | None:
        """Return what a row says; None if it is of another account or was read before.

        Raises:
            Unreadable: the row is refused.
        """
        if self._account and row.text(_ACCOUNT) != self._account:
            return None
        transaction = row.required(_ID)
        content = hash(tuple(row.cells))
        earlier = self._seen.get(transaction)
        if earlier is not None and earlier != content:
            raise Unreadable(f"{_ID} {shown(transaction)} is on an earlier line too, with other facts")
        self._seen[transaction] = content
        return self._line(row, transaction) if earlier is None else None

    def finish(self) -> None:
        """Say that there are no more rows."""

    def _line(self, row: Row, transaction: str) -> SettlementLine:
        category = row.required(_CATEGORY)
        currency = row.required("currency").upper()
        gross, fee, net = (self._money(row, column, currency) for column in ("gross", "fee", "net"))
        if gross - fee != net:
            # Stripe's definition of net. With any of the three numbers wrong, a sum over the file would be
            # wrong too.
            raise Unreadable(
                f"gross {row.text('gross')} less fee {row.text('fee')} is not net {row.text('net')}"
            )
        kind, batch, is_payout = self._place(row, category)
        if kind is ProviderRecordKind.FEE:
            gross, fee = 0, -net
        original_amount, original_currency = self._original(row, kind, category, gross, currency)
        payment = row.text("payment_intent_id") or row.text("charge_id")
        return SettlementLine(
            line_number=row.line,
            line_id=transaction,
            kind=kind,
            provider_type=category,
            provider_ref=self._ref(row, kind, payment) or transaction,
            payment_ref=payment,
            our_id=_our_id(row, kind),
            state=self._state(row, category),
            batch=batch,
            currency=currency,
            gross=gross,
            fee=fee,
            net=net,
            original_amount=original_amount,
            original_currency=original_currency,
            create_time=self._create_time(row),
            is_payout=is_payout,
        )

    def _money(self, row: Row, column: str, currency: str) -> int:
        amount = row.amount(column)
        if amount is None:
            raise Unreadable(f"{column} is blank")
        return self._units.minor(amount, currency)

    def _place(self, row: Row, category: str) -> tuple[ProviderRecordKind, str, bool]:
        """Return a row's kind, its batch, and whether it is the batch's own pay-out.

        Stripe uses the same objects for payouts of its balance to our bank and for payouts to players. An
        automatic payout to our bank is recognised by its own row, which names itself as its payout. If such a
        payout comes back later, its money is part of the next payout, as a correction. The payouts' own
        report does not tell the two sorts apart; a payout without lines anywhere stays a batch in progress.
        """
        kind = _KINDS.get(category, ProviderRecordKind.UNKNOWN)
        if self._payouts:
            if kind is not ProviderRecordKind.PAYOUT:
                raise Unreadable(f"{_CATEGORY} {shown(category)} in a report of payouts")
            return ProviderRecordKind.SETTLEMENT, row.required(_PAYOUT_ID), True
        batch = row.text(_BATCH) if self._batched else ""
        if kind is not ProviderRecordKind.PAYOUT or not batch:
            return kind, batch, False
        if row.text("source_id") == batch:
            return ProviderRecordKind.SETTLEMENT, batch, True
        return (ProviderRecordKind.SETTLEMENT if category in _CAME_BACK else kind), batch, False

    def _original(
        self, row: Row, kind: ProviderRecordKind, category: str, gross: int, currency: str
    ) -> tuple[int | None, str]:
        """Return the movement in the currency that the player paid."""
        paid_in = row.text("customer_facing_currency").upper()
        if paid_in in {"", currency} or kind not in {
            ProviderRecordKind.PAYMENT,
            ProviderRecordKind.REFUND,
            ProviderRecordKind.DISPUTE,
        }:
            return gross, currency
        amount = row.amount("customer_facing_amount")
        # The column has the whole charge's amount, even if only the part that was not captured goes back.
        if amount is None or category == _PARTIAL_CAPTURE or not self._units.knows(paid_in):
            return None, paid_in
        size = self._units.minor(amount.copy_abs(), paid_in)
        return (-size if gross < 0 else size), paid_in

    def _ref(self, row: Row, kind: ProviderRecordKind, payment: str) -> str:
        """Return the id of what moved, as the adapter's listing names it."""
        if self._payouts:
            return row.text(_PAYOUT_ID)
        match kind:
            case ProviderRecordKind.PAYMENT:
                return payment or row.text("source_id")
            case (
                ProviderRecordKind.REFUND
                | ProviderRecordKind.DISPUTE
                | ProviderRecordKind.PAYOUT
                | ProviderRecordKind.SETTLEMENT
            ):
                return row.text("source_id")
            case _:
                return ""

    def _state(self, row: Row, category: str) -> RemoteState:
        if category in _CAME_BACK:
            return RemoteState.FAILED
        if self._payouts and row.text("payout_status"):
            return _PAYOUT_STATES.get(row.text("payout_status"), RemoteState.PENDING)
        return RemoteState.SUCCEEDED

    def _create_time(self, row: Row) -> datetime:
        local = row.local_time(self._time)
        return local.replace(tzinfo=UTC) if self._zone is None else in_zone(local, self._zone, self._time)


def _our_id(row: Row, kind: ProviderRecordKind) -> str:
    """Return our id of what moved: a refund has an id of its own beside its payment's."""
    match kind:
        case ProviderRecordKind.PAYMENT | ProviderRecordKind.DISPUTE:
            return row.text(f"payment_metadata[{OUR_ID}]")
        case ProviderRecordKind.REFUND:
            return row.text(f"refund_metadata[{OUR_ID}]")
        case _:
            return ""
