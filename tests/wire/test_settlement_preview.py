"""Own the preview of a settlement report, and the reading of one batch with its lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from defter.reconciliation.v1 import finding_pb2
from defter.reconciliation.v1 import settlement_pb2 as pb

from tests.support.fake_provider import PROVIDER
from tests.support.ledger import Ledger
from tests.support.settlement import BALANCED, CONFIRMED, STRIPE, Settler, charge, paid, stripe_file
from tests.support.wire import MIB, refusal

Part = pb.PreviewSettlementReportRequest
pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def settler(ledger: Ledger) -> Settler:
    """The settlements of the tenant."""
    return Settler(ledger)


async def previewed(settler: Settler, data: bytes) -> pb.PreviewSettlementReportResponse:
    """Ask what an import would make of a file."""
    return await sent(settler, [Part(header=settler.header().header), Part(chunk=data)])


def header(provider: str) -> pb.ImportSettlementReportRequest.Header:
    """Return a header."""
    return pb.ImportSettlementReportRequest.Header(tenant_id="casino", provider=provider, format=STRIPE)


async def sent(settler: Settler, parts: Sequence[Part]) -> pb.PreviewSettlementReportResponse:
    """Send the messages as they are."""

    async def stream() -> AsyncIterator[Part]:
        for part in parts:
            yield part

    response: pb.PreviewSettlementReportResponse = await settler.stub.PreviewSettlementReport(stream())
    return response


def named(batch_id: str = "po_1", currency: str = "EUR") -> dict[str, Any]:
    """Return the name of a batch."""
    return {"tenant_id": "casino", "provider": PROVIDER, "batch_id": batch_id, "currency_code": currency}


async def test_preview_says_what_the_import_then_says_and_keeps_nothing(settler: Settler) -> None:
    """The same report and batches; before the import nothing is there, behind it all of it is known."""
    data = stripe_file([charge(2_000, 50), charge(1_000), paid(2_950), charge(700, 10, batch="po_2")])
    before = await previewed(settler, data)
    assert await settler.batches() == []
    assert not before.report.HasField("import_time")
    [total] = before.sums
    assert (total.currency_code, total.line_count) == ("EUR", 4)
    assert (total.gross_minor, total.fee_minor, total.paid_out_minor) == (3_700, 60, 2_950)
    assert [line.line_number for line in before.lines] == [2, 3, 4, 5]
    assert [(line.gross_minor, line.is_payout) for line in before.lines][:3] == [
        (2_000, False),
        (1_000, False),
        (-2_950, True),
    ]

    after = await settler.send(data)
    assert not after.duplicate
    assert not before.duplicate
    assert list(before.batches) == list(after.batches)
    kept = pb.SettlementReport()
    kept.CopyFrom(after.report)
    kept.ClearField("import_time")
    kept.ClearField("caller")
    assert before.report == kept

    again = await previewed(settler, data)
    assert again.duplicate
    assert again.report == after.report


async def test_preview_counts_what_an_earlier_report_has_brought(settler: Settler) -> None:
    """Of a longer report only the new lines are new, and the batch has all."""
    first, second = charge(1_000, name="a"), charge(500, name="b")
    await settler.send(stripe_file([first]))
    found = await previewed(settler, stripe_file([first, second, paid(1_500)]))
    assert (found.report.line_count, found.report.new_line_count) == (3, 2)
    [batch] = found.batches
    assert (batch.state, batch.line_count, batch.computed_minor) == (BALANCED, 2, 1_500)
    assert (await settler.batch()).line_count == 1


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([charge(1_000).replace("10.00", "ten", 1)], "line 2"),
        ([charge(900, name="known")], "an earlier report"),
    ],
)
async def test_preview_refuses_what_an_import_refuses(settler: Settler, rows: list[str], told: str) -> None:
    """In the same words: what can't be read, and what contradicts an earlier report."""
    await settler.send(stripe_file([charge(1_000, name="known")]))
    data = stripe_file(rows)
    refused = await refusal(previewed(settler, data))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REPORT_MALFORMED")
    assert told in refused.metadata["problems"]
    assert (await refusal(settler.send(data))).metadata == refused.metadata


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], "FIELD_MISSING"),
        ([Part(chunk=b"x")], "FIELD_MISSING"),
        (
            [
                Part(header=header(PROVIDER)),
                Part(chunk=bytes(MIB + 1)),
            ],
            "FIELD_TOO_LONG",
        ),
        ([Part(header=header("nobody"))], "PROVIDER_UNKNOWN"),
    ],
)
async def test_preview_out_of_shape_is_refused(settler: Settler, parts: list[Part], reason: str) -> None:
    """Its messages are those of an import."""
    assert (await refusal(sent(settler, parts))).reason == reason


async def test_batch_is_read_by_its_name_with_its_lines_by_page(settler: Settler) -> None:
    """Each line once, of that batch and currency alone."""
    rows = [charge(100 + number, 1, name=f"line{number}") for number in range(7)]
    await settler.send(stripe_file([*rows, charge(5, batch="po_2"), paid(714)]))
    read = await settler.stub.GetSettlementBatch(pb.GetSettlementBatchRequest(**named()))
    assert read.batch == await settler.batch()

    found: list[pb.SettlementLine] = []
    token = ""
    while True:
        page = await settler.stub.ListSettlementLines(
            pb.ListSettlementLinesRequest(**named(), page_size=3, page_token=token)
        )
        found += page.lines
        token = page.next_page_token
        if not token:
            break
    assert [line.line_id for line in found] == [*(f"txn_line{number}" for number in range(7)), "txn_po_1"]
    assert sum(line.net_minor for line in found) == 0
    assert found[0].kind == finding_pb2.RECORD_KIND_PAYMENT
    assert (found[0].line_number, found[0].provider_type) == (2, "charge")


@pytest.mark.parametrize("name", [named("po_9"), named(currency="USD")])
async def test_batch_that_nobody_has_is_not_found(settler: Settler, name: dict[str, Any]) -> None:
    """Both reads say so alike."""
    await settler.send(stripe_file([charge(100)]))
    for asked in (
        settler.stub.GetSettlementBatch(pb.GetSettlementBatchRequest(**name)),
        settler.stub.ListSettlementLines(pb.ListSettlementLinesRequest(**name)),
    ):
        assert (await refusal(asked)).reason == "SETTLEMENT_BATCH_NOT_FOUND"


async def test_bank_reference_is_kept_with_the_transaction(settler: Settler) -> None:
    """And another one under the same batch is another request."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    request = settler.confirm_request()
    request.bank_reference = "STMT 42/7"
    confirmed = (await settler.stub.ConfirmSettlementBatch(request)).batch
    assert confirmed.state == CONFIRMED
    moved = await settler.ledger.transaction(confirmed.transaction_id)
    assert moved.transaction.metadata["bank_reference"] == "STMT 42/7"
    assert (await settler.stub.ConfirmSettlementBatch(request)).batch == confirmed
    request.bank_reference = "STMT 42/8"
    assert (await refusal(settler.stub.ConfirmSettlementBatch(request))).reason == "IDEMPOTENCY_KEY_REUSED"
    request.bank_reference = "x" * 65
    assert (await refusal(settler.stub.ConfirmSettlementBatch(request))).reason == "FIELD_TOO_LONG"
