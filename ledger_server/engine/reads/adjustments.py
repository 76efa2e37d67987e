"""Owns the reads of adjustments, and the refusal if one is missing."""

from ledger_server.domain.errors import AdjustmentNotFound
from ledger_server.engine.reads.ledger import At, Reads, Span
from ledger_server.store.adjustment_store import load_adjustments
from ledger_server.store.queries import adjustments
from ledger_server.store.queries.adjustments import AdjustmentFilter
from ledger_server.store.queries.rendering import Page


class AdjustmentReads:
    """All reads of adjustments; what was recorded is returned as the bytes of its message."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def adjustment(self, tenant_id: str, adjustment_id: str) -> At[bytes]:
        """Return an adjustment. Raises AdjustmentNotFound."""
        key = await self._reads.key_of(tenant_id)
        number = (await self._reads.ids(tenant_id)).adjustment_sequence(adjustment_id)
        if number is None:
            raise AdjustmentNotFound(adjustment_id=adjustment_id)
        found, newest = await self._reads.run_at(
            lambda connection: load_adjustments(connection, key, [number]), key
        )
        if number not in found:
            raise AdjustmentNotFound(adjustment_id=adjustment_id)
        return At(found[number], newest)

    async def list_adjustments(
        self, tenant_id: str, wanted: AdjustmentFilter, asked: Span, *, after: int, size: int
    ) -> Page[bytes, int]:
        """Return a page of adjustments in the order of asking, or the newest first.

        Args:
            asked: when they were asked for.
            after: the number behind which the page begins in that order; 0 for the first page.
        """
        key = await self._reads.key_of(tenant_id)
        low, high = await self._reads.bounds(tenant_id, key, asked)
        if not wanted.newest_first:
            low = max(low, after)
        elif after:
            high = min(high, after)
        return await self._reads.page_at(
            lambda connection: adjustments.list_adjustments(
                connection, key, wanted, after=low, before=high, size=size
            ),
            key,
        )
