"""Own what the rows of Adyen's settlement details mean: types, signs, fees, zones, batches, identity."""

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
    Totals,
    batches_of,
    provider_records_of,
)
from tests.support.totals import totals
from tests.unit.reconciliation.files import LEDGER, file_of, problems, read, rows_of, sample

ADYEN = ReportFormat.ADYEN_SETTLEMENT_DETAILS
SAMPLE = sample("adyen_settlement_details.csv")
SETTLED, CONVERTED, NEGATIVE, REFUNDED, CHARGEBACK, FEE, PAYOUT, NEXT = rows_of(SAMPLE)
ON_REQUEST = ("Exchange Rate", "Payment Fees (NC)", "DCC Markup (NC)", "Modification Merchant Reference")
NOT_READ = (
    "GroupCommit Account",
    "Payment Method",
    "Payment Method Variant",
    "Booking Date",
    "Booking Date TimeZone",
    "Metadata",
    "ARN",
    "Dispute Reference",
    *(f"Reserved{number}" for number in range(4, 11)),
)
FEES = ("Commission (NC)", "Markup (NC)", "Scheme Fees (NC)", "Interchange (NC)")
SUCCEEDED, FAILED = RemoteState.SUCCEEDED, RemoteState.FAILED
NO_FEES = dict.fromkeys(FEES, "")


def only(row: dict[str, str]) -> SettlementLine:
    """Return the line of a file of one row."""
    (line,) = read(ADYEN, file_of([row]))
    return line


def refused(**changes: str) -> str:
    """Return why a settled row with other cells is refused; underscores stand for a column's spaces."""
    names = {name.replace(" ", "_").replace("(", "").replace(")", ""): name for name in SETTLED}
    (problem,) = problems(
        ADYEN, file_of([{**SETTLED, **{names[name]: value for name, value in changes.items()}}])
    )
    assert problem.startswith("line 2: ")
    return problem.removeprefix("line 2: ")


def test_read_settled_says_all_that_the_ledger_knows_it_by() -> None:
    """The capture moved; the payment is known by its own reference and by ours."""
    line = only(SETTLED)

    assert line == SettlementLine(
        line_number=2,
        line_id=line.line_id,
        kind=ProviderRecordKind.PAYMENT,
        provider_type="Settled",
        provider_ref="CAP0000000000001",
        payment_ref="PSP0000000000001",
        our_id="dep_01JBAA",
        state=SUCCEEDED,
        batch="213",
        currency="EUR",
        gross=10_000,
        fee=110,
        net=9_890,
        original_amount=10_000,
        original_currency="EUR",
        create_time=datetime(2026, 10, 24, 20, 15, 2, tzinfo=UTC),
        is_payout=False,
    )
    assert len(line.line_id) == 32


def test_read_converted_row_keeps_what_the_player_paid() -> None:
    """Gross in our currency is net and fees; the record is in the player's."""
    line = only(CONVERTED)
    movement, fee = provider_records_of(line)

    assert (line.gross, line.fee, line.net, line.currency) == (4_600, 115, 4_485, "EUR")
    assert (movement.amount, movement.currency) == (5_000, "USD")
    assert (fee.amount, fee.currency) == (-115, "EUR")


def test_read_sale_that_costs_more_than_it_brings_is_a_net_debit() -> None:
    """The sign is the column that is filled; the blank one is no 0."""
    line = only(NEGATIVE)

    assert (line.gross, line.fee, line.net) == (10, 25, -15)


def test_read_refund_has_an_id_of_its_own() -> None:
    """Our id of a refund is the modification's, not the payment's; without that column it has none."""
    line = only(REFUNDED)
    (bare,) = read(
        ADYEN, file_of([REFUNDED], [name for name in REFUNDED if name != "Modification Merchant Reference"])
    )

    assert (line.kind, line.gross, line.fee, line.net) == (ProviderRecordKind.REFUND, -2_000, 10, -2_010)
    assert (line.provider_ref, line.payment_ref) == ("REF0000000000001", "PSP0000000000001")
    assert (line.our_id, bare.our_id) == ("ref_01JBAD", "")
    assert line.line_id == bare.line_id


