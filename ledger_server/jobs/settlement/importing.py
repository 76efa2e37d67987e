"""Owns the import of a settlement report: all or nothing, once, then the findings and records that follow.

Findings and providers' records are written after the commit. If the process dies in between, the report is
imported but not told; importing the same file again does the rest.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from defter.reconciliation.v1 import settlement_pb2 as pb

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import DeadlinePassed, FieldTooLong
from ledger_server.domain.ids import TenantId, TenantKey, tenant_key
from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.domain.provider_record import ProviderRecord
from ledger_server.domain.reconciliation.comparison import ProviderRecordName
from ledger_server.domain.reconciliation.settlement import ReportFormat, provider_records_of
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.engine.fair_gate import FairGate, Flow
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.records.settlements import message_of
from ledger_server.jobs import metrics
from ledger_server.jobs.reconciliation.pace import Pace
from ledger_server.jobs.settlement.keeping import Keeping
from ledger_server.jobs.settlement.previewing import sums_of
from ledger_server.jobs.settlement.spool import Spool
from ledger_server.jobs.settlement.telling import Teller
from ledger_server.providers.settlement_reports import ReportReader
from ledger_server.store import record_store, settlement_store
from ledger_server.store.database import AnyConnection, Pool
from ledger_server.store.database_clock import trusted
from ledger_server.store.lane_store import read_ids
from ledger_server.store.ledger_rows import JournalRow
from ledger_server.store.settlement_store import ReportName, SettlementBatchName

MAX_FILE_BYTES: Final = 1024**3
_UPLOADS: Final = 4
# A sender that falls silent must not keep others from sending.
_SILENCE_SECONDS: Final = 60.0
_LOCK_PAUSE_SECONDS: Final = 0.2
# No answer has room for more.
_MOST_BATCHES: Final = 20_000


class _NotKept(Exception):
    """Ends the database transaction of a preview without a commit."""


class Importer:
    """Imports the reports of all tenants."""

    def __init__(self, ledger: Ledger, pool: Pool, clock: Clock, currencies: CurrencyRegistry) -> None:
        self._pool = pool
        self._clock = clock
        self._currencies = currencies
        self._teller = Teller(ledger, pool)
        self._committed = 0
        # Bounds for files on the disk and for files that are worked on; the senders of other files wait.
        # Tenants take turns, and none has more than half of the files on the disk.
        self._uploads = FairGate(_UPLOADS // 2, total=_UPLOADS)
        self._work = FairGate(1, total=1)

    def committed(self, _: str, rows: Sequence[JournalRow]) -> None:
        """Count what the process commits, so that imports make room for it."""
        self._committed += len(rows)

    async def import_report(
        self,
        header: pb.ImportSettlementReportRequest.Header,
        chunks: AsyncIterator[bytes],
        *,
        caller: NamedCaller | None,
    ) -> pb.ImportSettlementReportResponse:
        """Read a file, keep it if it is new, and do what follows from it.

        Raises:
            ReportMalformed: nothing of it was kept.
            FieldTooLong: the file is larger than any report.
        """
        async with self._received(header, chunks) as spool:
            return await self._import(header, spool, caller)

    async def preview_report(
        self, header: pb.ImportSettlementReportRequest.Header, chunks: AsyncIterator[bytes]
    ) -> pb.PreviewSettlementReportResponse:
        """Do what an import does up to its commit, which is not made: its answer and refusals are the same.

        Raises:
            ReportMalformed: an import would refuse the file.
            FieldTooLong: the file is larger than any report.
        """
        async with self._received(header, chunks) as spool:
            pace = Pace(lambda: self._committed)
            await _read_all(spool, pace)
            sums = await asyncio.to_thread(sums_of, spool)
            response = pb.PreviewSettlementReportResponse(sums=sums.messages, lines=sums.first)
            try:
                await self._keep(
                    tenant_key(TenantId(header.tenant_id)),
                    _name_of(header, spool),
                    spool,
                    pace,
                    file_name=header.file_name,
                    caller=None,
                    preview=response,
                )
            except _NotKept:
                response.report.ClearField("import_time")
            return response

    @asynccontextmanager
    async def _received(
        self, header: pb.ImportSettlementReportRequest.Header, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[Spool]:
        """Hold a file's bytes on the disk, and a place for working on them."""
        flow = Flow(header.tenant_id, "")
        # Whoever has sent nothing of the file takes nobody's place.
        first = await _next(chunks)
        async with self._uploads.entered(flow):
            reader = ReportReader(ReportFormat(header.format), self._currencies, account=header.account)
            # Not in a thread: if the caller went away just then, its files would stay open.
            spool = Spool(reader)
            try:
                await _receive(spool, first, chunks)
                async with self._work.entered(flow):
                    yield spool
            finally:
                spool.close()

    async def tell(self, tenant_id: str, provider: str, name: SettlementBatchName) -> None:
        """Update the finding of a batch that was changed by something else than an import."""
        await self._teller.tell(tenant_id, provider, [name])

    async def _import(
        self, header: pb.ImportSettlementReportRequest.Header, spool: Spool, caller: NamedCaller | None
    ) -> pb.ImportSettlementReportResponse:
        key = tenant_key(TenantId(header.tenant_id))
        pace = Pace(lambda: self._committed)
        await _read_all(spool, pace)
        report, duplicate = await self._keep(
            key, _name_of(header, spool), spool, pace, file_name=header.file_name, caller=caller
        )
        await self._teller.tell(header.tenant_id, header.provider, spool.batches)
        await self._stage(key, header.provider, spool, pace)
        batches = await self._read(key, header.provider, spool.batches)
        metrics.REPORTS.labels(duplicate=str(duplicate).lower()).inc()
        return pb.ImportSettlementReportResponse(report=report, batches=batches, duplicate=duplicate)

    async def _keep(
        self,
        key: TenantKey,
        name: ReportName,
        spool: Spool,
        pace: Pace,
        *,
        file_name: str,
        caller: NamedCaller | None,
        preview: pb.PreviewSettlementReportResponse | None = None,
    ) -> tuple[pb.SettlementReport, bool]:
        """Write the report in one database transaction, or find that it is there already.

        Args:
            preview: is told what would be there; nothing is kept then.

        Raises:
            _NotKept: for a preview, so that the database transaction is rolled back.
        """
        while True:
            async with settlement_store.importing(self._pool, key, name.provider) as connection:
                if connection is not None:
                    known = await settlement_store.read_report(connection, key, name)
                    if known is not None:
                        report = pb.SettlementReport.FromString(known)
                    else:
                        keeping = Keeping(connection, key, name)
                        now = await trusted(self._clock)
                        report = await keeping.write(spool, pace, file_name=file_name, caller=caller, now=now)
                    if preview is not None:
                        preview.report.CopyFrom(report)
                        preview.duplicate = known is not None
                        preview.batches.extend(await _read(connection, key, name.provider, spool.batches))
                        if known is None:
                            raise _NotKept
                    return report, known is not None
            # Another process is importing for the account, maybe even the same file.
            await asyncio.sleep(_LOCK_PAUSE_SECONDS)

    async def _stage(self, key: TenantKey, provider: str, spool: Spool, pace: Pace) -> None:
        """Stage the lines as providers' records; runs over their time adopt them."""
        async with self._pool.acquire() as connection:
            ids = await read_ids(connection, key)
        await asyncio.to_thread(spool.rewind_lines)
        while lines := await asyncio.to_thread(spool.next_lines):
            async with pace.step():
                records: dict[ProviderRecordName, tuple[ProviderRecord, int | None]] = {
                    (record.kind, record.record_id): (record, ids.payment_number(record.our_id))
                    for line in lines
                    for record in provider_records_of(line)
                }
                async with self._pool.acquire() as connection:
                    await record_store.stage(connection, key, provider, None, records)

    async def _read(
        self, key: TenantKey, provider: str, names: set[SettlementBatchName]
    ) -> list[pb.SettlementBatch]:
        """Return the batches of a file as they stand now.

        A batch that lost its only line to another batch, before it was ever written, is not among them.
        """
        async with self._pool.acquire() as connection:
            return await _read(connection, key, provider, names)


