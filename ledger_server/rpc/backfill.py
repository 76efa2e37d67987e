"""Owns BackfillService."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from defter.backfill.v1 import backfill_pb2 as pb

from ledger_server.domain.errors import (
    BatchSizeOutOfRange,
    FieldMalformed,
    FieldMissing,
    FieldOutOfRange,
    Refused,
    SnapshotIncomplete,
    SnapshotNotOrdered,
)
from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.domain.reconciliation.balance_comparison import BUCKETS, Balance, Bucket, Moment, place
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.engine.lane.kept_currencies import KeptCurrencies
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.reconciliation.comparisons import WantedComparison
from ledger_server.rpc.guard import CALLER
from ledger_server.rpc.openings import OpeningImports
from ledger_server.rpc.payment_requests import player_id, provider_name
from ledger_server.rpc.serving import Context
from ledger_server.rpc.violations import MAX_BATCH, Violations, members

_BUCKETS: Final = members(Bucket)

Header = pb.CompareBalancesRequest.Header


class BalanceComparer(Protocol):
    """Compares snapshots."""

    def compare(
        self, wanted: WantedComparison, pages: AsyncIterator[Sequence[Balance]], *, caller: NamedCaller | None
    ) -> AsyncGenerator[pb.CompareBalancesResponse, None]:
        """Compare a snapshot, and yield the run as it goes on with what was found."""


class BackfillServicer:
    """Takes in what legacy systems have."""

    def __init__(
        self,
        reads: Reads,
        comparer: BalanceComparer,
        kept: KeptCurrencies,
        currencies: CurrencyRegistry,
        *,
        openings: OpeningImports,
    ) -> None:
        self._openings = openings
        self._reads = reads
        self._comparer = comparer
        self._kept = kept
        self._currencies = currencies

    async def CompareBalances(
        self, requests: AsyncIterator[pb.CompareBalancesRequest], _: Context
    ) -> AsyncIterator[pb.CompareBalancesResponse]:
        """Compare a snapshot with the ledger at the same moment, and stream the differences."""
        header = await _header(requests)
        await self._reads.key_of(header.tenant_id)
        await self._kept.check()  # amounts are compared in minor units
        wanted = await self._wanted(header)
        lines = _Lines(self._currencies, partial=header.partial)
        async with aclosing(
            self._comparer.compare(wanted, lines.pages(requests), caller=CALLER.get())
        ) as responses:
            async for response in responses:
                yield response

    async def ImportOpeningBalances(
        self, requests: AsyncIterator[pb.ImportOpeningBalancesRequest], context: Context
    ) -> AsyncGenerator[pb.ImportOpeningBalancesResponse, None]:
        """Check all lines of an import, then post them."""
        async with aclosing(self._openings.run(requests, context)) as responses:
            async for response in responses:
                yield response

    async def _wanted(self, header: Header) -> WantedComparison:
        """Find the moment. Raises NotYetRecorded while it is not final."""
        if header.HasField("time"):
            violations = Violations()
            time = violations.time(header, "time", within="header.")
            violations.check()
            assert time is not None
            moment = Moment(await self._reads.sequence_at(header.tenant_id, time), time)
        else:
            moment = Moment(header.sequence, None)
            time = await self._reads.record_time(header.tenant_id, header.sequence)
        buckets = tuple(bucket for bucket in BUCKETS if not header.buckets or int(bucket) in header.buckets)
        return WantedComparison(
            tenant_id=header.tenant_id,
            source=header.source,
            moment=moment,
            subject_time=time,
            partial=header.partial,
            buckets=buckets,
        )


async def _header(requests: AsyncIterator[pb.CompareBalancesRequest]) -> Header:
    first = await anext(requests, None)
    if isinstance(first, Refused):
        # A broken message arrives as the refusal that explains it.
        raise first
    if first is None or first.WhichOneof("part") != "header":
        raise FieldMissing(field="header")
    header = first.header
    violations = Violations()
    violations.tenant_id(header.tenant_id, "header.tenant_id")
    provider_name(violations, header.source, "header.source")
    violations.time(header, "time", within="header.")
    for index, bucket in enumerate(header.buckets):
        violations.enum(bucket, f"header.buckets[{index}]", _BUCKETS)
    if header.HasField("time") and header.sequence:
        violations.add(FieldMalformed(field="header.sequence"))
    elif not header.HasField("time") and not header.sequence:
        violations.add(FieldMissing(field="header.time"))
    elif header.sequence < 0:
        violations.add(FieldOutOfRange(field="header.sequence"))
    violations.check()
    return header


class _Lines:
    """The lines of one snapshot, as they come: each is checked, and so is their order."""

    def __init__(self, currencies: CurrencyRegistry, *, partial: bool) -> None:
        self._currencies = currencies
        self._partial = partial
        self._count = 0
        self._last = ("", "")

    async def pages(
        self, requests: AsyncIterator[pb.CompareBalancesRequest]
    ) -> AsyncIterator[Sequence[Balance]]:
        """Yield the balances of each message; return only behind the end that says how many there are.

        Raises:
            SnapshotIncomplete: there is no such end, so what was not sent proves nothing.
            SnapshotNotOrdered: a balance came twice, or in another order.
        """
        async for request in requests:
            broken: object = request
            if isinstance(broken, Refused):
                raise broken
            match request.WhichOneof("part"):
                case "lines":
                    yield self._read(request.lines.balances)
                case "end":
                    if request.end.line_count != self._count or not (self._count or self._partial):
                        break
                    async for _ in requests:
                        raise FieldMalformed(field="end")
                    return
                case "header":
                    raise FieldMalformed(field="header")
                case _:
                    raise FieldMissing(field="lines")
        raise SnapshotIncomplete(line_count=self._count)

    def _read(self, balances: Sequence[pb.SnapshotBalance]) -> Sequence[Balance]:
        if not 1 <= len(balances) <= MAX_BATCH:
            raise BatchSizeOutOfRange(field="lines.balances", count=len(balances), limit=MAX_BATCH)
        violations = Violations()
        for index, each in enumerate(balances):
            path = f"lines.balances[{index}]"
            player_id(violations, each.player_id, f"{path}.player_id")
            violations.currency(each.currency_code, f"{path}.currency_code", self._currencies)
        violations.check()
        for each in balances:
            self._count += 1
            here = place(each.player_id, each.currency_code)
            if here <= self._last:
                raise SnapshotNotOrdered(
                    line=self._count, player_id=each.player_id, currency_code=each.currency_code
                )
            self._last = here
        return [
            Balance(each.player_id, each.currency_code, each.real_minor, each.bonus_minor)
            for each in balances
        ]
