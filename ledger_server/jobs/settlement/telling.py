"""Owns how batches become findings: opened while they are out of balance, resolved once they are not."""

from collections.abc import Iterable
from typing import Final

from defter.reconciliation.v1 import finding_pb2

from ledger_server.domain.findings.commands import AnyFindingCommand, ReportDiscrepancy, ResolveUnseen
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.findings.finding import FindingState, Source
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.reconciliation.record import RecordKind
from ledger_server.domain.reconciliation.settled import mismatch_of
from ledger_server.engine.finding_records import finding_of
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.settlement_records import totals_of
from ledger_server.jobs import metrics
from ledger_server.jobs.patience import submit_patiently
from ledger_server.store import finding_store, settlement_store
from ledger_server.store.database import Pool
from ledger_server.store.settlement_store import BatchName, StoredBatch

_PAGE: Final = 100
# A batch that changes under our hands is told again; imports of one account exclude each other.
_TRIES: Final = 10


class Teller:
    """Tells of all batches of all tenants."""

    def __init__(self, ledger: Ledger, pool: Pool) -> None:
        self._ledger = ledger
        self._pool = pool

    async def tell(self, tenant_id: str, provider: str, names: Iterable[BatchName] = ()) -> None:
        """Look after the findings of these batches, and of all that nobody has looked after.

        Saying it twice changes nothing. Whoever dies in between leaves a batch behind that the next call
        for the account looks after.
        """
        key = tenant_key(TenantId(tenant_id))
        for name in sorted(names):
            async with self._pool.acquire() as connection:
                batch = await settlement_store.read_batch(connection, key, provider, name)
            if batch is not None:
                await self._tell(tenant_id, provider, batch)
        after: BatchName = ("", "")
        while batches := await settlement_store.untold_batches(
            self._pool, key, provider, after=after, size=_PAGE
        ):
            for batch in batches:
                await self._tell(tenant_id, provider, batch)
            after = (batches[-1].batch_id, batches[-1].currency)

    async def _tell(self, tenant_id: str, provider: str, batch: StoredBatch) -> None:
        key = tenant_key(TenantId(tenant_id))
        for _ in range(_TRIES):
            command = await self._command(tenant_id, provider, batch)
            done = True
            if command is not None:
                [outcome] = await submit_patiently(self._ledger, tenant_id, [command])
                if outcome.refused is not None:
                    raise outcome.refused
                metrics.FINDINGS.inc(bool(outcome.sequence))
                # A finding that somebody has changed since it was read is read again.
                done = bool(outcome.sequence) or isinstance(command, ReportDiscrepancy)
            if done and await settlement_store.set_told(self._pool, key, provider, batch):
                return
            async with self._pool.acquire() as connection:
                name = (batch.batch_id, batch.currency)
                read = await settlement_store.read_batch(connection, key, provider, name)
            assert read is not None, "batches are never deleted"
            batch = read

    async def _command(self, tenant_id: str, provider: str, batch: StoredBatch) -> AnyFindingCommand | None:
        """Return what is to be said of a batch; None where nobody has to be told."""
        found = mismatch_of(
            provider,
            batch.batch_id,
            batch.currency,
            totals_of(batch),
            batch.moved,
            open_time=batch.open_time,
        )
        if found is not None:
            return ReportDiscrepancy(discrepancy=found, source=Source.SETTLEMENT_REPORT)
        key = tenant_key(TenantId(tenant_id))
        fingerprint = _fingerprint(provider, batch)
        async with self._pool.acquire() as connection:
            bodies = await finding_store.load_findings(connection, key, [fingerprint])
        if fingerprint not in bodies:
            return None
        finding = finding_of(TenantIds(key), finding_pb2.Finding.FromString(bodies[fingerprint]))
        if not finding.may_become(FindingState.AUTO_RESOLVED):
            return None
        return ResolveUnseen(fingerprint=fingerprint, version=finding.version)


def _fingerprint(provider: str, batch: StoredBatch) -> bytes:
    """Return what names the finding of a batch, which depends on no amount."""
    return Discrepancy(
        kind=FindingClass.SETTLEMENT_TOTAL_MISMATCH,
        provider=provider,
        payment=None,
        remote=Side(
            ref=batch.batch_id,
            kind=RecordKind.SETTLEMENT,
            amount=None,
            currency=batch.currency,
            state="",
            time=None,
        ),
        currency=batch.currency,
        description="",
        subject_time=batch.open_time,
    ).fingerprint