async def _read(
    connection: AnyConnection, key: TenantKey, provider: str, names: set[SettlementBatchName]
) -> list[pb.SettlementBatch]:
    first = sorted(names)[:_MOST_BATCHES]
    batches = await settlement_store.read_batches(connection, key, provider, first)
    return [message_of(batch) for batch in batches]


def _name_of(header: pb.ImportSettlementReportRequest.Header, spool: Spool) -> ReportName:
    return ReportName(header.provider, spool.digest, int(header.format), header.account)


async def _read_all(spool: Spool, pace: Pace) -> None:
    """Read the lines of a file that has arrived. Raises ReportMalformed."""
    await asyncio.to_thread(spool.rewind)
    reading = True
    while reading:
        async with pace.step():
            reading = await asyncio.to_thread(spool.read_on)


async def _receive(spool: Spool, first: bytes | None, chunks: AsyncIterator[bytes]) -> None:
    """Keep a file on the disk while it arrives."""
    chunk = first
    while chunk is not None:
        await asyncio.to_thread(spool.add, chunk)
        if spool.size > MAX_FILE_BYTES:
            raise FieldTooLong(field="chunk", limit=MAX_FILE_BYTES)
        chunk = await _next(chunks)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    """Return the next piece of a file, or None behind its end.

    Raises:
        DeadlinePassed: its sender says nothing.
    """
    try:
        async with asyncio.timeout(_SILENCE_SECONDS):
            return await anext(chunks, None)
    except TimeoutError:
        raise DeadlinePassed from None
