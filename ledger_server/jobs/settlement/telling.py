"""Owns the findings about batches: opened while a batch is out of balance, resolved once it is not."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from defter.reconciliation.v1 import finding_pb2

from ledger_server.domain.findings.commands import AnyFindingCommand, ReportDiscrepancy, ResolveUnseen
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.findings.finding import FindingState, Source
from ledger_server.domain.ids import TenantId, TenantKey, tenant_key
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.settled import mismatch_of
from ledger_server.engine.lane.work import Outcome
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.records.findings import finding_of
from ledger_server.engine.records.settlements import totals_of
from ledger_server.jobs import metrics
from ledger_server.jobs.retrying import submit_until_decided
from ledger_server.store import finding_store, settlement_store
from ledger_server.store.database import Pool
from ledger_server.store.lane_store import read_ids
from ledger_server.store.settlement_store import SettlementBatchName, StoredSettlementBatch

_PAGE: Final = 200
# Few at a time, so that a posting never waits behind a long row of reports.
_AT_ONCE: Final = 50
# A batch that changes meanwhile is told again; imports of one account exclude each other.
_TRIES: Final = 10


class Teller:
    """Tells of all batches of all tenants."""

    def __init__(self, ledger: Ledger, pool: Pool) -> None:
        self._ledger = ledger
        self._pool = pool

    async def tell(self, tenant_id: str, provider: str, names: Iterable[SettlementBatchName] = ()) -> None:
        """Update the findings of these batches, and of all batches whose finding is not up to date.

        Repeating this changes nothing. If the process dies in between, the next call for the account updates
        the rest.
        """
        key = tenant_key(TenantId(tenant_id))
        wanted = sorted(names)
        for start in range(0, len(wanted), _PAGE):
            await self._tell(
                tenant_id, provider, await self._read(key, provider, wanted[start : start + _PAGE])
            )
        after: SettlementBatchName = ("", "")
        while batches := await settlement_store.untold_batches(
            self._pool, key, provider, after=after, size=_PAGE
        ):
            after = batches[-1].name
            await self._tell(tenant_id, provider, batches)

    async def _tell(self, tenant_id: str, provider: str, batches: Sequence[StoredSettlementBatch]) -> None:
        """Update the findings of a page of batches."""
        key = tenant_key(TenantId(tenant_id))
        for _ in range(_TRIES):
            commands = await self._commands(key, provider, batches)
            missed = set()
            for name, outcome in zip(commands, await self._submit(tenant_id, commands), strict=True):
                if not outcome.sequence and isinstance(commands[name], ResolveUnseen):
                    # The finding was changed since it was read.
                    missed.add(name)
            done = [batch for batch in batches if batch.name not in missed]
            told = await settlement_store.set_told(self._pool, key, provider, done)
            # A batch that an import has changed meanwhile was told in its old state, so it is told again.
            left = [batch.name for batch in batches if batch.name not in told]
            if not left:
                return
            batches = await self._read(key, provider, left)

    async def _submit(
        self, tenant_id: str, commands: Mapping[SettlementBatchName, AnyFindingCommand]
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        asked = list(commands.values())
        for start in range(0, len(asked), _AT_ONCE):
            page = asked[start : start + _AT_ONCE]
            outcomes += await submit_until_decided(self._ledger, tenant_id, page)
        for outcome in outcomes:
            if outcome.refused is not None:
                raise outcome.refused
            metrics.FINDINGS.inc(bool(outcome.sequence))
        return outcomes

    async def _read(
        self, key: TenantKey, provider: str, names: Sequence[SettlementBatchName]
    ) -> list[StoredSettlementBatch]:
        async with self._pool.acquire() as connection:
            return await settlement_store.read_batches(connection, key, provider, names)

    async def _commands(
        self, key: TenantKey, provider: str, batches: Sequence[StoredSettlementBatch]
    ) -> dict[SettlementBatchName, AnyFindingCommand]:
        """Return the commands on the findings of batches; none for a batch without news."""
        fingerprints = {batch.name: _fingerprint(provider, batch) for batch in batches}
        async with self._pool.acquire() as connection:
            bodies = await finding_store.load_findings(connection, key, sorted(fingerprints.values()))
            ids = await read_ids(connection, key)
        commands: dict[SettlementBatchName, AnyFindingCommand] = {}
        for batch in batches:
            found = mismatch_of(
                provider,
                batch.batch_id,
                batch.currency,
                totals_of(batch),
                batch.moved,
                open_time=batch.open_time,
            )
            body = bodies.get(fingerprints[batch.name])
            if found is not None:
                commands[batch.name] = ReportDiscrepancy(discrepancy=found, source=Source.SETTLEMENT_REPORT)
            elif body is not None:
                finding = finding_of(ids, finding_pb2.Finding.FromString(body))
                if finding.may_become(FindingState.AUTO_RESOLVED):
                    commands[batch.name] = ResolveUnseen(
                        fingerprint=finding.fingerprint, version=finding.version
                    )
        return commands


def _fingerprint(provider: str, batch: StoredSettlementBatch) -> bytes:
    """Return the fingerprint of a batch's finding, which does not depend on amounts."""
    return Discrepancy(
        kind=FindingClass.SETTLEMENT_TOTAL_MISMATCH,
        provider=provider,
        payment=None,
        remote=Side(
            ref=batch.batch_id,
            kind=ProviderRecordKind.SETTLEMENT,
            amount=None,
            currency=batch.currency,
            state="",
            time=None,
            type="",
        ),
        currency=batch.currency,
        description="",
        subject_time=batch.open_time,
        withdrawal=False,
        ledger=None,
        evidence={},
    ).fingerprint
