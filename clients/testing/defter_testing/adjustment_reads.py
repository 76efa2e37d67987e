"""Owns the fake's reads of adjustments."""

from defter_testing.pages import page_of
from defter_testing.reads import MemoryReads
from ledger_server.domain.errors import AdjustmentNotFound
from ledger_server.engine.reads.adjustments import AdjustmentReads
from ledger_server.engine.reads.ledger import At, Span
from ledger_server.store.queries.adjustments import AdjustmentFilter
from ledger_server.store.queries.rendering import Page


class MemoryAdjustmentReads(AdjustmentReads):
    """All reads of adjustments; what was recorded is returned as the bytes of its message."""

    def __init__(self, reads: MemoryReads) -> None:
        super().__init__(reads)
        self._memory = reads

    async def adjustment(self, tenant_id: str, adjustment_id: str) -> At[bytes]:
        """Return an adjustment. Raises AdjustmentNotFound."""
        tenant = self._memory.ledger.tenant(tenant_id)
        number = tenant.ids.adjustment_sequence(adjustment_id)
        written = None if number is None else tenant.adjustments.get(number)
        if written is None:
            raise AdjustmentNotFound(adjustment_id=adjustment_id)
        return At(written.body, tenant.sequence)

    async def list_adjustments(
        self, tenant_id: str, wanted: AdjustmentFilter, asked: Span, *, after: int, size: int
    ) -> Page[bytes, int]:
        """Return a page of adjustments in the order of asking, or the newest first."""
        tenant = self._memory.ledger.tenant(tenant_id)
        low, high = await self._memory.bounds(tenant_id, tenant.key, asked)
        if not wanted.newest_first:
            low = max(low, after)
        elif after:
            high = min(high, after)
        found = (
            (number, written.body)
            for number, written in sorted(tenant.adjustments.items(), reverse=wanted.newest_first)
            if low < number < high and (not wanted.states or written.adjustment.state in wanted.states)
        )
        page = page_of(found, size, _position, newest=tenant.sequence, bytes_of=_length)
        return Page([body for _, body in page.items], page.next, page.sequence)


def _position(found: tuple[int, bytes]) -> int:
    return found[0]


def _length(found: tuple[int, bytes]) -> int:
    return len(found[1])
