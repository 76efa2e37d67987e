"""Own what the rows of Stripe's reports mean: kinds, ids, currencies, payouts, times."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.provider_record import ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.settlement import (
    ReportFormat,
    SettlementBatchState,
    SettlementLine,
    batches_of,
    provider_records_of,
)
from tests.support.totals import totals
from tests.unit.reconciliation.files import LEDGER, file_of, problems, read, rows_of, sample

PAYOUTS = ReportFormat.STRIPE_PAYOUT_RECONCILIATION
ACTIVITY = ReportFormat.STRIPE_BALANCE_CHANGE
SAMPLE = sample("stripe_payout_reconciliation.csv")
SAMPLE_PAYOUTS = sample("stripe_payouts.csv")
CHARGE, FOREIGN, REFUND, FEE, PAYOUT, YEN, DINAR = rows_of(SAMPLE)
SUCCEEDED, FAILED = RemoteState.SUCCEEDED, RemoteState.FAILED


def only(row: dict[str, str], report_format: ReportFormat = PAYOUTS) -> SettlementLine:
    """Return the line of a file of one row."""
    (line,) = read(report_format, file_of([row]))
    return line


def test_read_charge_says_all_that_the_ledger_knows_it_by() -> None:
    """Ids are those of the adapter's listing; the net is what the batch gets."""
    assert only(CHARGE) == SettlementLine(
        line_number=2,
        line_id="txn_3Qx1aa",
        kind=ProviderRecordKind.PAYMENT,
        provider_type="charge",
        provider_ref="pi_3Qx1aa",
        payment_ref="pi_3Qx1aa",
        our_id="dep_01JAAA",
        state=SUCCEEDED,
        batch="po_1Qx8A2",
        currency="EUR",
        gross=10_000,
        fee=175,
        net=9_825,
        original_amount=10_000,
        original_currency="EUR",
        create_time=datetime(2026, 10, 1, 8, 15, 2, tzinfo=UTC),
        is_payout=False,
    )


def test_read_charge_in_another_currency_keeps_what_the_player_paid() -> None:
    """The ledger booked dollars, the batch has euros."""
    line = only(FOREIGN)
    movement, fee = provider_records_of(line)

    assert (line.gross, line.fee, line.net, line.currency) == (4_599, 162, 4_437, "EUR")
    assert (movement.amount, movement.currency) == (5_000, "USD")
    assert (fee.amount, fee.currency, fee.record_id) == (-162, "EUR", movement.record_id)


@pytest.mark.parametrize("written", ["50.00", "-50.00"])
def test_read_refund_in_another_currency_goes_out(written: str) -> None:
    """Its sign is the movement's, whatever the sign of what the player saw."""
    line = only(
        {**REFUND, "customer_facing_amount": written, "customer_facing_currency": "usd", "net": "-20.00"}
    )

    assert (line.original_amount, line.original_currency) == (-5_000, "USD")


@pytest.mark.parametrize(
    ("changes", "currency"),
    [
        ({"customer_facing_currency": "xts"}, "XTS"),
        ({"customer_facing_amount": ""}, "USD"),
        ({"reporting_category": "partial_capture_reversal"}, "USD"),
    ],
)
def test_read_original_amount_that_is_not_known_says_so(changes: dict[str, str], currency: str) -> None:
    """A currency that the ledger lacks, or an amount that is the whole charge's, is no number of ours."""
    line = only({**FOREIGN, **changes})

    assert (line.original_amount, line.original_currency, line.gross) == (None, currency, 4_599)


def test_read_original_amount_with_too_many_decimals_is_refused() -> None:
    """Half a yen was paid by nobody."""
    row = {**FOREIGN, "customer_facing_amount": "50.5", "customer_facing_currency": "jpy"}

    assert "50.5 JPY is no whole number" in problems(PAYOUTS, file_of([row]))[0]


