"""Own a provider that only lists: its records are given, its pages move and are in disorder."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind
from ledger_server.providers.adapter import (
    Accepted,
    Answer,
    Capabilities,
    ListingFailed,
    NotFound,
    ProviderCall,
    ProviderCallKind,
    ProviderRecordPage,
    Unknown,
)
from ledger_server.providers.sending import Proof

LISTED: Final = frozenset(ProviderRecordKind) - {ProviderRecordKind.OTHER, ProviderRecordKind.UNKNOWN}


class ListedProvider:
    """Lists records newest first, by position: a record that comes in meanwhile moves the others down.

    Attributes:
        records: all of them, in any order.
        arrivals: how many records come in between two pages; they lie beyond every window.
        breaks_after: every page after this one fails; None: no page fails.
    """

    capabilities: Final = Capabilities(
        payments=True, payouts=True, refunds=True, listed=LISTED, idempotency_seconds=1e9
    )

    def __init__(self, records: Sequence[ProviderRecord], *, seed: str = "0") -> None:
        self.records = list(records)
        self.arrivals = 0
        self.breaks_after: int | None = None
        self._random = random.Random(seed)
        self._sorted: list[ProviderRecord] = []

    async def list_provider_records(
        self, from_time: datetime, to_time: datetime, cursor: str, limit: int
    ) -> ProviderRecordPage:
        """Return a page; the cursor is a position among all records, so rows repeat when others come in."""
        if not cursor:
            self._sorted = [each for each in self.records if from_time <= each.create_time < to_time]
            self._sorted.sort(key=lambda each: each.create_time, reverse=True)
        page_number, place = (int(part) for part in (cursor or "0-0").split("-"))
        if self.breaks_after is not None and page_number >= self.breaks_after:
            raise ListingFailed("the listing broke off")
        # Records came in at the head, so the same position now lies within an earlier page.
        place = max(0, place - self.arrivals)
        page = self._sorted[place : place + limit]
        end = place + limit
        self._random.shuffle(page)
        following = f"{page_number + 1}-{end}" if end < len(self._sorted) else ""
        return ProviderRecordPage(records=page, next_cursor=following)

    def to_provider(self, amount: int, _currency: str, _kind: ProviderCallKind) -> int:
        """Return the same amount."""
        return amount

    def from_provider(self, amount: int, _currency: str) -> int:
        """Return the same amount."""
        return amount

    async def call(self, _: ProviderCall, __: Proof) -> Answer:
        """Answer nothing."""
        return Unknown(reason="it only lists")

    async def find(self, _: ProviderCall, __: str) -> Accepted | NotFound | Unknown:
        """Find nothing."""
        return Unknown(reason="it only lists")

    async def close(self) -> None:
        """Do nothing."""
