"""Own importing settlement reports: once, all or nothing, whatever came before and whoever comes beside."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from defter.reconciliation.v1 import settlement_pb2

from tests.support.clock import FakeClock
from tests.support.fake_provider import fake_providers
from tests.support.service import Service, serving
from tests.support.settlement import (
    ADYEN,
    BALANCE,
    BALANCED,
    IN_PROGRESS,
    STRIPE,
    UNBALANCED,
    Rows,
    Settler,
    charge,
    paid,
    stripe_file,
)
from tests.support.wire import refusal
from tests.unit.reconciliation.files import sample

TABLES = ("settlement_reports", "settlement_lines", "settlement_batches", "provider_records")


async def counts(rows: Rows) -> dict[str, int]:
    """Return how many rows the tables of settlement have."""
    return {table: await rows.count(table) for table in TABLES}


async def test_import_stripe_sample_adds_up_to_the_cent(settler: Settler) -> None:
    """Every sum of a batch is what the file's lines say."""
    response = await settler.send(sample("stripe_payout_reconciliation.csv"), file_name="october.csv")

    assert not response.duplicate
    assert (response.report.line_count, response.report.new_line_count) == (7, 7)
    assert (response.report.file_name, response.report.format) == ("october.csv", STRIPE)
    euros, yen = response.batches
    assert (euros.batch_id, euros.currency_code, euros.state) == ("po_1Qx8A2", "EUR", BALANCED)
    assert (euros.gross_minor, euros.fee_minor, euros.refund_minor) == (14_599, 175 + 162 + 88, 2_000)
    assert (euros.computed_minor, euros.paid_out_minor, euros.difference_minor) == (12_174, 12_174, 0)
    assert (euros.line_count, euros.paid_out_time.ToJsonString()) == (4, "2026-10-07T00:00:00Z")
    assert (yen.batch_id, yen.currency_code, yen.state, yen.computed_minor) == (
        "po_1Qx9B7",
        "JPY",
        IN_PROGRESS,
        4_800,
    )
    assert not yen.HasField("paid_out_minor")


async def test_import_adyen_sample_adds_up_to_the_cent(settler: Settler) -> None:
    """Another vendor's layout, the same equation."""
    response = await settler.send(sample("adyen_settlement_details.csv"), ADYEN)
    whole, begun = response.batches
    assert (whole.batch_id, whole.state, whole.computed_minor, whole.paid_out_minor) == (
        "213",
        BALANCED,
        7_480,
        7_480,
    )
    assert (begun.batch_id, begun.state, begun.computed_minor) == ("214", IN_PROGRESS, 980)


async def test_import_other_report_with_the_payout_balances_the_batch(settler: Settler) -> None:
    """What it is made of and what was paid out may stand in two files, in either order."""
    await settler.send(sample("stripe_payouts.csv"))
    assert (await settler.batch("po_1Qx9B7")).state == IN_PROGRESS
    await settler.send(sample("stripe_payout_reconciliation.csv"))
    batch = await settler.batch("po_1Qx9B7")
    assert (batch.state, batch.paid_out_minor, batch.currency_code) == (BALANCED, 4_800, "JPY")


async def test_import_same_file_twice_changes_nothing(settler: Settler, rows: Rows) -> None:
    """The digest knows it, whatever its name is; the response says so."""
    data = sample("stripe_payout_reconciliation.csv")
    first = await settler.send(data)
    before = await counts(rows), await settler.ledger.head()
    second = await settler.send(data, file_name="other.csv", chunk_bytes=100)

    assert second.duplicate
    assert (second.report, list(second.batches)) == (first.report, list(first.batches))
    assert (await counts(rows), await settler.ledger.head()) == before


async def test_import_lines_as_records_of_what_the_player_paid(settler: Settler, rows: Rows) -> None:
    """A deposit's record is in the player's currency; each fee is a record of its own in ours."""
    await settler.send(sample("stripe_payout_reconciliation.csv"))
    found = await rows.fetch(
        "SELECT kind, amount, currency_code, our_id, batch, run_number FROM provider_records"
        " WHERE tenant_key = $1 AND record_id = 'txn_3Qx1bb' ORDER BY kind"
    )
    assert [tuple(row) for row in found] == [
        (1, 5_000, "USD", "dep_01JAAB", "po_1Qx8A2", None),
        (5, -162, "EUR", None, "po_1Qx8A2", None),
    ]


