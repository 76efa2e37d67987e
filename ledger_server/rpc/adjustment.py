"""Owns AdjustmentService."""

from defter.ledger.v1 import adjustment_pb2

from ledger_server.engine.lane.work import Request
from ledger_server.engine.reads.adjustments import AdjustmentReads
from ledger_server.engine.reads.ledger import Reads, Span
from ledger_server.engine.records.adjustments import adjustment_policy_message
from ledger_server.engine.records.wire_format import length_delimited, number
from ledger_server.rpc.adjustment_requests import (
    approve_adjustment,
    cancel_adjustment,
    reject_adjustment,
    request_adjustment,
    set_adjustment_policy,
    wanted_adjustments,
)
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.outcomes import decide_one
from ledger_server.rpc.page_token import number_position, page_bytes, page_size
from ledger_server.rpc.read_requests import bound, tenant_violations
from ledger_server.rpc.requests import RequestReader
from ledger_server.rpc.serving import Context


class AdjustmentServicer:
    """Takes adjustments to another person; the recorded message is field 1 of each response."""

    def __init__(
        self, ledger: CallersLedger, reader: RequestReader, reads: Reads, adjustments: AdjustmentReads
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._reads = reads
        self._adjustments = adjustments

    async def RequestAdjustment(
        self, request: adjustment_pb2.RequestAdjustmentRequest, context: Context
    ) -> bytes:
        """Ask for it, and post it where nobody else is needed."""
        return await self._decide(request.tenant_id, request_adjustment(self._reader, request), context)

    async def ApproveAdjustment(
        self, request: adjustment_pb2.ApproveAdjustmentRequest, context: Context
    ) -> bytes:
        """Approve it as another person; it is posted."""
        return await self._decide(request.tenant_id, approve_adjustment(request), context)

    async def RejectAdjustment(
        self, request: adjustment_pb2.RejectAdjustmentRequest, context: Context
    ) -> bytes:
        """Refuse it."""
        return await self._decide(request.tenant_id, reject_adjustment(request), context)

    async def CancelAdjustment(
        self, request: adjustment_pb2.CancelAdjustmentRequest, context: Context
    ) -> bytes:
        """Take it back as who asked."""
        return await self._decide(request.tenant_id, cancel_adjustment(request), context)

    async def GetAdjustment(self, request: adjustment_pb2.GetAdjustmentRequest, _: Context) -> bytes:
        """Read one adjustment."""
        violations = tenant_violations(request)
        violations.identifier(request.adjustment_id, "adjustment_id")
        violations.check()
        found, newest = await self._adjustments.adjustment(request.tenant_id, request.adjustment_id)
        return length_delimited(1, found) + number(2, newest)

    async def ListAdjustments(self, request: adjustment_pb2.ListAdjustmentsRequest, _: Context) -> bytes:
        """List adjustments in the order in which they were asked for, or the newest first."""
        violations = tenant_violations(request)
        wanted = wanted_adjustments(violations, request)
        asked = Span(bound(violations, request, "from_time"), bound(violations, request, "to_time"))
        size = page_size(request, violations)
        after = number_position(request, violations)
        violations.check()
        page = await self._adjustments.list_adjustments(
            request.tenant_id, wanted, asked, after=after, size=size
        )
        return page_bytes(request, page)

    async def SetAdjustmentPolicy(
        self, request: adjustment_pb2.SetAdjustmentPolicyRequest, context: Context
    ) -> bytes:
        """Replace from which amounts a second person is wanted."""
        return await self._decide(request.tenant_id, set_adjustment_policy(self._reader, request), context)

    async def GetAdjustmentPolicy(
        self, request: adjustment_pb2.GetAdjustmentPolicyRequest, _: Context
    ) -> adjustment_pb2.GetAdjustmentPolicyResponse:
        """Read from which amounts a second person is wanted."""
        tenant_violations(request).check()
        head = await self._reads.tenant(request.tenant_id)
        return adjustment_pb2.GetAdjustmentPolicyResponse(
            policy=adjustment_policy_message(head.adjustment_policy), sequence=head.sequence
        )

    async def _decide(self, tenant_id: str, item: Request, context: Context) -> bytes:
        return length_delimited(1, await decide_one(self._ledger, tenant_id, item, context))
