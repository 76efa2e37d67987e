"""Own the stream of an import on the wire: its parts, their order and bounds, and what lists refuse."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from defter.reconciliation.v1 import settlement_pb2

from tests.support.fake_provider import PROVIDER
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.settlement import ADYEN, STRIPE, UNBALANCED, Settler, charge, paid, stripe_file
from tests.support.wire import MIB, refusal
from tests.unit.reconciliation.files import sample

Part = settlement_pb2.ImportSettlementReportRequest
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT

# The requests below name the tenant, so there is one server for each test.
pytestmark = pytest.mark.usefixtures("server")

IMPORTING = "ledger_server.jobs.settlement.importing"


@pytest.fixture
def settler(ledger: Ledger) -> Settler:
    """The settlements of the tenant."""
    return Settler(ledger)


def header(**changed: object) -> Part:
    """Return a header, sound but for what is changed."""
    fields: dict[str, object] = {"tenant_id": "casino", "provider": PROVIDER, "format": STRIPE}
    return Part(header=Part.Header(**{**fields, **changed}))  # type: ignore[arg-type]


CHUNK = Part(chunk=stripe_file([charge(100)]))


@pytest.mark.parametrize(
    ("parts", "reason", "field"),
    [
        ([], "FIELD_MISSING", "header"),
        ([CHUNK], "FIELD_MISSING", "header"),
        ([Part()], "FIELD_MISSING", "header"),
        ([header(), header()], "FIELD_MALFORMED", "header"),
        ([header(), CHUNK, Part()], "FIELD_MISSING", "chunk"),
        ([header(), Part(chunk=bytes(MIB + 1))], "FIELD_TOO_LONG", "chunk"),
        ([header(tenant_id="")], "FIELD_MISSING", "header.tenant_id"),
        ([header(tenant_id="Casino")], "FIELD_MALFORMED", "header.tenant_id"),
        ([header(provider="")], "FIELD_MISSING", "header.provider"),
        ([header(provider="nobody")], "PROVIDER_UNKNOWN", "header.provider"),
        ([header(format=0)], "FIELD_MISSING", "header.format"),
        ([header(format=9)], "FIELD_MALFORMED", "header.format"),
        ([header(file_name="x" * 256)], "FIELD_TOO_LONG", "header.file_name"),
        ([header(account="a\x00b")], "FIELD_MALFORMED", "header.account"),
    ],
)
async def test_import_out_of_shape_is_refused(
    settler: Settler, parts: list[Part], reason: str, field: str
) -> None:
    """The header first, once; then bytes, in chunks of at most 1 MiB."""
    refused = await refusal(settler.send_parts(parts))
    assert (refused.code, refused.reason) == (INVALID_ARGUMENT, reason)
    assert field in refused.violated_fields
    assert await settler.batches() == []


async def test_import_for_unknown_tenant_is_refused(settler: Settler) -> None:
    """Tenants are created first."""
    assert (
        await refusal(settler.send_parts([header(tenant_id="nobody"), CHUNK]))
    ).reason == "TENANT_NOT_FOUND"


async def test_import_message_of_five_mebibytes_is_refused(settler: Settler) -> None:
    """Any message has a bound."""
    refused = await refusal(settler.send_parts([header(), Part(chunk=bytes(5 * MIB))]))
    assert refused.reason == "MESSAGE_TOO_LARGE"


async def test_import_garbage_is_refused(ledger: Ledger) -> None:
    """Bytes that are no message are refused by name, first or later."""
    method = "/defter.reconciliation.v1.SettlementService/ImportSettlementReport"
    for messages in ([b"\xff\xff\xff"], [header().SerializeToString(), b"\xff\xff\xff"]):
        call: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = ledger.channel.stream_unary(method)
        assert (await refusal(call(iter(messages)))).reason == "MALFORMED_MESSAGE"


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b'"', sample("adyen_settlement_details.csv")]
)
async def test_import_what_is_no_report_is_refused(settler: Settler, data: bytes) -> None:
    """Nothing, no text, no report, and another vendor's."""
    refused = await refusal(settler.send(data))
    assert (refused.code, refused.reason) == (INVALID_ARGUMENT, "REPORT_MALFORMED")
    assert refused.metadata["problems"].startswith(f"line {refused.metadata['line']}: ")


async def test_import_in_any_chunks_reads_the_same_file(settler: Settler) -> None:
    """Where a file is cut means nothing, empty chunks included."""
    data = sample("adyen_settlement_details.csv")
    first = await settler.send(data, ADYEN, chunk_bytes=7)
    chunks = [Part(chunk=b""), Part(chunk=data), Part(chunk=b"")]
    second = await settler.send_parts([settler.header(ADYEN), *chunks])
    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.report == second.report


