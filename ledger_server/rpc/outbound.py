"""Owns OutboundService."""

from typing import Final

from defter.payments.v1 import outbound_pb2 as pb

from ledger_server.domain.ids import EPOCH_LENGTH
from ledger_server.engine.reconciliation.outbounds import Outbounds
from ledger_server.rpc.guard import CALLER
from ledger_server.rpc.payment_requests import MAX_REVIEWER, some_text
from ledger_server.rpc.serving import Context
from ledger_server.rpc.violations import Violations

_MAX_NOTE: Final = 512


class OutboundServicer:
    """Says whether calls to providers may be made."""

    def __init__(self, outbounds: Outbounds) -> None:
        self._outbounds = outbounds

    async def GetOutbound(self, _request: pb.GetOutboundRequest, _: Context) -> pb.GetOutboundResponse:
        """Read whether calls may be made."""
        return pb.GetOutboundResponse(outbound=await self._outbounds.read())

    async def StopOutbound(self, request: pb.StopOutboundRequest, _: Context) -> pb.StopOutboundResponse:
        """Stop all calls."""
        violations = Violations()
        some_text(violations, request.note, "note", _MAX_NOTE)
        some_text(violations, request.actor, "actor", MAX_REVIEWER)
        violations.check()
        outbound = await self._outbounds.stop(note=request.note, actor=request.actor, caller=CALLER.get())
        return pb.StopOutboundResponse(outbound=outbound)

    async def ResumeOutbound(
        self, request: pb.ResumeOutboundRequest, _: Context
    ) -> pb.ResumeOutboundResponse:
        """Let calls be made again."""
        violations = Violations()
        violations.text(request.epoch, "epoch", EPOCH_LENGTH)
        some_text(violations, request.note, "note", _MAX_NOTE)
        some_text(violations, request.actor, "actor", MAX_REVIEWER)
        violations.check()
        outbound = await self._outbounds.resume(
            request.epoch,
            note=request.note,
            actor=request.actor,
            caller=CALLER.get(),
            allow_unreconciled=request.allow_unreconciled,
        )
        return pb.ResumeOutboundResponse(outbound=outbound)
