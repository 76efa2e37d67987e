"""Owns the live tails of journals: new records, shared by all watchers of a tenant.

All watchers of a tenant in this process share one tail. It takes the commits of this process as they
come and asks the database for those of other processes. A tail keeps only the newest few records. A watcher
that is further behind reads for itself, one chunk ahead of what its caller takes, and in small chunks until
the caller has shown that it reads, so a slow watcher costs little memory. No record can be missed: sequences
are given out under the head's lock, so a reader that sees a record in the database sees all records before
it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

import structlog

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import NotYetRecorded, ShuttingDown
from ledger_server.domain.ids import TenantId, TenantKey, tenant_key
from ledger_server.engine import metrics
from ledger_server.engine.reads.follower_budget import LEAST_BYTES, FollowerBudget, Room
from ledger_server.engine.records.entries import entry_bytes
from ledger_server.engine.records.times import timestamp
from ledger_server.engine.records.wire_format import length_delimited, varint
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.ledger_rows import JournalRow
from ledger_server.store.queries.journal import Entry, entries_after, newest_sequence
from ledger_server.store.queries.rendering import PAGE_BYTES

log = structlog.get_logger()

MAX_RECORDS: Final = 1_000
"""Records in one message."""

# How often a tail asks for commits of other processes: soon after there was one, else more rarely.
_BUSY_SECONDS: Final = 0.02
_IDLE_SECONDS: Final = 0.25
_FAILED_SECONDS: Final = 1.0

# What one tail keeps for watchers that are a little behind, and what all tails of a process keep.
_KEPT_CHUNKS: Final = 256
_KEPT_BYTES: Final = 4 * PAGE_BYTES
_ALL_KEPT_BYTES: Final = 16 * PAGE_BYTES

# How many watchers may read for themselves at once; the other connections are left to other reads.
_READS_AT_ONCE: Final = 2


class Chunk:
    """Consecutive entries, which are made into a message once, however many watchers get it."""

    __slots__ = ("_messages", "after", "entries", "last", "size")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.after = entries[0].sequence - 1
        self.last = entries[-1].sequence
        self.size = sum(len(entry.record) for entry in entries)
        self._messages: dict[bool, bytes] = {}

    def message(self, *, bytes_only: bool) -> bytes:
        """Return the entries as field 1 of a serialized `WatchJournalResponse`."""
        message = self._messages.get(bytes_only)
        if message is None:
            message = b"".join(
                length_delimited(1, entry_bytes(entry, bytes_only=bytes_only)) for entry in self.entries
            )
            self._messages[bytes_only] = message
        return message

    def behind(self, sequence: int) -> "Chunk":
        """Return the entries after a sequence within the chunk."""
        return self if sequence == self.after else Chunk(self.entries[sequence - self.after :])


class Watches:
    """All watches of one process."""

    def __init__(self, pool: Pool, clock: Clock, budget: FollowerBudget) -> None:
        self._pool = pool
        self._clock = clock
        self._budget = budget
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)
        self._tails: dict[str, _Tail] = {}
        self._draining = False
        self._open: set[_Position] = set()
        metrics.WATCHES.set_function(lambda: len(self._open))
        metrics.WATCH_LAG.set_function(
            lambda: max((each.tail.head - each.sequence for each in tuple(self._open)), default=0)
        )

    def room(self) -> Room:
        """Return the room of one more watcher; to be closed when its call has ended, and not before."""
        return self._budget.room()

    def committed(self, tenant_id: str, rows: Sequence[JournalRow]) -> None:
        """Take note of a commit of this process."""
        tail = self._tails.get(tenant_id)
        if tail is not None:
            tail.committed(rows)

    async def watch(
        self, tenant_id: str, *, after: int, heartbeat_seconds: float, bytes_only: bool, room: Room
    ) -> AsyncGenerator[bytes, None]:
        """Yield serialized `WatchJournalResponse`s without end: first existing records, then new ones.

        Args:
            tenant_id: of a tenant that exists.
            after: the newest sequence that the caller has seen.
            room: counts what is yielded until the next message is asked for.
        Raises:
            NotYetRecorded: the caller has seen more than there is.
            ServerFull: too much is on its way to other watchers, for too long.
            ShuttingDown: the server is draining; another process will go on.
        """
        if self._draining:
            raise ShuttingDown
        tail = self._tails.get(tenant_id)
        if tail is None:
            tail = self._tails[tenant_id] = _Tail(
                self._pool, self._reading, tenant_key(TenantId(tenant_id)), self._kept
            )
            for each in self._tails.values():
                each.trim()
        tail.watcher_count += 1
        told: _Position | None = None
        try:
            head = await tail.start(at_least=after)
            if after > head:
                raise NotYetRecorded(head_sequence=head)
            position = after
            told = _Position(tail, after)
            self._open.add(told)
            while True:
                # The check stands here, since a drain may begin while the caller takes its time with a
                # message.
                if self._draining:
                    raise ShuttingDown
                chunk = await tail.chunk_after(position, room.allowance)
                if chunk is None:
                    if not await tail.wait(position, heartbeat_seconds):
                        yield self._status(tail.head)
                    continue
                message = chunk.message(bytes_only=bytes_only) + self._status(max(tail.head, chunk.last))
                position = chunk.last
                del chunk  # so that a reader that takes its time holds no more than its message
                await room.hand_over(len(message), position)
                yield message
                room.taken()
                told.sequence = position
        finally:
            if told is not None:
                self._open.discard(told)
            tail.watcher_count -= 1
            if not tail.watcher_count and self._tails.get(tenant_id) is tail:
                del self._tails[tenant_id]
                tail.stop()

    def drain(self) -> None:
        """End all watches with ShuttingDown, and begin no other."""
        self._draining = True
        for tail in self._tails.values():
            tail.stop()

    def _kept(self) -> int:
        """Return how many bytes a tail keeps."""
        return min(_KEPT_BYTES, _ALL_KEPT_BYTES // max(len(self._tails), 1))

    def _status(self, head: int) -> bytes:
        """Return fields 2 and 3: the head, and the server's clock."""
        now = timestamp(self._clock()).SerializeToString()
        return b"\x10" + varint(head) + length_delimited(3, now)