async def test_import_with_many_batches_answers_with_those_that_fit(
    settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer stays below what clients accept; the list has all."""
    monkeypatch.setattr("ledger_server.rpc.page_token.MAX_BYTES", 10_000)
    names = [f"po_{number:05}" for number in range(450)]
    data = stripe_file([row for name in names for row in (charge(5, batch=name), paid(6, batch=name))])
    response = await settler.send(data)
    assert 100 < len(response.batches) < len(names)
    assert response.ByteSize() < 11_000
    assert len(await settler.batches(page_size=1_000, state=UNBALANCED)) == len(names)


async def test_stream_that_says_nothing_does_not_keep_others_from_importing(
    settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has sent nothing of a file takes no place, however many there are and however long it lasts."""
    monkeypatch.setattr(f"{IMPORTING}._SILENCE_SECONDS", 10 * HANG_SECONDS)
    silent = [settler.stub.ImportSettlementReport() for _ in range(10)]
    for call in silent:
        await call.write(settler.header())
    async with asyncio.timeout(HANG_SECONDS):
        assert (await settler.send(sample("stripe_payouts.csv"))).report.line_count == 3
    for call in silent:
        call.cancel()


async def test_import_that_falls_silent_is_given_up(
    settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that says nothing makes room for others."""
    monkeypatch.setattr(f"{IMPORTING}._SILENCE_SECONDS", 0.1)
    call = settler.stub.ImportSettlementReport()
    await call.write(settler.header())
    assert (await refusal(call)).reason == "DEADLINE_PASSED"


async def test_import_beyond_its_bounds_is_refused(settler: Settler, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file has a largest size and a largest number of lines, and what is refused leaves nothing."""
    data = stripe_file([charge(100) for _ in range(50)])
    with monkeypatch.context() as patch:
        patch.setattr(f"{IMPORTING}.MAX_FILE_BYTES", len(data) - 1)
        refused = await refusal(settler.send(data))
        assert (refused.reason, refused.violated_fields) == ("FIELD_TOO_LONG", ("chunk",))
    with monkeypatch.context() as patch:
        patch.setattr("ledger_server.jobs.settlement.spool.MAX_LINES", 49)
        assert (await refusal(settler.send(data))).reason == "REPORT_MALFORMED"
    assert await settler.batches() == []
    assert not (await settler.send(data)).duplicate


@pytest.mark.parametrize(
    ("changed", "reason", "field"),
    [
        ({"provider": "Mock"}, "FIELD_MALFORMED", "provider"),
        ({"state": 9}, "FIELD_MALFORMED", "state"),
        ({"page_size": 1_001}, "FIELD_OUT_OF_RANGE", "page_size"),
        ({"page_token": "next"}, "PAGE_TOKEN_INVALID", "page_token"),
    ],
)
async def test_list_out_of_shape_is_refused(
    settler: Settler, changed: dict[str, object], reason: str, field: str
) -> None:
    """As all lists."""
    request = settlement_pb2.ListSettlementBatchesRequest(tenant_id="casino", **changed)  # type: ignore[arg-type]
    refused = await refusal(settler.stub.ListSettlementBatches(request))
    assert (refused.reason, refused.violated_fields) == (reason, (field,))


@pytest.mark.parametrize(
    ("changed", "reason", "field"),
    [
        ({"provider": ""}, "FIELD_MISSING", "provider"),
        ({"batch_id": ""}, "FIELD_MISSING", "batch_id"),
        ({"batch_id": "x" * 256}, "FIELD_TOO_LONG", "batch_id"),
        ({"currency_code": "ABC"}, "CURRENCY_UNKNOWN", "currency_code"),
        ({"bank": ""}, "FIELD_MISSING", "bank"),
        ({"bank": "our bank"}, "FIELD_MALFORMED", "bank"),
        ({"bank": "b" * 65}, "FIELD_MALFORMED", "bank"),
        ({"actor": ""}, "FIELD_MISSING", "actor"),
        ({"actor": "x" * 256}, "FIELD_TOO_LONG", "actor"),
    ],
)
async def test_confirm_out_of_shape_is_refused(
    settler: Settler, changed: dict[str, str], reason: str, field: str
) -> None:
    """Before anything is looked up."""
    request = settler.confirm_request()
    for name, value in changed.items():
        setattr(request, name, value)
    refused = await refusal(settler.stub.ConfirmSettlementBatch(request))
    assert (refused.reason, refused.violated_fields) == (reason, (field,))


async def test_confirm_batch_of_other_provider_or_currency_is_not_found(settler: Settler) -> None:
    """A batch is known by all three."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    for request in (settler.confirm_request(currency_code="USD"), settler.confirm_request("po_2")):
        assert (
            await refusal(settler.stub.ConfirmSettlementBatch(request))
        ).reason == "SETTLEMENT_BATCH_NOT_FOUND"


async def test_import_while_others_post_answers_both(settler: Settler) -> None:
    """An import makes room for postings and still comes to its end."""
    await settler.ledger.open("ann")
    data = stripe_file([charge(5) for _ in range(3_000)])
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(settler.send(data))
        count = 0
        while not sending.done():
            await settler.ledger.post("house", "ann", 1)
            count += 1
    assert sending.result().report.new_line_count == 3_000
    assert await settler.ledger.posted("ann") == count