def test_read_chargeback_takes_amount_and_fee() -> None:
    """Its net debit is both together."""
    line = only(CHARGEBACK)

    assert (line.kind, line.gross, line.fee, line.net) == (ProviderRecordKind.DISPUTE, -3_000, 750, -3_750)
    assert [record.amount for record in provider_records_of(line)] == [-3_000, -750]
    assert (line.our_id, line.payment_ref) == ("dep_01JB00", "PSP0000000000009")


def test_read_chargeback_lost_won_and_lost_again_adds_up() -> None:
    """A reversal gives back, a second chargeback takes again."""
    back = {
        "Gross Debit (GC)": "",
        "Gross Credit (GC)": "30.00",
        "Net Debit (NC)": "",
        "Net Credit (NC)": "30.00",
    }
    again = {"Type": "SecondChargeback", "Net Debit (NC)": "30.00", "Markup (NC)": ""}
    rows = [
        CHARGEBACK,
        {**CHARGEBACK, "Type": "ChargebackReversed", **back, "Markup (NC)": ""},
        {**CHARGEBACK, **again},
    ]

    (batch,) = batches_of(read(ADYEN, file_of(rows)))

    assert (batch.totals.chargeback, batch.totals.fee, batch.totals.computed) == (3_000, 750, -3_750)


def test_read_fee_row_without_reference_is_all_fee() -> None:
    """A month's fees belong to no payment; what they are for stands where the reference would."""
    line = only(FEE)
    (record,) = provider_records_of(line)

    assert (line.kind, line.gross, line.fee, line.net) == (ProviderRecordKind.FEE, 0, 1_120, -1_120)
    assert (line.provider_ref, line.payment_ref) == ("Transaction Fees October 2026", "")
    assert (record.amount, record.record_id) == (-1_120, line.line_id)


def test_read_cost_that_is_given_back_is_a_negative_fee() -> None:
    """As in vendors' files: a gross currency without a gross, and a net credit."""
    row = {**SETTLED, **NO_FEES, "Type": "PaymentCost", "Gross Credit (GC)": "", "Net Credit (NC)": "1.75"}

    line = only(row)

    assert (line.kind, line.gross, line.fee, line.net) == (ProviderRecordKind.FEE, 0, -175, 175)


@pytest.mark.parametrize(("gross", "passes"), [("11.20", True), ("0.00", True), ("11.21", False)])
def test_read_fee_row_with_a_gross_must_be_its_net(gross: str, passes: bool) -> None:
    """A fee that says two amounts says neither."""
    data = file_of([{**FEE, "Gross Currency": "EUR", "Gross Debit (GC)": gross}])

    if passes:
        assert read(ADYEN, data)[0].fee == 1_120
    else:
        assert problems(ADYEN, data) == ["line 2: gross -11.21 of a fee is not net -11.20"]


def test_read_card_payout_of_a_balance_platform_is_its_costs() -> None:
    """The amount is booked elsewhere: here is what it cost, also split in its parts."""
    row = {
        **SETTLED,
        **NO_FEES,
        "Type": "BPPaidOut",
        "Gross Debit (GC)": "50.00",
        "Gross Credit (GC)": "",
        "Net Debit (NC)": "0.35",
        "Net Credit (NC)": "",
        "Markup (NC)": "0.10",
        "Interchange (NC)": "0.25",
    }

    line = only(row)

    assert (line.kind, line.gross, line.fee, line.net) == (ProviderRecordKind.FEE, 0, 35, -35)


def test_read_payout_row_is_what_was_paid_out() -> None:
    """Its reference has a comma in it, so it is quoted."""
    line = only(PAYOUT)

    assert (line.kind, line.is_payout, line.net) == (ProviderRecordKind.SETTLEMENT, True, -7_480)
    assert line.provider_ref == "TX00000000213XT batch 213, ExampleCasinoECOM"


IN = {"Gross Credit (GC)": "5.00", "Net Credit (NC)": "5.00", "Gross Debit (GC)": "", "Net Debit (NC)": ""}
OUT = {"Gross Credit (GC)": "", "Net Credit (NC)": "", "Gross Debit (GC)": "5.00", "Net Debit (NC)": "5.00"}


