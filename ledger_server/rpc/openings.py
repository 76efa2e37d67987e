"""Owns the entry to imports of opening balances: the header, and how many are worked on at once."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from defter.backfill.v1 import backfill_pb2 as pb

from ledger_server.domain.decisions.openings import Opening
from ledger_server.domain.errors import FieldMissing, Refused
from ledger_server.engine.fair_gate import FairGate, Flow
from ledger_server.engine.lane.kept_currencies import KeptCurrencies
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.times import moment
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.opening_import import OpeningImport
from ledger_server.rpc.opening_lines import check_header
from ledger_server.rpc.requests import RequestReader
from ledger_server.rpc.serving import Context, deadline_of
from ledger_server.rpc.transaction_stream import Streams

_IMPORTS: Final = 2
"""Imports that are worked on at once in a process, one of each tenant; others wait."""


class OpeningImports:
    """All imports of one process."""

    def __init__(
        self,
        ledger: CallersLedger,
        reader: RequestReader,
        reads: Reads,
        streams: Streams,
        *,
        currencies: KeptCurrencies,
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._reads = reads
        self._streams = streams
        self._currencies = currencies
        self._imports = FairGate(1, total=_IMPORTS)

    async def run(
        self, requests: AsyncIterator[pb.ImportOpeningBalancesRequest], context: Context
    ) -> AsyncGenerator[pb.ImportOpeningBalancesResponse, None]:
        """Check all lines, then post them."""
        messages = aiter(requests)
        first: object = await anext(messages, None)
        if isinstance(first, Refused):
            # A broken message arrives as the refusal that explains it.
            raise first
        if not isinstance(first, pb.ImportOpeningBalancesRequest) or not first.HasField("header"):
            raise FieldMissing(field="header")
        header = first.header
        sums = check_header(header, self._reader.currencies)
        tenant = await self._reads.tenant(header.tenant_id)
        await self._currencies.check()  # the lines are in minor units
        opening = OpeningImport(
            self._ledger,
            self._reader,
            self._reads,
            self._streams.budget,
            self._streams.gate,
            tenant_id=header.tenant_id,
            opening=Opening(
                import_id=header.import_id,
                as_of=moment(header.as_of_time) if header.HasField("as_of_time") else None,
                force=header.force,
                enforcement=tenant.enforcement,
            ),
            sums=sums,
            dry_run=header.dry_run,
            deadline=deadline_of(context),
        )
        with self._streams.open(opening):
            async with (
                self._imports.entered(Flow(header.tenant_id, "")),
                aclosing(opening.run(messages)) as responses,
            ):
                async for response in responses:
                    yield response
