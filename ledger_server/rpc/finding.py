"""Owns FindingService."""

from defter.ledger.v1 import journal_pb2
from defter.reconciliation.v1 import finding_pb2

from ledger_server.engine.lane.work import Request
from ledger_server.engine.reads.findings import FindingReads
from ledger_server.engine.reconciliation.repairs import Repairs
from ledger_server.engine.records.times import timestamp
from ledger_server.engine.records.wire_format import boolean, length_delimited
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.finding_requests import (
    MAX_PERSON,
    acknowledge_finding,
    opened_between,
    reopen_finding,
    resolve_finding,
    wanted_findings,
)
from ledger_server.rpc.outcomes import decide_one, refusal_of
from ledger_server.rpc.page_token import Position, page_bytes, page_place, page_size, time_in
from ledger_server.rpc.payment_requests import some_text
from ledger_server.rpc.read_requests import tenant_violations
from ledger_server.rpc.requests import ids_of
from ledger_server.rpc.serving import Context, deadline_of
from ledger_server.store.queries.findings import NEWEST, FindingPosition
from ledger_server.store.queries.rendering import Page


class FindingServicer:
    """Changes findings by hand and reads them; the recorded message is field 1 of each response."""

    def __init__(self, ledger: CallersLedger, reads: FindingReads, repairs: Repairs) -> None:
        self._ledger = ledger
        self._reads = reads
        self._repairs = repairs

    async def ListFindings(self, request: finding_pb2.ListFindingsRequest, _: Context) -> bytes:
        """List findings, those opened last first."""
        violations = tenant_violations(request)
        wanted = wanted_findings(violations, request, await self._reads.ids(request.tenant_id))
        size = page_size(request, violations)
        after = page_place(request, violations, like=("", ""), read=_place) or NEWEST
        violations.check()
        page = await self._reads.list_findings(request.tenant_id, wanted, after=after, size=size)
        behind = None if page.next is None else _position(page.next)
        return page_bytes(request, Page(page.items, behind, page.sequence))

    async def CountFindings(
        self, request: finding_pb2.CountFindingsRequest, _: Context
    ) -> finding_pb2.CountFindingsResponse:
        """Count findings by class, severity, state and provider account."""
        violations = tenant_violations(request)
        ended = opened_between(violations, request)
        violations.check()
        found, newest = await self._reads.count_findings(request.tenant_id, ended)
        response = finding_pb2.CountFindingsResponse(sequence=newest)
        for each in found:
            response.counts.add(
                finding_class=each.kind,
                severity=each.severity,
                state=each.state,
                provider=each.provider,
                count=each.findings,
                oldest_time=timestamp(each.oldest_time),
                at_least=each.at_least,
            )
        return response

    async def GetFinding(
        self, request: finding_pb2.GetFindingRequest, _: Context
    ) -> finding_pb2.GetFindingResponse:
        """Read a finding with its history."""
        violations = tenant_violations(request)
        violations.identifier(request.finding_id, "finding_id")
        violations.check()
        found, newest = await self._reads.finding(request.tenant_id, request.finding_id)
        response = finding_pb2.GetFindingResponse(
            finding=finding_pb2.Finding.FromString(found.body), sequence=newest
        )
        for version in found.history:
            record = journal_pb2.JournalRecord.FromString(version.record)
            response.history.add(
                sequence=version.sequence,
                finding=record.finding_changed,
                caller=record.caller if record.HasField("caller") else None,
            )
        if found.run_number is not None:
            response.last_seen_run_id = ids_of(request.tenant_id).run_id(found.run_number)
        if found.seen_time is not None:
            response.last_seen_time.CopyFrom(timestamp(found.seen_time))
        return response

    async def AcknowledgeFinding(
        self, request: finding_pb2.AcknowledgeFindingRequest, context: Context
    ) -> bytes:
        """Say who looks after it."""
        return await self._decide(request.tenant_id, acknowledge_finding(request), context)

    async def ResolveFinding(self, request: finding_pb2.ResolveFindingRequest, context: Context) -> bytes:
        """Say why the discrepancy is settled."""
        return await self._decide(request.tenant_id, resolve_finding(request), context)

    async def ReopenFinding(self, request: finding_pb2.ReopenFindingRequest, context: Context) -> bytes:
        """Take it up again."""
        return await self._decide(request.tenant_id, reopen_finding(request), context)

    async def RepairFinding(self, request: finding_pb2.RepairFindingRequest, context: Context) -> bytes:
        """Book what the provider's record of a finding says, as if its webhook had arrived."""
        violations = tenant_violations(request)
        violations.identifier(request.finding_id, "finding_id")
        some_text(violations, request.actor, "actor", MAX_PERSON)
        violations.check()
        item = await self._repairs.request(request.tenant_id, request.finding_id, request.actor)
        [outcome] = await self._ledger.submit(request.tenant_id, [item], deadline=deadline_of(context))
        if outcome.rejected:
            raise refusal_of(outcome)
        return length_delimited(1, outcome.content) + boolean(2, value=outcome.replayed)

    async def _decide(self, tenant_id: str, item: Request, context: Context) -> bytes:
        return length_delimited(1, await decide_one(self._ledger, tenant_id, item, context))


def _position(place: FindingPosition) -> Position:
    return place.open_time.isoformat(), place.fingerprint.hex()


def _place(position: Position) -> FindingPosition:
    open_time, fingerprint = position
    return FindingPosition(time_in(open_time), bytes.fromhex(str(fingerprint)))