class RecordMissing(Exception):
    """A journal lacks a record in front of its newest one: somebody took it out of the database."""


def unbroken(position: int, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return those of the entries that follow a sequence one by one; what is behind a gap is left out."""
    for index, entry in enumerate(entries):
        if entry.sequence != position + 1 + index:
            return entries[:index]
    return entries


class _Position:
    """How far one watcher is."""

    __slots__ = ("sequence", "tail")

    def __init__(self, tail: "_Tail", sequence: int) -> None:
        self.tail = tail
        self.sequence = sequence


class _Tail:
    """The newest records of one tenant, and the task that looks for more."""

    def __init__(
        self, pool: Pool, reading: asyncio.Semaphore, key: TenantKey, kept: Callable[[], int]
    ) -> None:
        self._reading = reading
        self._kept = kept
        self.head = 0
        self.watcher_count = 0
        self._pool = pool
        self._key = key
        self._chunks: deque[Chunk] = deque()
        self._size = 0
        self._starting = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, *, at_least: int) -> int:
        """Return the head; asks the database if a caller has seen more than this process knows of."""
        async with self._starting:
            if self._looking is None or at_least > self.head:
                async with self._pool.acquire(tenant=self._key) as connection:
                    newest = await newest_sequence(connection, self._key)
                if self._looking is None:
                    self.head = newest
                    self._looking = asyncio.create_task(self._run())
                return newest
        return self.head

    def stop(self) -> None:
        """Stop looking, and wake all who wait."""
        if self._looking is not None:
            self._looking.cancel()
        self._tell()

    def committed(self, rows: Sequence[JournalRow]) -> None:
        """Append the records of a commit if they follow the known ones; else look in the database."""
        if self._looking is None:
            return
        if rows[0].sequence == self.head + 1:
            self._append([Entry(row.sequence, row.record, row.chain_hash) for row in rows])
        else:
            self._look.set()

    async def chunk_after(self, position: int, size_bytes: int) -> Chunk | None:
        """Return the entries that follow a sequence: shared ones, or read for this caller alone.

        Args:
            size_bytes: of entries that are read for this caller; shared chunks are small.
        Raises:
            RecordMissing: the next record is not in the database.
        """
        if position >= self.head:
            return None
        for chunk in reversed(self._chunks):
            if chunk.after <= position:
                return chunk.behind(position)
        async with self._reading:
            entries = unbroken(position, await self._read(position, size_bytes))
        if not entries:
            raise RecordMissing(f"record {position + 1} of a journal that has {self.head} is not there")
        return Chunk(entries)

    async def wait(self, position: int, seconds: float) -> bool:
        """Wait for a record after a sequence; return False when the time is up."""
        if self.head > position:
            return True
        done, _ = await asyncio.wait({self._news}, timeout=seconds)
        return bool(done)

    async def _run(self) -> None:
        """Look for commits of other processes."""
        pause = _BUSY_SECONDS
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            try:
                found = await self._read(self.head, PAGE_BYTES)
            except CONNECTION_ERRORS as error:
                log.warning("a journal could not be watched", error=repr(error))
                pause = _FAILED_SECONDS
                continue
            except Exception:  # without this, a failed tail would fall silent without a sign
                log.exception("a journal could not be watched")
                pause = _FAILED_SECONDS
                continue
            # Commits of this process may have been appended meanwhile.
            fresh = [entry for entry in found if entry.sequence > self.head]
            following = unbroken(self.head, fresh)
            if fresh and not following:
                self._skip_to(fresh[-1].sequence)
            elif following:
                self._append(following)
                pause = _BUSY_SECONDS
            else:
                pause = min(2 * pause, _IDLE_SECONDS)

    async def _read(self, position: int, size_bytes: int) -> list[Entry]:
        async with self._pool.unproven() as connection:
            found = await entries_after(
                connection, self._key, position, limit=MAX_RECORDS, size_bytes=size_bytes
            )
        if found:  # most looks find no commit, and then there is nothing to prove durable
            await self._pool.durability.prove(self._key, found[-1].sequence)
        return found

    def _append(self, entries: Sequence[Entry]) -> None:
        for chunk in _chunks(entries):
            self._chunks.append(chunk)
            self._size += chunk.size
        self.head = entries[-1].sequence
        self.trim()
        self._tell()

    def _skip_to(self, head: int) -> None:
        """Keep nothing, since the next record is missing: each watcher looks for itself, and is told."""
        self._chunks.clear()
        self._size = 0
        self.head = head
        self._tell()

    def trim(self) -> None:
        """Drop the oldest chunks beyond what a tail keeps; the newest one stays."""
        most = self._kept()
        while len(self._chunks) > _KEPT_CHUNKS or (self._size > most and len(self._chunks) > 1):
            self._size -= self._chunks.popleft().size

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.get_running_loop().create_future()
        news.set_result(None)


def _chunks(entries: Sequence[Entry]) -> list[Chunk]:
    """Cut entries into chunks that each are one small message, or one record.

    Every watcher gets a copy of the message, and the copies for watchers who don't read stay in this process.
    """
    chunks: list[Chunk] = []
    start = size = 0
    for index, entry in enumerate(entries):
        if index > start and (index - start == MAX_RECORDS or size + len(entry.record) > LEAST_BYTES):
            chunks.append(Chunk(entries[start:index]))
            start, size = index, 0
        size += len(entry.record)
    chunks.append(Chunk(entries[start:]))
    return chunks
