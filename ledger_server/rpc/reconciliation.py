"""Owns ReconciliationService."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Final, Protocol

from defter.reconciliation.v1 import reconciliation_pb2 as pb
from google.protobuf.message import Message

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import (
    FieldMalformed,
    FieldMissing,
    FieldOutOfRange,
    ProviderUnknown,
    ShuttingDown,
)
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.payment_comparison import Verdict
from ledger_server.engine.reads.runs import RunReads
from ledger_server.engine.reconciliation.comparisons import row_name
from ledger_server.engine.reconciliation.runs import Claimed, Runs
from ledger_server.rpc.errors import mark_replayed
from ledger_server.rpc.guard import CALLER
from ledger_server.rpc.page_token import (
    fitting,
    page_place,
    page_size,
    page_token,
    small_number_in,
    time_in,
)
from ledger_server.rpc.payment_requests import ProviderAmounts, provider_name
from ledger_server.rpc.read_requests import bound, optional_enum, tenant_violations
from ledger_server.rpc.requests import keyed_violations
from ledger_server.rpc.serving import Context
from ledger_server.rpc.violations import Violations
from ledger_server.store.queries.runs import ProviderRecordFilter

_LOOK_SECONDS: Final = 0.25
_LONGEST: Final = timedelta(days=366)
_STATES: Final = frozenset(pb.RunState.values()) - {0}


class Worker(Protocol):
    """Works on runs, whether or not their callers stay."""

    @property
    def stopping(self) -> bool:
        """Whether no more runs are taken on."""

    @property
    def stopped(self) -> bool:
        """Whether no more runs are taken on and the end of each run has been written."""

    def begin(self, request: pb.RunReconciliationRequest, claimed: Claimed, ids: TenantIds) -> None:
        """Begin with a run that was claimed."""


class ReconciliationServicer:
    """Begins runs, follows them, and reads what they have left behind."""

    def __init__(
        self,
        runs: Runs,
        worker: Worker,
        reads: RunReads,
        clock: Clock,
        providers: Mapping[str, ProviderAmounts],
    ) -> None:
        self._runs = runs
        self._worker = worker
        self._reads = reads
        self._clock = clock
        self._providers = providers

    async def RunReconciliation(
        self, request: pb.RunReconciliationRequest, context: Context
    ) -> AsyncIterator[pb.RunReconciliationResponse]:
        """Compare a provider account with the ledger, and stream the progress."""
        self._check_run(request)
        await self._reads.check_tenant(request.tenant_id)
        claimed = await self._claim(request)
        if claimed.ended:
            mark_replayed(context)
            yield pb.RunReconciliationResponse(run=claimed.run)
            return
        told = b""
        while True:
            # Checked before the run is read, so that the read includes everything that this process has
            # written.
            stopped = self._worker.stopped
            run, lost = await self._runs.follow(request.tenant_id, claimed.number)
            if lost:
                claimed = await self._claim(request)
            state = run.SerializeToString()
            if state != told:
                told = state
                yield pb.RunReconciliationResponse(run=run)
            if run.state != pb.RUN_STATE_RUNNING:
                return
            if stopped:
                # Another process works on the run; the caller can follow it at any other server.
                raise ShuttingDown
            await asyncio.sleep(_LOOK_SECONDS)

    async def GetRun(self, request: pb.GetRunRequest, _: Context) -> pb.GetRunResponse:
        """Read a run."""
        violations = tenant_violations(request)
        violations.identifier(request.run_id, "run_id")
        violations.check()
        return pb.GetRunResponse(run=await self._reads.run(request.tenant_id, request.run_id))

    async def ListRuns(self, request: pb.ListRunsRequest, _: Context) -> pb.ListRunsResponse:
        """List runs, the newest first."""
        violations = tenant_violations(request)
        if request.provider:
            provider_name(violations, request.provider)
        if request.compared_source:
            provider_name(violations, request.compared_source, "compared_source")
            if request.provider:
                violations.add(FieldMalformed(field="compared_source"))
        if request.state and int(request.state) not in _STATES:
            violations.add(FieldOutOfRange(field="state"))
        size = page_size(request, violations)
        after = page_place(
            request, violations, like=("", 0), read=lambda place: (time_in(place[0]), int(place[1]))
        )
        violations.check()
        name = row_name(request.compared_source) if request.compared_source else request.provider
        page = await self._reads.list_runs(
            request.tenant_id, provider=name, state=int(request.state), after=after, size=size
        )
        response = pb.ListRunsResponse(runs=page.items)
        if page.next is not None:
            response.next_page_token = page_token(request, (page.next[0].isoformat(), page.next[1]))
        return response

    async def ListProviderRecords(
        self, request: pb.ListProviderRecordsRequest, _: Context
    ) -> pb.ListProviderRecordsResponse:
        """List a provider's records as the latest runs and imports have read them."""
        violations = tenant_violations(request)
        provider_name(violations, request.provider)
        if request.payment_id:
            violations.identifier(request.payment_id, "payment_id")
        violations.text(request.provider_ref, "provider_ref", 255)
        kind = optional_enum(violations, request.kind, "kind", ProviderRecordKind)
        verdict = optional_enum(violations, request.verdict, "verdict", Verdict)
        size = page_size(request, violations)
        after = page_place(
            request, violations, like=(0, ""), read=lambda place: (small_number_in(place[0]), str(place[1]))
        )
        violations.check()
        wanted = ProviderRecordFilter(
            provider=request.provider,
            payment=_payment(await self._reads.ids(request.tenant_id), request.payment_id),
            provider_ref=request.provider_ref,
            kind=kind,
            verdict=verdict,
        )
        page = await self._reads.list_provider_records(
            request.tenant_id, wanted, after=after or (0, ""), size=size
        )
        count = fitting(page.items)
        response = pb.ListProviderRecordsResponse(records=page.items[:count])
        if count < len(page.items):
            last = page.items[count - 1]
            response.next_page_token = page_token(request, (int(last.kind), last.record_id))
        elif page.next is not None:
            response.next_page_token = page_token(request, page.next)
        return response

    async def _claim(self, request: pb.RunReconciliationRequest) -> Claimed:
        """Claim a run, and begin it if this process has to do it."""
        if self._worker.stopping:
            raise ShuttingDown
        # Before the claim: after it, a caller who goes away must not keep the run from being begun.
        ids = await self._reads.ids(request.tenant_id)
        claimed = await self._runs.claim(request, CALLER.get())
        if claimed.owner is not None:
            self._worker.begin(request, claimed, ids)
        return claimed

    def _check_run(self, request: pb.RunReconciliationRequest) -> None:
        violations = keyed_violations(request)
        well_formed = provider_name(violations, request.provider)
        from_time, to_time = bound(violations, request, "from_time"), bound(violations, request, "to_time")
        for name, time in (("from_time", from_time), ("to_time", to_time)):
            if time is None and not request.HasField(name):  # type: ignore[arg-type]
                violations.add(FieldMissing(field=name))
        if from_time is not None and to_time is not None:
            future = to_time > self._clock()
            if future or not timedelta(0) < to_time - from_time <= _LONGEST:
                violations.add(FieldOutOfRange(field="to_time"))
        for name in ("grace", "stale_after"):
            _duration(violations, request, name)
        account = self._providers.get(request.provider)
        foreign = (
            account is not None and account.tenants is not None and request.tenant_id not in account.tenants
        )
        if well_formed and (account is None or foreign):
            violations.add(ProviderUnknown(field="provider", provider=request.provider))
        violations.check()


def _duration(violations: Violations, request: Message, name: str) -> None:
    """Allow a length of time from nothing to a year."""
    if not request.HasField(name):
        return
    given = getattr(request, name)
    if not 0 <= given.seconds <= _LONGEST.total_seconds() or not 0 <= given.nanos < 10**9:
        violations.add(FieldOutOfRange(field=name))


def _payment(ids: TenantIds, payment_id: str) -> int | None:
    """Return the number in a payment's id; 0, which no payment has, for an invalid id."""
    if not payment_id:
        return None
    return ids.deposit_sequence(payment_id) or ids.withdrawal_sequence(payment_id) or 0