@pytest.mark.parametrize(
    ("type_name", "cells", "kind", "state", "sums"),
    [
        ("Settled", IN, ProviderRecordKind.PAYMENT, SUCCEEDED, totals(gross=500, line_count=1)),
        ("SettledExternally", IN, ProviderRecordKind.PAYMENT, SUCCEEDED, totals(gross=500, line_count=1)),
        ("CaptureFailed", OUT, ProviderRecordKind.PAYMENT, FAILED, totals(gross=-500, line_count=1)),
        ("Refunded", OUT, ProviderRecordKind.REFUND, SUCCEEDED, totals(refund=500, line_count=1)),
        ("RefundedExternally", OUT, ProviderRecordKind.REFUND, SUCCEEDED, totals(refund=500, line_count=1)),
        ("RefundedReversed", IN, ProviderRecordKind.REFUND, FAILED, totals(refund=-500, line_count=1)),
        ("Chargeback", OUT, ProviderRecordKind.DISPUTE, SUCCEEDED, totals(chargeback=500, line_count=1)),
        (
            "SecondChargeback",
            OUT,
            ProviderRecordKind.DISPUTE,
            SUCCEEDED,
            totals(chargeback=500, line_count=1),
        ),
        (
            "ChargebackReversed",
            IN,
            ProviderRecordKind.DISPUTE,
            SUCCEEDED,
            totals(chargeback=-500, line_count=1),
        ),
        ("Fee", OUT, ProviderRecordKind.FEE, SUCCEEDED, totals(fee=500, line_count=1)),
        ("InvoiceDeduction", OUT, ProviderRecordKind.FEE, SUCCEEDED, totals(fee=500, line_count=1)),
        ("MiscCosts", OUT, ProviderRecordKind.FEE, SUCCEEDED, totals(fee=500, line_count=1)),
        ("PaymentCost", OUT, ProviderRecordKind.FEE, SUCCEEDED, totals(fee=500, line_count=1)),
        ("BPPaidOut", OUT, ProviderRecordKind.FEE, SUCCEEDED, totals(fee=500, line_count=1)),
        ("PaidOut", OUT, ProviderRecordKind.PAYOUT, SUCCEEDED, totals(refund=500, line_count=1)),
        ("PaidOutReversed", IN, ProviderRecordKind.PAYOUT, FAILED, totals(refund=-500, line_count=1)),
        (
            "DepositCorrection",
            OUT,
            ProviderRecordKind.OTHER,
            SUCCEEDED,
            totals(correction=-500, line_count=1),
        ),
        ("BalanceTransfer", OUT, ProviderRecordKind.OTHER, SUCCEEDED, totals(correction=-500, line_count=1)),
        ("Balancetransfer", IN, ProviderRecordKind.OTHER, SUCCEEDED, totals(correction=500, line_count=1)),
        (
            "ReserveAdjustment",
            OUT,
            ProviderRecordKind.OTHER,
            SUCCEEDED,
            totals(correction=-500, line_count=1),
        ),
        ("MatchedStatement", IN, ProviderRecordKind.OTHER, SUCCEEDED, totals(correction=500, line_count=1)),
        ("ManualCorrected", IN, ProviderRecordKind.OTHER, SUCCEEDED, totals(correction=500, line_count=1)),
        (
            "BankInstructionReturned",
            IN,
            ProviderRecordKind.SETTLEMENT,
            FAILED,
            totals(correction=500, line_count=1),
        ),
        ("LunarSurcharge", OUT, ProviderRecordKind.UNKNOWN, SUCCEEDED, totals(correction=-500, line_count=1)),
    ],
)
def test_read_each_type_has_its_kind_and_its_place_in_the_equation(
    type_name: str, cells: dict[str, str], kind: ProviderRecordKind, state: RemoteState, sums: Totals
) -> None:
    """All types that the vendor documents, and one that it may add tomorrow."""
    line = only({**SETTLED, **NO_FEES, **cells, "Type": type_name})

    assert (line.kind, line.state, line.provider_type) == (kind, state, type_name)
    assert Totals.of(line) == sums


