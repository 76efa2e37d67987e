"""Own what settlement lines are as records, and the equation of a batch."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from defter.reconciliation.v1 import settlement_pb2
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.provider_record import ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.settlement import (
    ReportFormat,
    SettlementBatch,
    SettlementBatchState,
    SettlementLine,
    Totals,
    batches_of,
    provider_records_of,
)
from tests.support.totals import totals

PAID = datetime(2026, 10, 6, 22, 15, 46, tzinfo=UTC)

OF_BATCHES = [kind for kind in ProviderRecordKind if kind is not ProviderRecordKind.SETTLEMENT]
_numbers = itertools.count(2)


def line(
    kind: ProviderRecordKind = ProviderRecordKind.PAYMENT,
    gross: int = 0,
    fee: int = 0,
    *,
    batch: str = "po_1",
    currency: str = "EUR",
    is_payout: bool = False,
) -> SettlementLine:
    """Return a line; its number and id are new each time."""
    number = next(_numbers)
    return SettlementLine(
        line_number=number,
        line_id=f"txn_{number}",
        kind=kind,
        provider_type=kind.name.lower(),
        provider_ref=f"obj_{number}",
        payment_ref=f"pi_{number}",
        our_id=f"dep_{number}",
        batch=batch,
        currency=currency,
        gross=gross,
        fee=fee,
        net=gross - fee,
        original_amount=gross,
        original_currency=currency,
        create_time=PAID,
        is_payout=is_payout,
        state=RemoteState.SUCCEEDED,
    )


def payout(amount: int, *, batch: str = "po_1", currency: str = "EUR") -> SettlementLine:
    """Return the line that says what was paid out."""
    return line(ProviderRecordKind.SETTLEMENT, -amount, batch=batch, currency=currency, is_payout=True)


def only(batches: tuple[SettlementBatch, ...]) -> Totals:
    """Return the sums of the only batch."""
    (batch,) = batches
    return batch.totals


def test_number_formats_and_states_as_in_the_contract() -> None:
    """What is stored and sent are the same numbers."""
    for code, enum, prefix in (
        (ReportFormat, settlement_pb2.ReportFormat, "REPORT_FORMAT_"),
        (SettlementBatchState, settlement_pb2.SettlementBatchState, "SETTLEMENT_BATCH_STATE_"),
    ):
        ours = {f"{prefix}{member.name}": int(member) for member in code}
        assert ours == {name: number for name, number in enum.items() if number}


@pytest.mark.parametrize(
    ("kind", "gross", "fee", "sums"),
    [
        (ProviderRecordKind.PAYMENT, 1_000, 29, totals(gross=1_000, fee=29, line_count=1)),
        (ProviderRecordKind.PAYMENT, -1_000, 0, totals(gross=-1_000, line_count=1)),
        (ProviderRecordKind.PAYMENT, 10, 25, totals(gross=10, fee=25, line_count=1)),
        (ProviderRecordKind.REFUND, -400, 5, totals(refund=400, fee=5, line_count=1)),
        (ProviderRecordKind.REFUND, 400, 0, totals(refund=-400, line_count=1)),
        (ProviderRecordKind.PAYOUT, -400, 25, totals(refund=400, fee=25, line_count=1)),
        (ProviderRecordKind.DISPUTE, -500, 1_500, totals(chargeback=500, fee=1_500, line_count=1)),
        (ProviderRecordKind.DISPUTE, 500, 0, totals(chargeback=-500, line_count=1)),
        (ProviderRecordKind.FEE, 0, 66, totals(fee=66, line_count=1)),
        (ProviderRecordKind.FEE, 0, -66, totals(fee=-66, line_count=1)),
        (ProviderRecordKind.OTHER, -300, 0, totals(correction=-300, line_count=1)),
        (ProviderRecordKind.UNKNOWN, 7, 1, totals(correction=7, fee=1, line_count=1)),
        (ProviderRecordKind.SETTLEMENT, 900, 0, totals(correction=900, line_count=1)),
    ],
)
def test_add_line_of_each_kind_lands_in_its_own_sum(
    kind: ProviderRecordKind, gross: int, fee: int, sums: Totals
) -> None:
    """Each kind has one place in the equation, and each fee is a fee."""
    assert Totals.of(line(kind, gross, fee)) == sums


def test_add_all_kinds_balances_with_the_payout() -> None:
    """Gross − fees − refunds − chargebacks + corrections is what was paid out."""
    sums = only(
        batches_of(
            [
                line(ProviderRecordKind.PAYMENT, 10_000, 290),
                line(ProviderRecordKind.REFUND, -1_000),
                line(ProviderRecordKind.DISPUTE, -2_000, 1_500),
                line(ProviderRecordKind.DISPUTE, 500),
                line(ProviderRecordKind.FEE, 0, 66),
                line(ProviderRecordKind.OTHER, -300),
                line(ProviderRecordKind.UNKNOWN, 7),
                payout(5_351),
            ]
        )
    )

    assert sums == totals(
        gross=10_000,
        fee=1_856,
        refund=1_000,
        chargeback=1_500,
        correction=-293,
        paid_out=5_351,
        line_count=7,
        paid_out_time=PAID,
    )
    assert (sums.computed, sums.difference, sums.state) == (5_351, 0, SettlementBatchState.BALANCED)


@pytest.mark.parametrize(
    ("lines", "difference", "state"),
    [
        ([line(gross=100)], 0, SettlementBatchState.IN_PROGRESS),
        ([payout(100)], 0, SettlementBatchState.IN_PROGRESS),
        ([line(gross=100), payout(100)], 0, SettlementBatchState.BALANCED),
        ([line(gross=100), payout(99)], -1, SettlementBatchState.UNBALANCED),
        ([line(gross=100), payout(101)], 1, SettlementBatchState.UNBALANCED),
        ([line(gross=100), payout(60), payout(40)], 0, SettlementBatchState.BALANCED),
        ([line(gross=100), payout(100), payout(-100)], -100, SettlementBatchState.UNBALANCED),
        ([line(gross=0), payout(0)], 0, SettlementBatchState.BALANCED),
    ],
)
def test_compare_with_payout_tells_the_state(
    lines: list[SettlementLine], difference: int, state: SettlementBatchState
) -> None:
    """A batch is judged when both sides are known, to the minor unit, in either direction."""
    sums = only(batches_of(lines))

    assert (sums.difference, sums.state) == (difference, state)


def test_add_fee_of_the_payout_itself_counts_as_fee() -> None:
    """An instant payout costs: the balance falls by more than the bank gets."""
    instant = line(ProviderRecordKind.SETTLEMENT, -9_900, 100, is_payout=True)

    sums = only(batches_of([line(gross=10_000), instant]))

    assert (sums.fee, sums.paid_out, sums.state) == (100, 9_900, SettlementBatchState.BALANCED)


def test_fold_lines_of_several_batches_keeps_batches_and_currencies_apart() -> None:
    """A batch is its id and its currency; lines that no batch has yet are in none."""
    batches = batches_of(
        [
            line(gross=5, batch="po_2"),
            line(gross=100),
            line(gross=7, currency="JPY"),
            line(gross=1_000, batch=""),
            payout(100),
        ]
    )

    assert [(batch.batch_id, batch.currency, batch.totals.gross, batch.state) for batch in batches] == [
        ("po_2", "EUR", 5, SettlementBatchState.IN_PROGRESS),
        ("po_1", "EUR", 100, SettlementBatchState.BALANCED),
        ("po_1", "JPY", 7, SettlementBatchState.IN_PROGRESS),
    ]


@st.composite
def drawn_lines(draw: st.DrawFn) -> SettlementLine:
    """Return any line but a pay-out, of one of four batches."""
    kind = draw(st.sampled_from(OF_BATCHES))
    return line(
        kind,
        0 if kind is ProviderRecordKind.FEE else draw(st.integers(-(10**15), 10**15)),
        draw(st.integers(-(10**9), 10**9)),
        batch=draw(st.sampled_from(["po_1", "po_2"])),
        currency=draw(st.sampled_from(["EUR", "JPY"])),
    )


lines_of_batches = st.lists(drawn_lines(), max_size=30)


@given(lines_of_batches)
def test_pay_out_every_net_balances(lines: list[SettlementLine]) -> None:
    """Whatever the lines are of, their nets are what is paid out."""
    for batch in batches_of(lines):
        mine = [item for item in lines if (item.batch, item.currency) == (batch.batch_id, batch.currency)]
        paid = payout(sum(item.net for item in mine), batch=batch.batch_id, currency=batch.currency)

        closed = batch.totals.plus(Totals.of(paid))

        assert (closed.state, closed.difference) == (SettlementBatchState.BALANCED, 0)
        assert closed.line_count == len(mine)


@given(lines_of_batches, st.integers(0, 30))
def test_merge_totals_of_a_batch_in_two_files_equals_one_file(lines: list[SettlementLine], cut: int) -> None:
    """A batch that is spread over files adds up to the same, in any order of files."""
    key = ("po_1", "EUR")
    sums = [
        {(batch.batch_id, batch.currency): batch.totals for batch in batches_of(part)}.get(key, totals())
        for part in (lines, lines[:cut], lines[cut:])
    ]

    assert sums[1].plus(sums[2]) == sums[2].plus(sums[1]) == sums[0]


def test_merge_payouts_keeps_the_last_time_and_tells_nothing_from_zero() -> None:
    """No word on the pay-out is not a pay-out of 0."""
    later = totals(paid_out=-5, paid_out_time=PAID + timedelta(days=1))

    assert totals().plus(totals()).paid_out is None
    assert totals(paid_out=0).plus(totals()).paid_out == 0
    assert totals(paid_out=10, paid_out_time=PAID).plus(later) == totals(
        paid_out=5, paid_out_time=later.paid_out_time
    )


def test_make_records_of_a_payment_gives_movement_and_fee() -> None:
    """What moved is in the player's currency, what was kept in ours; one id, two kinds, one batch."""
    paid = replace(line(gross=920, fee=30), original_amount=1_000, original_currency="USD")

    movement, fee = provider_records_of(paid)

    assert (movement.kind, movement.amount, movement.currency) == (ProviderRecordKind.PAYMENT, 1_000, "USD")
    assert (fee.kind, fee.amount, fee.currency) == (ProviderRecordKind.FEE, -30, "EUR")
    assert movement.record_id == fee.record_id == fee.provider_ref == paid.line_id
    assert (movement.provider_ref, movement.our_id) == (paid.provider_ref, paid.our_id)
    assert movement.payment_ref == fee.payment_ref == paid.payment_ref
    assert movement.batch == fee.batch == "po_1"
    assert (fee.provider_type, fee.our_id, fee.state) == ("payment.fee", "", RemoteState.SUCCEEDED)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (line(ProviderRecordKind.PAYMENT, 500), [(ProviderRecordKind.PAYMENT, 500)]),
        (
            line(ProviderRecordKind.REFUND, -500, -3),
            [(ProviderRecordKind.REFUND, -500), (ProviderRecordKind.FEE, 3)],
        ),
        (
            line(ProviderRecordKind.DISPUTE, -500, 1_500),
            [(ProviderRecordKind.DISPUTE, -500), (ProviderRecordKind.FEE, -1_500)],
        ),
        (line(ProviderRecordKind.FEE, 0, 66), [(ProviderRecordKind.FEE, -66)]),
        (line(ProviderRecordKind.OTHER, -300), [(ProviderRecordKind.OTHER, -300)]),
        (line(ProviderRecordKind.UNKNOWN, 0, 0), [(ProviderRecordKind.UNKNOWN, 0)]),
        (payout(700), [(ProviderRecordKind.SETTLEMENT, -700)]),
    ],
)
def test_make_records_of_each_kind_adds_up_to_the_net(
    made: SettlementLine, expected: list[tuple[ProviderRecordKind, int]]
) -> None:
    """The records of a line together are its net, signed as seen from our account."""
    records = provider_records_of(made)

    assert [(record.kind, record.amount) for record in records] == expected
    assert sum(record.amount or 0 for record in records) == made.net


def test_make_line_that_contradicts_itself_is_impossible() -> None:
    """No reader can hand on what its own numbers deny."""
    good = line(gross=100, fee=3)

    for wrong in ({"net": 98}, {"kind": ProviderRecordKind.FEE}, {"create_time": PAID.replace(tzinfo=None)}):
        with pytest.raises(AssertionError):
            replace(good, **wrong)