@pytest.mark.parametrize(
    ("category", "gross", "kind", "ref", "our_id", "state"),
    [
        ("charge", "1.00", ProviderRecordKind.PAYMENT, "pi_1", "dep_1", SUCCEEDED),
        ("charge_failure", "-1.00", ProviderRecordKind.PAYMENT, "pi_1", "dep_1", FAILED),
        ("partial_capture_reversal", "-1.00", ProviderRecordKind.PAYMENT, "pi_1", "dep_1", SUCCEEDED),
        ("refund", "-1.00", ProviderRecordKind.REFUND, "src_1", "ref_1", SUCCEEDED),
        ("refund_failure", "1.00", ProviderRecordKind.REFUND, "src_1", "ref_1", FAILED),
        ("dispute", "-1.00", ProviderRecordKind.DISPUTE, "src_1", "dep_1", SUCCEEDED),
        ("dispute_reversal", "1.00", ProviderRecordKind.DISPUTE, "src_1", "dep_1", SUCCEEDED),
        ("fee", "-1.00", ProviderRecordKind.FEE, "txn_1", "", SUCCEEDED),
        ("network_cost", "-1.00", ProviderRecordKind.FEE, "txn_1", "", SUCCEEDED),
        ("tax", "-1.00", ProviderRecordKind.FEE, "txn_1", "", SUCCEEDED),
        ("payout", "-1.00", ProviderRecordKind.PAYOUT, "src_1", "", SUCCEEDED),
        ("risk_reserved_funds", "-1.00", ProviderRecordKind.OTHER, "txn_1", "", SUCCEEDED),
        ("other_adjustment", "1.00", ProviderRecordKind.OTHER, "txn_1", "", SUCCEEDED),
        ("topup", "1.00", ProviderRecordKind.OTHER, "txn_1", "", SUCCEEDED),
        ("moon_tax", "-1.00", ProviderRecordKind.UNKNOWN, "txn_1", "", SUCCEEDED),
    ],
)
def test_read_each_category_has_its_kind_and_ids(
    category: str, gross: str, kind: ProviderRecordKind, ref: str, our_id: str, state: RemoteState
) -> None:
    """What moved goes by the object's id, what is no object by the transaction's."""
    row = {
        **CHARGE,
        "balance_transaction_id": "txn_1",
        "reporting_category": category,
        "gross": gross,
        "fee": "0",
        "net": gross,
        "source_id": "src_1",
        "payment_intent_id": "pi_1",
        "payment_metadata[our_id]": "dep_1",
        "refund_metadata[our_id]": "ref_1",
    }

    line = only(row)

    assert (line.kind, line.provider_ref, line.our_id, line.state) == (kind, ref, our_id, state)
    assert (line.net, line.provider_type) == (int(Decimal(gross) * 100), category)
    assert sum(record.amount or 0 for record in provider_records_of(line)) == line.net


def test_read_unknown_category_still_counts_in_the_batch() -> None:
    """Stripe adds categories at any time; the money is there all the same."""
    (batch,) = batches_of([only({**CHARGE, "reporting_category": "moon_tax"})])

    assert (batch.totals.correction, batch.totals.fee, batch.totals.computed) == (10_000, 175, 9_825)


def test_read_fee_row_without_reference_is_all_fee() -> None:
    """Stripe writes what it took as gross; there it is a fee, and one record."""
    line = only(FEE)
    (record,) = provider_records_of(line)

    assert (line.gross, line.fee, line.net, line.payment_ref) == (0, 88, -88, "")
    assert (record.kind, record.amount, record.record_id) == (ProviderRecordKind.FEE, -88, "txn_1Qx3aa")


def test_read_sale_that_costs_more_than_it_brings_is_negative() -> None:
    """A small charge may have a larger fee."""
    line = only({**CHARGE, "gross": "0.10", "fee": "0.25", "net": "-0.15"})

    assert (line.gross, line.fee, line.net) == (10, 25, -15)


def test_read_dispute_takes_amount_and_fee() -> None:
    """Stripe's dispute row has its fee beside it."""
    row = {**CHARGE, "reporting_category": "dispute", "gross": "-100.00", "fee": "20.00", "net": "-120.00"}
    (batch,) = batches_of([only(row)])

    assert (batch.totals.chargeback, batch.totals.fee, batch.totals.computed) == (10_000, 2_000, -12_000)


def test_read_exponents_are_the_currencys() -> None:
    """Yen have no decimals, dinars three; trailing zeros are no decimals."""
    yen, dinar = only(YEN), only(DINAR)
    padded = only({**YEN, "gross": "5000.00", "fee": "200.0", "net": "4800.000"})

    assert (yen.gross, yen.fee, yen.net) == (padded.gross, padded.fee, padded.net) == (5_000, 200, 4_800)
    assert (dinar.gross, dinar.fee, dinar.net, dinar.batch) == (1_230, 45, 1_185, "")


def test_read_row_that_contradicts_itself_is_refused() -> None:
    """Net is gross less fee, or one of the three is wrong."""
    found = problems(PAYOUTS, file_of([{**CHARGE, "net": "98.26"}]))

    assert found == ["line 2: gross 100.00 less fee 1.75 is not net 98.26"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"currency": "zzz"}, "the ledger does not know the currency 'ZZZ'"),
        ({"currency": ""}, "currency is blank"),
        ({"gross": ""}, "gross is blank"),
        ({"fee": ""}, "fee is blank"),
        ({"net": ""}, "net is blank"),
        ({"balance_transaction_id": ""}, "balance_transaction_id is blank"),
        ({"reporting_category": ""}, "reporting_category is blank"),
        ({"created_utc": ""}, "created_utc is blank"),
        ({"created_utc": "2026-10-01"}, "is no time of the form"),
        ({"created_utc": "1759306502"}, "is no time of the form"),
        ({"created_utc": "2026-02-30 10:00:00"}, "is no time of the form"),
        ({"created_utc": "2026-10-01 08:15:02+02:00"}, "is no time of the form"),
    ],
)
def test_read_row_that_lacks_something_is_refused(changes: dict[str, str], sentence: str) -> None:
    """A blank cell is not 0, and not today."""
    (problem,) = problems(PAYOUTS, file_of([{**CHARGE, **changes}]))

    assert problem.startswith("line 2: ")
    assert sentence in problem