def test_read_sample_adds_up_by_batch() -> None:
    """The batch with its pay-out balances; the last one is in progress."""
    batches = {batch.batch_id: batch for batch in batches_of(read(ADYEN, SAMPLE))}

    assert batches["213"].state is SettlementBatchState.BALANCED
    assert batches["213"].totals == totals(
        gross=14_610,
        fee=2_130,
        refund=2_000,
        chargeback=3_000,
        paid_out=7_480,
        line_count=6,
        paid_out_time=datetime(2026, 10, 27, 3, tzinfo=UTC),
    )
    assert batches["214"].state is SettlementBatchState.IN_PROGRESS
    assert batches["214"].totals.computed == 980


def test_read_batch_that_was_paid_out_short_says_by_how_much() -> None:
    """One cent is a difference."""
    rows = rows_of(SAMPLE)
    rows[6]["Net Debit (NC)"] = "74.79"

    batch = batches_of(read(ADYEN, file_of(rows)))[0]

    assert (batch.state, batch.totals.difference) == (SettlementBatchState.UNBALANCED, -1)


@pytest.mark.parametrize(
    ("currency", "gross", "net", "fee_written", "expected"),
    [
        ("JPY", "5000", "4800", "200", (5_000, 200, 4_800)),
        ("JPY", "5000.00", "4800.00", "200.00", (5_000, 200, 4_800)),
        ("KWD", "1.230", "1.185", "0.045", (1_230, 45, 1_185)),
        ("KWD", "1.23", "1.185", "0.045", (1_230, 45, 1_185)),
        ("ISK", "100.00", "99.00", "1.00", (100, 1, 99)),
    ],
)
def test_read_exponents_are_the_currencys(
    currency: str, gross: str, net: str, fee_written: str, expected: tuple[int, int, int]
) -> None:
    """Major units leave nothing to know of a provider's own minor units."""
    row = {
        **SETTLED,
        **NO_FEES,
        "Gross Currency": currency,
        "Net Currency": currency,
        "Gross Credit (GC)": gross,
        "Net Credit (NC)": net,
        "Commission (NC)": fee_written,
    }

    line = only(row)

    assert (line.gross, line.fee, line.net) == expected


@pytest.mark.parametrize(
    ("zone", "hour"),
    [
        ("UTC", 12),
        ("GMT", 12),
        ("CET", 11),
        ("CEST", 10),
        ("BST", 11),
        ("EET", 10),
        ("EEST", 9),
        ("PST", 20),
        ("PDT", 19),
        ("EST", 17),
        ("EDT", 16),
        ("SGT", 4),
        ("AEST", 2),
        ("AEDT", 1),
    ],
)
def test_read_zone_of_each_row_is_a_fixed_offset(zone: str, hour: int) -> None:
    """Rows on both sides of a clock change say so in their zone."""
    line = only({**SETTLED, "Creation Date": "2026-10-25 12:00:00", "TimeZone": zone})

    assert line.create_time == datetime(2026, 10, 25, hour, tzinfo=UTC)


def test_read_hour_that_comes_twice_is_two_times() -> None:
    """The same local time in CEST and in CET is an hour apart."""
    first, second = only(CONVERTED), only(NEGATIVE)

    assert CONVERTED["Creation Date"] == NEGATIVE["Creation Date"]
    assert (second.create_time - first.create_time).total_seconds() == 3_600


