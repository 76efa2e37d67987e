"""Owns the reading of a provider's listing into the store: page by page, with retries."""

import asyncio
import gc
from datetime import datetime
from itertools import count
from typing import Final

import structlog

from ledger_server.domain.ids import TenantIds, TenantKey
from ledger_server.engine.reconciliation.runs import Lease
from ledger_server.jobs.reconciliation.pace import Pace
from ledger_server.jobs.reconciliation.progress import Progress
from ledger_server.providers.adapter import Adapter, ListingFailed, ProviderRecordPage
from ledger_server.store import record_store

log = structlog.get_logger()

_PAGE: Final = 1_000
_TRIES: Final = 6
_FIRST_PAUSE_SECONDS: Final = 1.0
# The longest pause that a provider may ask for; beyond it the run ends as partial and a later run tries
# again.
_LONGEST_PAUSE_SECONDS: Final = 120.0


class Incomplete(Exception):
    """The listing broke off; the text says why."""


class Fetch:
    """Reads one listing."""

    def __init__(
        self,
        adapter: Adapter,
        lease: Lease,
        key: TenantKey,
        ids: TenantIds,
        *,
        provider: str,
        run: int,
        progress: Progress,
        pace: Pace,
        pause_seconds: float = _FIRST_PAUSE_SECONDS,
    ) -> None:
        self._adapter = adapter
        self._lease = lease
        self._key = key
        self._ids = ids
        self._provider = provider
        self._run = run
        self._progress = progress
        self._pace = pace
        self._pause_seconds = pause_seconds

    async def read(self, from_time: datetime, to_time: datetime) -> None:
        """Stage all records of a window.

        Raises:
            Incomplete: the listing could not be read to its end; what was read is staged.
        """
        cursor = mark = ""
        for number in count(1):
            page = await self._page(from_time, to_time, cursor)
            async with self._pace.step():
                await self._stage(page)
            # An HTTP answer and its stream refer to each other, and this server collects cycles so rarely
            # that hundreds of pages would wait in memory.
            gc.collect(0)
            if not page.next_cursor:
                return
            cursor = page.next_cursor
            if cursor == mark:
                raise Incomplete("the listing goes in a circle")
            # The mark moves ever more rarely (Brent's algorithm): it detects a cycle of any length with a
            # single mark.
            if number & (number - 1) == 0:
                mark = cursor

    async def _page(self, from_time: datetime, to_time: datetime, cursor: str) -> ProviderRecordPage:
        pause = self._pause_seconds
        for left in reversed(range(_TRIES)):
            try:
                return await self._adapter.list_provider_records(
                    from_time, to_time, cursor, self._pace.size(_PAGE)
                )
            except ListingFailed as failed:
                wait = max(pause, failed.retry_after_seconds or 0.0)
                if not left or wait > _LONGEST_PAUSE_SECONDS:
                    raise Incomplete(str(failed)) from failed
                log.warning(
                    "a page of a listing could not be read and is read again",
                    provider=self._provider,
                    why=str(failed),
                    in_seconds=wait,
                )
                await asyncio.sleep(wait)
                pause *= 2
        raise AssertionError("the last try returns or raises")

    async def _stage(self, page: ProviderRecordPage) -> None:
        # Pages of a changing listing repeat records; a repeated record counts once.
        records = {
            (record.kind, record.record_id): (record, self._ids.payment_number(record.our_id))
            for record in page.records
        }
        if records:
            async with self._lease.held() as connection:
                await record_store.stage(connection, self._key, self._provider, self._run, records)
        self._progress.fetched += len(records)