def test_read_sample_adds_up_by_payout_and_currency() -> None:
    """The payout's own row says what was paid; a payout without one is in progress."""
    batches = {(batch.batch_id, batch.currency): batch for batch in batches_of(read(PAYOUTS, SAMPLE))}

    assert set(batches) == {("po_1Qx8A2", "EUR"), ("po_1Qx9B7", "JPY")}
    assert batches["po_1Qx8A2", "EUR"].state is SettlementBatchState.BALANCED
    assert batches["po_1Qx8A2", "EUR"].totals == totals(
        gross=14_599,
        fee=425,
        refund=2_000,
        paid_out=12_174,
        line_count=4,
        paid_out_time=datetime(2026, 10, 7, tzinfo=UTC),
    )
    assert batches["po_1Qx9B7", "JPY"].state is SettlementBatchState.IN_PROGRESS
    assert batches["po_1Qx9B7", "JPY"].totals.computed == 4_800


def test_read_report_of_payouts_completes_batches_of_another_file() -> None:
    """What was paid out may stand in a file of its own; one that came back was not paid out."""
    lines = read(PAYOUTS, SAMPLE) + read(PAYOUTS, SAMPLE_PAYOUTS)
    batches = {batch.batch_id: batch for batch in batches_of(lines)}
    paid, failed, back = read(PAYOUTS, SAMPLE_PAYOUTS)

    assert batches["po_1Qx9B7"].state is SettlementBatchState.BALANCED
    assert batches["po_1Qx9C1"].totals == totals(paid_out=0, paid_out_time=back.create_time)
    assert batches["po_1Qx9C1"].state is SettlementBatchState.IN_PROGRESS
    assert [line.state for line in (paid, failed, back)] == [SUCCEEDED, FAILED, FAILED]
    assert {line.kind for line in (paid, failed, back)} == {ProviderRecordKind.SETTLEMENT}
    assert (paid.provider_ref, paid.create_time) == ("po_1Qx9B7", datetime(2026, 10, 12, tzinfo=UTC))


def test_read_payout_in_both_reports_is_one_line() -> None:
    """The payout's row has one identity in either file."""
    row = {
        **rows_of(SAMPLE_PAYOUTS)[0],
        "payout_id": "po_1Qx8A2",
        "balance_transaction_id": PAYOUT["balance_transaction_id"],
        "currency": "eur",
        "gross": "-121.74",
        "net": "-121.74",
    }
    there, here = only(row), only(PAYOUT)

    assert replace(there, line_number=0, create_time=here.create_time) == replace(here, line_number=0)


def test_read_payout_that_came_back_is_money_of_the_next_one() -> None:
    """Its row is in the payout that has the money again: a correction there, and no pay-out."""
    row = {
        **PAYOUT,
        "balance_transaction_id": "txn_back",
        "reporting_category": "payout_reversal",
        "gross": "121.74",
        "net": "121.74",
        "automatic_payout_id": "po_next",
    }
    line = only(row)
    (batch,) = batches_of([line])

    assert (line.kind, line.is_payout, line.state) == (ProviderRecordKind.SETTLEMENT, False, FAILED)
    assert (batch.batch_id, batch.totals.correction, batch.totals.paid_out) == ("po_next", 12_174, None)


def test_read_payout_of_ours_is_no_settlement() -> None:
    """A payout that is not in itself went to a player, or to wherever a person sent it."""
    manual = only({**PAYOUT, "source_id": "po_ours", "automatic_payout_id": ""})
    within = only({**PAYOUT, "source_id": "po_ours"})

    assert (manual.kind, manual.provider_ref, manual.batch) == (ProviderRecordKind.PAYOUT, "po_ours", "")
    assert (within.kind, within.is_payout, within.batch) == (ProviderRecordKind.PAYOUT, False, "po_1Qx8A2")