@pytest.mark.parametrize("zone", ["", "XYZ", "cet", "CST", "IST", "AST", "+02:00", "Europe/Amsterdam"])
def test_read_zone_that_is_not_known_is_refused(zone: str) -> None:
    """A zone is never guessed, least of all one that several countries call so."""
    assert "TimeZone" in refused(TimeZone=zone)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"Net_Credit_NC": ""}, "both Net Debit (NC) and Net Credit (NC) are blank"),
        ({"Net_Debit_NC": "1.00"}, "both Net Debit (NC) and Net Credit (NC) are filled"),
        ({"Net_Debit_NC": "0.00"}, "both Net Debit (NC) and Net Credit (NC) are filled"),
        ({"Net_Credit_NC": "-98.90"}, "Net Credit (NC) -98.90 is negative: its sign is its column"),
        (
            {"Gross_Credit_GC": ""},
            "both Gross Debit (GC) and Gross Credit (GC) are blank on a row of type Settled",
        ),
        ({"Gross_Debit_GC": "1.00"}, "both Gross Debit (GC) and Gross Credit (GC) are filled"),
        ({"Gross_Credit_GC": "100.01"}, "gross 100.01 EUR less fees 1.10 is not net 98.90"),
        ({"Commission_NC": "0.01"}, "gross 100.00 EUR less fees 1.11 is not net 98.90"),
        ({"Net_Currency": "ZZZ"}, "the ledger does not know the currency 'ZZZ'"),
        ({"Net_Currency": ""}, "Net Currency is blank"),
        ({"Type": ""}, "Type is blank"),
        ({"Merchant_Account": ""}, "Merchant Account is blank"),
        ({"Creation_Date": ""}, "Creation Date is blank"),
        ({"Creation_Date": "24/10/2026 22:15"}, "Creation Date '24/10/2026 22:15' is no time of the form"),
        ({"Creation_Date": "9999-12-31 23:59:59", "TimeZone": "PST"}, "is no time of the form"),
        ({"Creation_Date": "0001-01-01 00:00:00"}, "is no time of the form"),
        (
            {"Gross_Debit_GC": "92233720368547758.07", "Gross_Credit_GC": "", "Commission_NC": "9"},
            "gross -92233720368547758.07 EUR less fees 10.10 is not net 98.90",
        ),
        ({"Type": "Fee"}, "fees of 1.10 are not what was taken, -98.90"),
    ],
)
def test_read_row_that_lacks_or_contradicts_is_refused(changes: dict[str, str], sentence: str) -> None:
    """Blank is not 0, and a row must agree with itself to the last cent."""
    assert sentence in refused(**changes)


@pytest.mark.parametrize(
    ("rate", "net", "passes"),
    [
        ("0.92", "44.85", True),
        ("", "44.85", True),
        ("0.9234", "44.85", True),
        ("92", "44.85", False),
        ("0.0092", "44.85", False),
        ("1.087", "44.85", False),
    ],
)
def test_read_converted_row_must_make_sense_of_its_rate(rate: str, net: str, passes: bool) -> None:
    """Rounding passes; an exponent that is off by 100, or a rate the wrong way round, does not."""
    data = file_of([{**CONVERTED, "Exchange Rate": rate, "Net Credit (NC)": net}])

    if passes:
        assert len(read(ADYEN, data)) == 1
    else:
        assert "which is net and fees" in problems(ADYEN, data)[0]


def test_read_converted_row_that_turns_its_sign_is_refused() -> None:
    """Money that came in did not go out by being converted."""
    row = {**CONVERTED, "Net Credit (NC)": "", "Net Debit (NC)": "44.85", "Exchange Rate": ""}

    assert "have different signs" in problems(ADYEN, file_of([row]))[0]


def test_read_sum_that_has_more_than_64_bits_is_refused() -> None:
    """Also what a row only implies has to fit into the ledger."""
    largest = "92233720368547758.07"
    row = {**CONVERTED, "Gross Credit (GC)": largest, "Net Credit (NC)": largest, "Exchange Rate": ""}
    negative = {**SETTLED, **NO_FEES, "Gross Credit (GC)": largest, "Net Credit (NC)": ""}
    negative |= {"Net Debit (NC)": largest, "Commission (NC)": "184467440737095516.14"}

    assert "92233720368547759.22 EUR has more than 64 bits" in problems(ADYEN, file_of([row]))[0]
    assert "184467440737095516.14 EUR has more than 64 bits" in problems(ADYEN, file_of([negative]))[0]


def test_read_currency_of_a_player_that_the_ledger_lacks_has_no_amount() -> None:
    """The money that is settled counts; what the player paid is no number of ours."""
    line = only({**CONVERTED, "Gross Currency": "XTS"})

    assert (line.original_amount, line.original_currency, line.gross) == (None, "XTS", 4_600)


