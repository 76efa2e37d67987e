"""Owns the writing of a report, by page, in the database transaction of its import."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from defter.reconciliation.v1 import settlement_pb2 as pb

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.reconciliation.settled import better_place, known_as
from ledger_server.domain.reconciliation.settlement import NOTHING, SettlementLine
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.engine.records.journal import caller_message
from ledger_server.engine.records.settlements import batch_of
from ledger_server.engine.records.times import timestamp
from ledger_server.jobs.reconciliation.pace import Pace
from ledger_server.jobs.settlement.spool import Spool
from ledger_server.store import settlement_store
from ledger_server.store.database import AnyConnection
from ledger_server.store.settlement_store import ReportName, SettlementBatchName

# Longer rests would only keep the database transaction open.
_LONGEST_REST_SECONDS: Final = 0.5
_PAGE: Final = 200


class Keeping:
    """The writing of one report; no other report of the account is written at the same time."""

    def __init__(self, connection: AnyConnection, key: TenantKey, name: ReportName) -> None:
        self._connection = connection
        self._key = key
        self._name = name
        self._new = 0
        self._touched: set[SettlementBatchName] = set()

    async def write(
        self, spool: Spool, pace: Pace, *, file_name: str, caller: NamedCaller | None, now: datetime
    ) -> pb.SettlementReport:
        """Write the lines, the batches that they change, and the import of the file.

        Raises:
            ReportMalformed: the report contradicts an earlier one; the caller keeps nothing.
        """
        await asyncio.to_thread(spool.rewind_lines)
        while lines := await asyncio.to_thread(spool.next_lines):
            async with pace.step(longest=_LONGEST_REST_SECONDS):
                await self._write_lines(lines)
        await self._write_batches(now)
        report = pb.SettlementReport(
            report_digest=self._name.digest.hex(),
            provider=self._name.provider,
            format=self._name.format,  # type: ignore[arg-type]
            file_name=file_name,
            line_count=spool.line_count,
            new_line_count=self._new,
            import_time=timestamp(now),
            caller=None if caller is None else caller_message(caller),
        )
        await settlement_store.add_report(
            self._connection, self._key, self._name, now, report.SerializeToString()
        )
        return report

    async def _write_lines(self, lines: Iterable[SettlementLine]) -> None:
        provider = self._name.provider
        known = await settlement_store.known_lines(
            self._connection, self._key, provider, [line.line_id for line in lines]
        )
        new: dict[str, SettlementLine] = {}
        placed: dict[str, SettlementLine] = {}
        for line in lines:
            before = known.get(line.line_id)
            if before is None:
                new[line.line_id] = line
                known[line.line_id] = known_as(line)
                self._touch(line.batch, line.currency)
                continue
            place = better_place(before, line)
            if place is not None:
                self._touch(before.place.batch, line.currency)
                self._touch(place.batch, line.currency)
                placed[line.line_id] = line
                known[line.line_id] = known_as(line)
        if new:
            await settlement_store.add_lines(
                self._connection, self._key, provider, self._name.digest, new.values()
            )
            self._new += len(new)
        if placed:
            await settlement_store.place_lines(
                self._connection, self._key, provider, self._name.digest, placed.values()
            )

    def _touch(self, batch: str, currency: str) -> None:
        """Note that a batch has other lines than before; lines without a batch are passed over."""
        if batch:
            self._touched.add((batch, currency))

    async def _write_batches(self, now: datetime) -> None:
        """Add up all lines of the changed batches anew, from whichever reports."""
        provider = self._name.provider
        names = sorted(self._touched)
        # Locked only now, when little is left to do, since confirming a batch locks it too.
        for start in range(0, len(names), _PAGE):
            page = names[start : start + _PAGE]
            totals = await settlement_store.add_up(self._connection, self._key, provider, page)
            before = {
                batch.name: batch
                for batch in await settlement_store.read_batches(
                    self._connection, self._key, provider, page, lock=True
                )
            }
            batches = [
                batch_of(provider, name, totals.get(name, NOTHING), before.get(name), now=now)
                for name in page
            ]
            await settlement_store.put_batches(self._connection, self._key, provider, batches)