def test_read_balance_change_has_no_batches() -> None:
    """The report of activity is by day and not by payout; its lines are the same lines."""
    columns = [name for name in CHARGE if not name.startswith("automatic_payout")]
    for data in (file_of([CHARGE, FEE]), file_of([CHARGE, FEE], columns)):
        lines = read(ACTIVITY, data)

        assert [line.batch for line in lines] == ["", ""]
        assert [replace(line, batch="po_1Qx8A2") for line in lines] == read(PAYOUTS, file_of([CHARGE, FEE]))
    assert problems(PAYOUTS, file_of([CHARGE], columns)) == [
        "line 1: the column automatic_payout_id is missing"
    ]


def test_read_report_with_other_categories_among_payouts_is_refused() -> None:
    """A report of payouts has payouts."""
    row = {**rows_of(SAMPLE_PAYOUTS)[0], "reporting_category": "charge"}

    assert "'charge' in a report of payouts" in problems(PAYOUTS, file_of([row]))[0]


def test_read_optional_columns_that_are_missing_leave_their_facts_out() -> None:
    """The least that is needed; ids that are not there are not made up."""
    needed = [
        "balance_transaction_id",
        "created_utc",
        "currency",
        "gross",
        "fee",
        "net",
        "reporting_category",
    ]
    (line,) = read(ACTIVITY, file_of([FOREIGN], needed))

    assert (line.provider_ref, line.payment_ref, line.our_id) == ("txn_3Qx1bb", "", "")
    assert (line.original_amount, line.original_currency) == (4_599, "EUR")


def test_read_same_row_twice_changes_nothing_and_a_changed_one_is_refused() -> None:
    """A balance transaction is one line; two stories about it are one too many."""
    lines = read(PAYOUTS, file_of([CHARGE, FEE, CHARGE]))

    assert lines == read(PAYOUTS, file_of([CHARGE, FEE]))
    assert problems(PAYOUTS, file_of([CHARGE, FEE, {**CHARGE, "gross": "101.75", "net": "100.00"}])) == [
        "line 4: balance_transaction_id 'txn_3Qx1aa' is on an earlier line too, with other facts"
    ]


def test_read_one_account_of_several_leaves_the_others_out() -> None:
    """A platform's report has a column for it; without that column nobody knows."""
    rows = [{**CHARGE, "connected_account": "acct_1"}, {**FEE, "connected_account": "acct_2"}]

    assert [line.line_number for line in read(PAYOUTS, file_of(rows), account="acct_2")] == [3]
    assert problems(PAYOUTS, SAMPLE, account="acct_2") == ["line 1: the column connected_account is missing"]


@st.composite
def stripe_batches(draw: st.DrawFn) -> tuple[list[dict[str, str]], dict[tuple[str, str], int]]:
    """Return rows of several payouts with their pay-outs, and what each paid in minor units."""
    rows: list[dict[str, str]] = []
    paid: dict[tuple[str, str], int] = {}
    currencies = st.sampled_from(["eur", "jpy", "kwd"])
    for number, currency in enumerate(draw(st.lists(currencies, min_size=1, max_size=3))):
        batch = f"po_{number}"
        nets = draw(st.lists(st.tuples(st.integers(-(10**12), 10**12), st.integers(0, 10**6)), max_size=8))
        for index, (gross, fee) in enumerate(nets):
            category = draw(
                st.sampled_from(["charge", "refund", "dispute", "fee", "other_adjustment", "new"])
            )
            rows.append(_row(f"txn_{number}_{index}", batch, currency, category, gross, fee))
        total = sum(gross - fee for gross, fee in nets)
        rows.append({**_row(f"txn_{number}", batch, currency, "payout", -total, 0), "source_id": batch})
        paid[batch, currency.upper()] = total
    return draw(st.permutations(rows)), paid


def _row(transaction: str, batch: str, currency: str, category: str, gross: int, fee: int) -> dict[str, str]:
    return {
        "balance_transaction_id": transaction,
        "automatic_payout_id": batch,
        "created_utc": "2026-10-01 08:15:02",
        "currency": currency,
        "gross": _major(gross, currency),
        "fee": _major(fee, currency),
        "net": _major(gross - fee, currency),
        "reporting_category": category,
        "source_id": f"src_{transaction}",
    }


def _major(amount: int, currency: str) -> str:
    exponent = LEDGER.exponent(currency.upper())
    return f"{Decimal(amount).scaleb(-exponent):.{exponent}f}"


@given(stripe_batches())
def test_read_written_batches_adds_up_to_the_minor_unit(
    drawn: tuple[list[dict[str, str]], dict[tuple[str, str], int]],
) -> None:
    """What is written as a file is read back to the same sums, whatever the order of its rows."""
    rows, paid = drawn

    batches = batches_of(read(PAYOUTS, file_of(rows)))

    assert {(batch.batch_id, batch.currency): batch.totals.paid_out for batch in batches} == paid
    for batch in batches:
        assert batch.totals.difference == 0
        if batch.totals.line_count:
            assert batch.totals.computed == paid[batch.batch_id, batch.currency]