def test_read_fees_smaller_than_a_cent_pass_if_their_sum_is_whole() -> None:
    """Nothing is rounded, and nothing need be."""
    parts = {"Markup (NC)": "0.6005", "Scheme Fees (NC)": "0.1995", "Interchange (NC)": "0.30"}
    odd = {**CONVERTED, "Commission (NC)": "1.1505", "Net Credit (NC)": "44.85"}

    assert only({**SETTLED, **parts}).fee == 110
    assert "1.1505 EUR is no whole number" in problems(ADYEN, file_of([odd]))[0]


@pytest.mark.parametrize(
    ("more", "net", "fee"),
    [
        ({"Payment Fees (NC)": "0.05"}, "98.85", 115),
        ({"Payment Fees (NC)": "1.10"}, "98.90", 110),
        ({"DCC Markup (NC)": "0.05"}, "98.85", 115),
        ({"DCC Markup (NC)": "0.05"}, "98.90", 110),
        ({"DCC Markup (NC)": "0.05", "Payment Fees (NC)": "0.10"}, "98.75", 125),
    ],
)
def test_read_fees_on_request_are_parts_or_only_tell_of_parts(
    more: dict[str, str], net: str, fee: int
) -> None:
    """Either way the row proves it: gross less fees is net."""
    assert only({**SETTLED, **more, "Net Credit (NC)": net}).fee == fee


def test_read_columns_on_request_do_not_change_who_a_line_is() -> None:
    """A report with fewer columns has the same lines."""
    rows = rows_of(SAMPLE)
    fewer = file_of(rows, [name for name in rows[0] if name not in {*ON_REQUEST, *NOT_READ}])

    for line, bare in zip(read(ADYEN, SAMPLE), read(ADYEN, fewer), strict=True):
        assert replace(bare, our_id=line.our_id) == line
        assert bare.our_id == ("" if line.kind is ProviderRecordKind.REFUND else line.our_id)


def test_read_rows_that_look_the_same_are_as_many_lines() -> None:
    """Two equal fees are two fees, in every report that has them; nothing of a row's number counts."""
    once = read(ADYEN, file_of([FEE]))
    thrice = read(ADYEN, file_of([FEE, SETTLED, FEE, FEE]))
    again = read(ADYEN, file_of([SETTLED, FEE, FEE, FEE]))

    fees = [
        [line.line_id for line in lines if line.kind is ProviderRecordKind.FEE]
        for lines in (once, thrice, again)
    ]
    assert len(set(fees[1])) == 3
    assert fees[1] == fees[2]
    assert fees[0] == fees[1][:1]


@pytest.mark.parametrize(
    "changes",
    [
        {"Psp Reference": "PSP0000000000002"},
        {"Merchant Reference": "dep_01JBAX"},
        {"Modification Reference": "CAP0000000000002"},
        {"Batch Number": "214"},
        {"Type": "SettledExternally"},
        {"Creation Date": "2026-10-24 22:15:03"},
        {"TimeZone": "CET"},
        {"Merchant Account": "Other"},
        {"Gross Credit (GC)": "100.10", "Net Credit (NC)": "99.00"},
    ],
)
def test_read_row_that_differs_is_another_line(changes: dict[str, str]) -> None:
    """Whatever tells two movements apart is part of a line's identity."""
    assert only({**SETTLED, **changes}).line_id != only(SETTLED).line_id


def test_read_references_that_join_to_the_same_text_are_different_lines() -> None:
    """Where one reference ends and the next begins is part of them."""
    one = {**SETTLED, "Psp Reference": "PSP1", "Merchant Reference": "1"}
    other = {**SETTLED, "Psp Reference": "PSP", "Merchant Reference": "11"}

    assert only(one).line_id != only(other).line_id


def test_read_row_written_otherwise_is_the_same_line() -> None:
    """Neither trailing zeros nor the zone that a time is written in make another line."""
    other = {
        "Creation Date": "2026-10-24 20:15:02",
        "TimeZone": "UTC",
        "Gross Credit (GC)": "100.0",
        "Net Credit (NC)": "98.9",
    }

    assert only({**SETTLED, **other}) == only(SETTLED)


