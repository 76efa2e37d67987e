"""Own the provider's listing as the tests disturb it: small pages, with something happening between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from msgspec.structs import replace

from ledger_server.providers.adapter import ProviderRecordPage
from ledger_server.providers.mock import MockAdapter


async def nothing(_: int) -> None:
    """Let nothing happen before a page."""


class Pages(MockAdapter):
    """MockPSP as the ledger calls it, in pages as small as a test likes.

    Attributes:
        rows: how many records a page has at most.
        before: awaited with a page's number, from 1 on, before it is asked for.
        circle_after: the page with this number leads back to the second one; 0: none does.
    """

    rows = 1_000
    before: Callable[[int], Awaitable[None]] = staticmethod(nothing)
    circle_after = 0
    _cursors: tuple[str, ...] = ()

    async def list_provider_records(
        self, from_time: datetime, to_time: datetime, cursor: str, limit: int
    ) -> ProviderRecordPage:
        """Return a page; see `Adapter.list_provider_records`."""
        if not cursor:
            self._cursors = ("",)
        elif cursor not in self._cursors:
            self._cursors += (cursor,)
        number = self._cursors.index(cursor) + 1
        await self.before(number)
        page = await super().list_provider_records(from_time, to_time, cursor, min(limit, self.rows))
        return replace(page, next_cursor=self._cursors[1]) if number == self.circle_after else page
