"""Own hand-written servicers of findings and settlement, over real gRPC, that keep what they are asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from defter.ledger.v1 import error_pb2
from defter.payments.v1 import payment_pb2
from defter.reconciliation.v1 import finding_pb2 as pb
from defter.reconciliation.v1 import settlement_pb2
from defter.reconciliation.v1.finding_pb2_grpc import (
    FindingServiceServicer,
    add_FindingServiceServicer_to_server,
)
from defter.reconciliation.v1.settlement_pb2_grpc import (
    SettlementServiceServicer,
    add_SettlementServiceServicer_to_server,
)
from google.rpc import error_details_pb2, status_pb2

from tests.support.clock import START
from tests.support.requests import timestamp

Context = grpc.aio.ServicerContext[Any, Any]


async def refuse(context: Context, code: grpc.StatusCode, reason: str, message: str, **facts: str) -> None:
    """Refuse a call as the ledger does."""
    assert f"ERROR_REASON_{reason}" in error_pb2.ErrorReason.keys()  # noqa: SIM118  # an enum, no mapping
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="defter", metadata=facts))
    await context.abort(code, message, (("grpc-status-details-bin", status.SerializeToString()),))


def finding(digits: str, **fields: Any) -> pb.Finding:
    """Return a payout that only the provider has, open, with an id that begins with these digits."""
    wanted: dict[str, Any] = {
        "finding_id": "fnd_" + digits.ljust(32, "0"),
        "finding_class": pb.FINDING_CLASS_MISSING_IN_LEDGER,
        "severity": pb.SEVERITY_HIGH,
        "state": pb.FINDING_STATE_OPEN,
        "version": 1,
        "provider": "mock",
        "at_provider": pb.Side(
            ref="mp_out_1",
            kind=pb.RECORD_KIND_PAYOUT,
            amount_minor=-123456,
            currency_code="EUR",
            state="succeeded",
            type="payout",
            time=timestamp(START),
        ),
        "currency_code": "EUR",
        "description": "payout at the provider, not in the ledger",
        "evidence": {"echoed_id": "wd_lost"},
        "subject_time": timestamp(START),
        "source": pb.FINDING_SOURCE_RUN,
        "run_id": "run_x_1",
        "open_time": timestamp(START),
        "update_time": timestamp(START),
    }
    return pb.Finding(**{**wanted, **fields})


class FakeServices(FindingServiceServicer, SettlementServiceServicer):
    """Keeps findings and their versions by the rules of the contract, as far as these tests need them.

    Attributes:
        requests: every request in order.
        unavailable: how many mutations are done and then answered UNAVAILABLE.
        before_change: is done between a caller's read and its change, once.
    """

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.versions: dict[str, list[pb.Finding]] = {}
        self.answers: dict[str, pb.Finding] = {}
        self.batches: list[settlement_pb2.SettlementBatch] = []
        self.imported: dict[bytes, settlement_pb2.SettlementReport] = {}
        self.unavailable = 0
        self.before_change: pb.Finding | None = None
        self.page_size = 1_000
        self.malformed = ""

    def put(self, *findings: pb.Finding) -> None:
        """Have findings, or newer versions of them."""
        for each in findings:
            self.versions.setdefault(each.finding_id, []).append(each)

    def asked(self, kind: type[Any]) -> list[Any]:
        """Return the requests of one type."""
        return [request for request in self.requests if isinstance(request, kind)]

    async def ListFindings(self, request: pb.ListFindingsRequest, _: Context) -> pb.ListFindingsResponse:
        """List by state and class, a page at a time."""
        self.requests.append(pb.ListFindingsRequest.FromString(request.SerializeToString()))
        newest = [versions[-1] for versions in self.versions.values()]
        wanted = [each for each in newest if not request.states or each.state in request.states]
        start = int(request.page_token or 0)
        end = start + min(request.page_size, self.page_size)
        more = str(end) if end < len(wanted) else ""
        return pb.ListFindingsResponse(findings=wanted[start:end], next_page_token=more)

    async def CountFindings(self, request: pb.CountFindingsRequest, _: Context) -> pb.CountFindingsResponse:
        """No command counts."""
        raise NotImplementedError

    async def GetFinding(self, request: pb.GetFindingRequest, context: Context) -> pb.GetFindingResponse:
        """Return a finding with its history."""
        self.requests.append(request)
        versions = self.versions.get(request.finding_id)
        if versions is None:
            text, facts = "no such finding", {"finding_id": request.finding_id}
            await refuse(context, grpc.StatusCode.NOT_FOUND, "FINDING_NOT_FOUND", text, **facts)
            raise AssertionError("refusing ends the call")
        response = pb.GetFindingResponse(finding=versions[-1])
        for number, version in enumerate(versions, 1):
            response.history.add(sequence=number, finding=version)
        if self.before_change is not None:
            self.put(self.before_change)
            self.before_change = None
        return response

    async def AcknowledgeFinding(
        self, request: pb.AcknowledgeFindingRequest, context: Context
    ) -> pb.AcknowledgeFindingResponse:
        """Take it up."""
        after = await self._changed(
            request, context, state=pb.FINDING_STATE_ACKNOWLEDGED, assignee=request.assignee
        )
        return pb.AcknowledgeFindingResponse(finding=after)

    async def ResolveFinding(
        self, request: pb.ResolveFindingRequest, context: Context
    ) -> pb.ResolveFindingResponse:
        """Resolve it."""
        after = await self._changed(
            request,
            context,
            state=pb.FINDING_STATE_RESOLVED,
            resolution_reason=request.reason,
            correction_transaction_id=request.correction_transaction_id,
            duplicate_of_finding_id=request.duplicate_of_finding_id,
        )
        return pb.ResolveFindingResponse(finding=after)

    async def ReopenFinding(
        self, request: pb.ReopenFindingRequest, context: Context
    ) -> pb.ReopenFindingResponse:
        """Take it up again."""
        after = await self._changed(request, context, state=pb.FINDING_STATE_REOPENED)
        return pb.ReopenFindingResponse(finding=after)

    async def RepairFinding(
        self, request: pb.RepairFindingRequest, context: Context
    ) -> pb.RepairFindingResponse:
        """Book it; a finding that has a payment can't be."""
        self.requests.append(request)
        if self.versions[request.finding_id][-1].payment_id:
            text, facts = "nothing can be booked by it", {"finding_id": request.finding_id}
            await refuse(
                context, grpc.StatusCode.FAILED_PRECONDITION, "FINDING_NOT_REPAIRABLE", text, **facts
            )
        event = payment_pb2.RecordedProviderEvent(
            provider_event_id="evt_1",
            event=payment_pb2.ProviderEvent(type=payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED),
            state=payment_pb2.PROVIDER_EVENT_STATE_APPLIED,
        )
        return pb.RepairFindingResponse(event=event, duplicate=len(self.asked(pb.RepairFindingRequest)) > 1)

    async def ImportSettlementReport(
        self, parts: AsyncIterator[settlement_pb2.ImportSettlementReportRequest], context: Context
    ) -> settlement_pb2.ImportSettlementReportResponse:
        """Take a report in."""
        header, content = None, b""
        async for part in parts:
            if part.HasField("header"):
                header = part.header
            else:
                content += part.chunk
        assert header is not None
        self.requests.append((header, content))
        if self.unavailable:
            self.unavailable -= 1
            await refuse(
                context, grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "the database does not answer"
            )
        if self.malformed:
            await refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "REPORT_MALFORMED",
                "the report can't be read",
                line="3",
                problems=self.malformed,
            )
        duplicate = content in self.imported
        report = self.imported.setdefault(
            content,
            settlement_pb2.SettlementReport(
                provider=header.provider,
                format=header.format,
                file_name=header.file_name,
                line_count=content.count(b"\n"),
                new_line_count=content.count(b"\n"),
                import_time=timestamp(START),
            ),
        )
        return settlement_pb2.ImportSettlementReportResponse(
            report=report, batches=self.batches, duplicate=duplicate
        )

    async def ListSettlementBatches(
        self, request: settlement_pb2.ListSettlementBatchesRequest, _: Context
    ) -> settlement_pb2.ListSettlementBatchesResponse:
        """List batches."""
        self.requests.append(request)
        return settlement_pb2.ListSettlementBatchesResponse(batches=self.batches)

    async def PreviewSettlementReport(
        self, _: AsyncIterator[settlement_pb2.PreviewSettlementReportRequest], __: Context
    ) -> settlement_pb2.PreviewSettlementReportResponse:
        """No command previews."""
        raise NotImplementedError

    async def GetSettlementBatch(
        self, _: settlement_pb2.GetSettlementBatchRequest, __: Context
    ) -> settlement_pb2.GetSettlementBatchResponse:
        """No command reads one."""
        raise NotImplementedError

    async def ListSettlementLines(
        self, _: settlement_pb2.ListSettlementLinesRequest, __: Context
    ) -> settlement_pb2.ListSettlementLinesResponse:
        """No command lists lines."""
        raise NotImplementedError

    async def ConfirmSettlementBatch(
        self, request: settlement_pb2.ConfirmSettlementBatchRequest, context: Context
    ) -> settlement_pb2.ConfirmSettlementBatchResponse:
        """Move the money."""
        self.requests.append(request)
        batch = next(each for each in self.batches if each.batch_id == request.batch_id)
        if batch.state == settlement_pb2.SETTLEMENT_BATCH_STATE_UNBALANCED:
            await refuse(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                "SETTLEMENT_BATCH_NOT_BALANCED",
                "the batch does not add up",
                batch_id=batch.batch_id,
                difference_minor=str(batch.difference_minor),
            )
        batch.state = settlement_pb2.SETTLEMENT_BATCH_STATE_CONFIRMED
        batch.transaction_id = "tx_1"
        return settlement_pb2.ConfirmSettlementBatchResponse(batch=batch)

    async def _changed(self, request: Any, context: Context, **fields: Any) -> pb.Finding:
        """Change a finding once per key, if it has the version that the caller has read."""
        self.requests.append(request)
        if request.idempotency_key in self.answers:
            return self.answers[request.idempotency_key]
        known = self.versions[request.finding_id][-1]
        if known.version != request.expected_version:
            await refuse(
                context,
                grpc.StatusCode.ABORTED,
                "FINDING_VERSION_MISMATCH",
                "the finding has changed meanwhile",
                finding_id=request.finding_id,
                expected_version=str(request.expected_version),
                version=str(known.version),
            )
        after = next_version(known, actor=request.actor, note=request.note, **fields)
        self.put(after)
        self.answers[request.idempotency_key] = after
        if self.unavailable:
            self.unavailable -= 1
            await refuse(
                context, grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "the database does not answer"
            )
        return after


def next_version(known: pb.Finding, **fields: Any) -> pb.Finding:
    """Return a finding's next version."""
    after = pb.Finding.FromString(known.SerializeToString())
    after.version += 1
    after.ClearField("run_id")
    for name, value in fields.items():
        setattr(after, name, value)
    return after


@asynccontextmanager
async def serving_fakes() -> AsyncIterator[tuple[FakeServices, int]]:
    """Serve them on a free port."""
    server = grpc.aio.server()
    services = FakeServices()
    add_FindingServiceServicer_to_server(services, server)
    add_SettlementServiceServicer_to_server(services, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield services, port
    finally:
        await server.stop(None)