def test_read_one_account_of_several_leaves_the_others_out() -> None:
    """A company's report has all its merchant accounts; others' rows need not even be readable."""
    rows = [
        SETTLED,
        {**REFUNDED, "Merchant Account": "Other", "Net Currency": "ZZZ", "Batch Number": "9"},
        NEXT,
    ]
    data = file_of(rows)

    assert [line.line_number for line in read(ADYEN, data, account="ExampleCasinoECOM")] == [2, 4]
    assert problems(ADYEN, data, account="Typo") == ["line 1: no line is of the Merchant Account 'Typo'"]
    assert "does not know the currency" in problems(ADYEN, data)[-1]


def test_read_batch_number_of_two_accounts_is_refused() -> None:
    """Merchant accounts count their batches each from 1: one number would be two payouts."""
    data = file_of([SETTLED, {**SETTLED, "Merchant Account": "Other"}, {**NEXT, "Merchant Account": "Other"}])

    (problem,) = problems(ADYEN, data)

    assert problem.startswith(
        "line 3: batch '213' is of 'ExampleCasinoECOM' on an earlier line and here of 'Other'"
    )


def test_read_all_accounts_of_a_report_keeps_their_batches_apart() -> None:
    """As long as no number is used twice, all can be read at once."""
    data = file_of([SETTLED, {**NEXT, "Merchant Account": "Other"}])

    assert [batch.batch_id for batch in batches_of(read(ADYEN, data))] == ["213", "214"]


@st.composite
def adyen_batches(draw: st.DrawFn) -> tuple[list[dict[str, str]], dict[tuple[str, str], int]]:
    """Return rows of several batches with their pay-outs, and what each paid in minor units."""
    rows: list[dict[str, str]] = []
    paid: dict[tuple[str, str], int] = {}
    currencies = st.sampled_from(["EUR", "JPY", "KWD"])
    for number, currency in enumerate(draw(st.lists(currencies, min_size=1, max_size=3))):
        total = 0
        for _ in range(draw(st.integers(1, 8))):
            gross = draw(st.integers(-(10**12), 10**12))
            fees = draw(st.lists(st.integers(0, 10**6), min_size=4, max_size=4))
            type_name = draw(st.sampled_from(["Settled", "Refunded", "Chargeback", "Balancetransfer", "New"]))
            rows.append(_row(number, currency, type_name, gross, fees))
            total += gross - sum(fees)
        fee = draw(st.integers(-(10**6), 10**6))
        fee_row = _row(number, currency, "Fee", -fee, [0, 0, 0, 0])
        rows.append({**fee_row, "Gross Credit (GC)": "", "Gross Debit (GC)": "", "Gross Currency": ""})
        total -= fee
        rows.append(_row(number, currency, "MerchantPayout", -total, [0, 0, 0, 0]))
        paid[str(number), currency] = total
    return draw(st.permutations(rows)), paid


def _row(number: int, currency: str, type_name: str, gross: int, fees: list[int]) -> dict[str, str]:
    exponent = LEDGER.exponent(currency)

    def major(amount: int) -> str:
        return f"{Decimal(amount).scaleb(-exponent):.{exponent}f}"

    net = gross - sum(fees)
    return {
        **SETTLED,
        "Type": type_name,
        "Batch Number": str(number),
        "Gross Currency": currency,
        "Net Currency": currency,
        "Gross Debit (GC)": major(-gross) if gross < 0 else "",
        "Gross Credit (GC)": major(gross) if gross >= 0 else "",
        "Net Debit (NC)": major(-net) if net < 0 else "",
        "Net Credit (NC)": major(net) if net >= 0 else "",
        **{column: major(fee) for column, fee in zip(FEES, fees, strict=True)},
    }


@given(adyen_batches())
def test_read_written_batches_adds_up_to_the_minor_unit(
    drawn: tuple[list[dict[str, str]], dict[tuple[str, str], int]],
) -> None:
    """What is written as a file is read back to the same sums, whatever the order of its rows."""
    rows, paid = drawn

    lines = read(ADYEN, file_of(rows))
    batches = batches_of(lines)

    assert {(batch.batch_id, batch.currency): batch.totals.paid_out for batch in batches} == paid
    assert {batch.state for batch in batches} == {SettlementBatchState.BALANCED}
    assert len({line.line_id for line in lines}) == len(rows)
