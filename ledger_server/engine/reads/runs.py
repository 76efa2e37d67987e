"""Owns the reads of runs and of providers' records, and the refusals if something is missing."""

from datetime import UTC, datetime
from typing import Final

from defter.reconciliation.v1 import finding_pb2
from defter.reconciliation.v1 import reconciliation_pb2 as pb

from ledger_server.domain.errors import RunNotFound
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.provider_record import RemoteState
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.times import timestamp
from ledger_server.store import run_store
from ledger_server.store.payment_rows import WITHDRAWAL
from ledger_server.store.queries import runs
from ledger_server.store.queries.rendering import Page
from ledger_server.store.queries.runs import ListedProviderRecord, ProviderRecordFilter

_SCAN: Final = 5_000


class RunReads:
    """All reads of reconciliation runs."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def check_tenant(self, tenant_id: str) -> None:
        """Raise TenantNotFound for a tenant that does not exist."""
        await self._reads.key_of(tenant_id)

    async def run(self, tenant_id: str, run_id: str) -> pb.Run:
        """Return a run. Raises RunNotFound."""
        key = await self._reads.key_of(tenant_id)
        number = TenantIds(key).run_number(run_id)
        stored = None
        if number is not None:
            stored = await self._reads.run(lambda connection: run_store.read_run(connection, key, number))
        if stored is None:
            raise RunNotFound(run_id=run_id)
        return pb.Run.FromString(stored.body)

    async def list_runs(
        self,
        tenant_id: str,
        *,
        provider: str,
        state: int,
        after: tuple[datetime, int] | None,
        size: int,
    ) -> Page[pb.Run, tuple[datetime, int]]:
        """Return a page of runs, the newest first, behind a begin time and number."""
        key = await self._reads.key_of(tenant_id)
        before = after or (datetime.max.replace(tzinfo=UTC), 0)
        rows = await self._reads.run(
            lambda connection: runs.list_runs(
                connection, key, provider=provider, state=state, before=before, size=size + 1
            )
        )
        page = rows[:size]
        following = (page[-1].begin_time, page[-1].number) if len(rows) > size else None
        return Page([pb.Run.FromString(row.body) for row in page], following)

    async def ids(self, tenant_id: str) -> TenantIds:
        """Return what reads and makes the ids of a tenant in this history."""
        return await self._reads.ids(tenant_id)

    async def list_provider_records(
        self, tenant_id: str, wanted: ProviderRecordFilter, *, after: tuple[int, str], size: int
    ) -> Page[pb.ProviderRecord, tuple[int, str]]:
        """Return a page of a provider's records, in the order of kind and id."""
        key = await self._reads.key_of(tenant_id)
        rows = await self._reads.run(
            lambda connection: runs.list_provider_records(connection, key, wanted, after=after, scan=_SCAN)
        )
        ids = await self._reads.ids(tenant_id)
        found: list[pb.ProviderRecord] = []
        for count, row in enumerate(rows, 1):
            if row.wanted:
                found.append(_provider_record(ids, wanted.provider, row))
            if len(found) == size and count < len(rows):
                return Page(found, (row.kind, row.record_id))
        full = len(rows) == _SCAN
        return Page(found, (rows[-1].kind, rows[-1].record_id) if full else None)


def _provider_record(ids: TenantIds, provider: str, row: ListedProviderRecord) -> pb.ProviderRecord:
    payment = row.payment
    payment_id = ""
    if payment is not None:
        of_withdrawal = row.payment_kind == WITHDRAWAL
        payment_id = ids.withdrawal_id(payment) if of_withdrawal else ids.deposit_id(payment)
    return pb.ProviderRecord(
        provider=provider,
        kind=finding_pb2.RecordKind.ValueType(row.kind),
        record_id=row.record_id,
        provider_ref=row.provider_ref,
        payment_ref=row.payment_ref,
        echoed_id=row.our_id,
        state=RemoteState(row.state).name.lower(),
        amount_minor=row.amount,
        currency_code=row.currency,
        create_time=timestamp(row.create_time),
        provider_type=row.provider_type,
        batch_id=row.batch,
        payment_id=payment_id,
        tier=pb.MatchTier.ValueType(row.tier),
        match_key=row.match_key,
        verdict=pb.Verdict.ValueType(row.verdict),
        run_id="" if row.run is None else ids.run_id(row.run),
    )