async def test_import_overlapping_files_counts_each_line_once(settler: Settler) -> None:
    """Weeks overlap; lines do not."""
    common = [charge(1_000, 30, name="a"), charge(500, name="b")]
    await settler.send(stripe_file([charge(100, name="z"), *common]))
    response = await settler.send(stripe_file([*common, charge(70, name="c"), paid(1_640)]))

    assert (response.report.line_count, response.report.new_line_count) == (4, 2)
    [batch] = response.batches
    assert (batch.gross_minor, batch.fee_minor, batch.line_count, batch.state) == (1_670, 30, 4, BALANCED)


async def test_import_line_again_with_its_batch_joins_it(settler: Settler) -> None:
    """What was in no payout yet is in one now; a report that knows of none takes it away from none."""
    loose = stripe_file([charge(100, name="a", batch="")])
    await settler.send(loose, BALANCE)
    assert await settler.batches() == []
    first = await settler.send(stripe_file([charge(100, name="a"), paid(100)]))
    assert (first.report.new_line_count, first.batches[0].state) == (1, BALANCED)
    await settler.send(loose, STRIPE)
    assert (await settler.batch()).line_count == 1


@pytest.mark.parametrize("payouts_first", [True, False])
async def test_import_payout_that_came_back_belongs_to_the_next_batch(
    settler: Settler, *, payouts_first: bool
) -> None:
    """Whichever report is first: what one shows by itself is part of the batch that another shows it in."""
    header = "payout_id,effective_at_utc,currency,balance_transaction_id,gross,fee,net,reporting_category"
    alone = stripe_file(
        ["po_0,2030-01-01 00:00:00,eur,txn_back,1.00,0.00,1.00,payout_reversal"], columns=header
    )
    row = "txn_back,2030-01-01 00:00:00,eur,1.00,0.00,1.00,payout_reversal,po_0,po_1,"
    within = stripe_file([charge(500), row, paid(600)])
    for data in (alone, within) if payouts_first else (within, alone):
        await settler.send(data)
    batch = await settler.batch()
    assert (batch.state, batch.correction_minor, batch.paid_out_minor) == (BALANCED, 100, 600)


async def test_import_line_with_other_amounts_is_refused_by_its_number(settler: Settler, rows: Rows) -> None:
    """A report that contradicts an earlier one is not silently accepted, and nothing of it is kept."""
    await settler.send(stripe_file([charge(100, name="a")]))
    before = await counts(rows)
    refused = await refusal(settler.send(stripe_file([charge(7, name="b"), charge(101, name="a")])))

    assert (refused.reason, refused.metadata["line"]) == ("REPORT_MALFORMED", "3")
    assert "gross 100" in refused.metadata["problems"]
    assert await counts(rows) == before


async def test_import_line_in_other_batch_is_refused(settler: Settler) -> None:
    """Money is paid out once."""
    await settler.send(stripe_file([charge(100, name="a", batch="po_1")]))
    refused = await refusal(settler.send(stripe_file([charge(100, name="a", batch="po_2")])))
    assert (refused.reason, refused.metadata["line"]) == ("REPORT_MALFORMED", "2")


async def test_import_broken_file_names_lines_and_leaves_no_row(settler: Settler, rows: Rows) -> None:
    """The first problems stand in the refusal, and the file may be sent again once it is mended."""
    good = [charge(100) for _ in range(1_200)]
    broken = [*good[:1_000], "txn_x,yesterday,eur,1.00,0.00,1.00,charge,ch_x,po_1,pi_x", *good[1_000:]]
    refused = await refusal(settler.send(stripe_file([*broken, "short"])))

    assert (refused.reason, refused.metadata["line"]) == ("REPORT_MALFORMED", "1002")
    assert [line.split(":")[0] for line in refused.metadata["problems"].split("\n")] == [
        "line 1002",
        "line 1203",
    ]
    assert set((await counts(rows)).values()) == {0}
    assert (await settler.send(stripe_file(good))).report.new_line_count == 1_200


