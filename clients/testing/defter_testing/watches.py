"""Owns the fake's live tails of journals."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from defter_testing.ledger import NO_DATABASE, MemoryLedger
from defter_testing.reads import entries_after
from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import NotYetRecorded
from ledger_server.engine.reads.follower_budget import FollowerBudget, Room
from ledger_server.engine.reads.watch import MAX_RECORDS, Chunk, Watches
from ledger_server.engine.records.times import timestamp
from ledger_server.engine.records.wire_format import length_delimited, varint
from ledger_server.store.ledger_rows import JournalRow

_FOLLOWER_BYTES: Final = 32 * 1024 * 1024
_FOLLOWER_SECONDS: Final = 30.0


class MemoryWatches(Watches):
    """All watches of a fake."""

    def __init__(self, ledger: MemoryLedger, clock: Clock) -> None:
        budget = FollowerBudget(_FOLLOWER_BYTES, wait_seconds=_FOLLOWER_SECONDS)
        super().__init__(NO_DATABASE, clock, budget)
        self._ledger = ledger
        self._now = clock
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def committed(self, _: str, __: Sequence[JournalRow]) -> None:
        """Wake all watchers, whatever tenant they are of: they are few."""
        news, self._news = self._news, asyncio.get_running_loop().create_future()
        news.set_result(None)

    async def watch(
        self, tenant_id: str, *, after: int, heartbeat_seconds: float, bytes_only: bool, room: Room
    ) -> AsyncGenerator[bytes, None]:
        """Yield serialized `WatchJournalResponse`s without end: first existing records, then new ones."""
        tenant = self._ledger.tenant(tenant_id)
        if after > tenant.sequence:
            raise NotYetRecorded(head_sequence=tenant.sequence)
        position = after
        while True:
            entries = entries_after(tenant, position, limit=MAX_RECORDS, size_bytes=room.allowance)
            if not entries:
                done, _ = await asyncio.wait({self._news}, timeout=heartbeat_seconds)
                if not done:
                    yield self._state(tenant.sequence)
                continue
            message = Chunk(entries).message(bytes_only=bytes_only) + self._state(tenant.sequence)
            position = entries[-1].sequence
            await room.hand_over(len(message), position)
            yield message
            room.taken()

    def _state(self, head: int) -> bytes:
        """Return fields 2 and 3: the head, and the clock."""
        now = timestamp(self._now()).SerializeToString()
        return b"\x10" + varint(head) + length_delimited(3, now)