async def test_import_batch_with_hostile_id_is_refused(settler: Settler, rows: Rows) -> None:
    """A batch's id becomes part of an idempotency key."""
    refused = await refusal(settler.send(stripe_file([charge(100, batch="po\u00fc")])))
    assert (refused.reason, refused.metadata["line"]) == ("REPORT_MALFORMED", "2")
    assert set((await counts(rows)).values()) == {0}


async def test_import_same_file_for_another_account_is_another_report(settler: Settler) -> None:
    """One file may be read for each of its accounts."""
    data = sample("adyen_settlement_details.csv")
    refused = await refusal(settler.send(data, ADYEN, account="Nobody"))
    assert refused.reason == "REPORT_MALFORMED"
    first = await settler.send(data, ADYEN, account="ExampleCasinoECOM")
    second = await settler.send(data, ADYEN)
    assert (first.duplicate, second.duplicate, second.report.new_line_count) == (False, False, 0)


async def test_import_unbalanced_batch_opens_a_finding_and_a_later_report_resolves_it(
    settler: Settler, rows: Rows
) -> None:
    """The finding says by how much; what was missing ends it, and what is wrong again opens it again."""
    await settler.send(stripe_file([charge(100), paid(130)]))
    batch = await settler.batch()
    assert (batch.state, batch.difference_minor) == (UNBALANCED, 30)
    assert await rows.mismatches() == {"po_1": "OPEN"}

    await settler.send(stripe_file([charge(30)]))
    assert await rows.mismatches() == {"po_1": "AUTO_RESOLVED"}
    await settler.send(stripe_file([charge(1)]))
    assert await rows.mismatches() == {"po_1": "REOPENED"}
    head = await settler.ledger.head()
    await settler.send(stripe_file([charge(30, batch="po_2")]))
    assert await settler.ledger.head() == head


async def test_import_at_once_through_two_servers_counts_each_line_once(
    settler: Settler, server: Service, rows: Rows, database_url: str, clock: FakeClock
) -> None:
    """The same file and overlapping ones, by several callers: one comes first."""
    shared = [charge(10, name=f"s{number}", at=number) for number in range(900)]
    same = stripe_file([*shared, paid(9_000)])
    files = [same, same, stripe_file([charge(5, batch="po_2"), *shared]), stripe_file(shared[:450]), same]
    async with serving(database_url, clock=clock, providers=fake_providers()) as second:
        servers = itertools.cycle([server, second])
        responses = await asyncio.gather(
            *(Settler(service.ledger()).send(data) for service, data in zip(servers, files, strict=False))
        )
    assert sum(response.report.new_line_count for response in responses if not response.duplicate) == 902
    assert sum(response.duplicate for response in responses) == 2
    assert await rows.count("settlement_lines") == 902
    batch = await settler.batch()
    assert (batch.gross_minor, batch.line_count, batch.state) == (9_000, 900, BALANCED)


async def test_list_batches_by_page_filter_and_state(settler: Settler) -> None:
    """The newest first; a page token goes on where the last page ended."""
    names = [f"po_{number:02}" for number in range(25)]
    await settler.send(
        stripe_file([row for name in names for row in (charge(5, batch=name), paid(5, batch=name))])
    )
    await settler.send(stripe_file([charge(5, batch="po_99")]))

    found = [batch.batch_id for batch in await settler.batches(page_size=10)]
    assert found == ["po_99", *reversed(names)]
    assert [batch.batch_id for batch in await settler.batches(state=IN_PROGRESS)] == ["po_99"]
    assert await settler.batches(provider="mock-silent") == []
    assert len(await settler.batches(state=BALANCED, provider="mock")) == 25


def test_import_request_has_no_other_part() -> None:
    """A new part of the stream needs a decision here."""
    [part] = settlement_pb2.ImportSettlementReportRequest.DESCRIPTOR.oneofs
    assert [field.name for field in part.fields] == ["header", "chunk"]
