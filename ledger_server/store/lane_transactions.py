"""Owns the database transactions of a lane, from beginning to end, and the names of their failures.

Errors of PostgreSQL and its driver are raised as what they mean for a lane: the head has moved, a key is
taken, another session keeps the head locked, the store is away. Any other error is a fault of what was
written.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta

from asyncpg import InterfaceError, LockNotAvailableError, UniqueViolationError

from ledger_server.domain.clock import Clock
from ledger_server.domain.ids import TenantKey
from ledger_server.domain.state.commands import RequestKey
from ledger_server.store import lane_store, lane_writes
from ledger_server.store.database import AnyConnection, Pool, is_outage
from ledger_server.store.database_clock import trusted, window
from ledger_server.store.history_watch import AnotherHistory
from ledger_server.store.lane_store import Head, StoredOutcome
from ledger_server.store.lane_writes import Start
from ledger_server.store.ledger_rows import JournalRow
from ledger_server.store.stalled_writer import end_stalled_writer


class StoreAway(Exception):
    """The database did not answer, or ended the transaction; whether it was committed is not known."""


class LockedOut(StoreAway):
    """Another session keeps the head locked for longer than a lane waits; nothing was written."""


class KeyTaken(Exception):
    """A unique value exists already, nearly always a request's key; nothing was written."""


class LockedHead:
    """A database transaction that holds the lock of a tenant's head."""

    def __init__(
        self, connection: AnyConnection, key: TenantKey, head: Head | None, window: timedelta | None
    ) -> None:
        self.connection = connection
        self.head = head
        self._key = key
        self._window = window

    async def find_outcomes(
        self, keys: Sequence[tuple[RequestKey, bytes | None]]
    ) -> dict[RequestKey, StoredOutcome]:
        """Return what earlier commits have decided for these keys, given with the digests of the requests."""
        return await lane_store.find_outcomes(self.connection, self._key, list(keys)) if keys else {}

    async def check_told(self, sequence: int, chain_hash: bytes, why: str) -> None:
        """Raise AnotherHistory if the journal lacks a record that callers were told of."""
        if await lane_store.read_chain_hash(self.connection, self._key, sequence) != chain_hash:
            raise AnotherHistory(why)

    async def write(self, rows: Sequence[JournalRow], account_numbers: Mapping[str, int]) -> None:
        """Write a batch; it is committed where the transaction ends.

        Raises:
            TimeRefused: the database's clock denies the record times, or they are final; nothing was written.
        """
        await lane_writes.write_locked(self.connection, self._key, rows, account_numbers, window=self._window)


class LaneTransactions:
    """The database transactions of one tenant's lane; each of them may raise `StoreAway`."""

    def __init__(self, pool: Pool, key: TenantKey, clock: Clock) -> None:
        self._pool = pool
        self._key = key
        self._clock = clock
        # How far record times may be from the database's clock; None if a test brings its own.
        self._window = window(clock)

    async def now(self) -> datetime:
        """Return the database's time, to decide by.

        Raises:
            ClockAstray: the process's own clock is off by more than the bound.
        """
        with _own_words():
            return await trusted(self._clock)

    async def head(self) -> Head | None:
        """Return the tenant's head, which may move at any time."""
        async with self.reading() as connection:
            return await lane_store.read_head(connection, self._key, lock=False)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AnyConnection]:
        """Give a connection to read over, without a database transaction around it."""
        with _own_words():
            async with self._pool.acquire() as connection:
                yield connection

    async def commit_from(
        self,
        start: Start,
        rows: Sequence[JournalRow],
        account_numbers: Mapping[str, int],
        *,
        final_time: datetime | None = None,
    ) -> None:
        """Write a batch in one commit, if the head is where the caller believes it to be.

        Args:
            final_time: what the commit makes final beyond its own records, if anything.
        Raises:
            HeadMoved: the head is elsewhere, or the time is another one; nothing was written.
            KeyTaken: a request was decided before; nothing was written.
        """
        with _own_words():
            async with self._pool.acquire() as connection:
                try:
                    await lane_writes.commit_from(
                        connection,
                        self._key,
                        start,
                        rows,
                        account_numbers,
                        window=self._window,
                        final_time=final_time,
                    )
                except BaseException:
                    await _roll_back(connection)
                    raise

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[LockedHead]:
        """Hold the head's lock for as long as the block lasts; commit at its end, unless it raises."""
        with _own_words():
            async with self._pool.acquire() as connection:
                try:
                    await connection.execute("BEGIN")
                    head = await lane_store.read_head(connection, self._key, lock=True)
                    yield LockedHead(connection, self._key, head, self._window)
                    await connection.execute("COMMIT")
                except BaseException:
                    await _roll_back(connection)
                    raise

    async def prove(self, sequence: int) -> None:
        """Return once the journal up to a sequence is as durable as the database makes it."""
        with _own_words():
            await self._pool.durability.prove(self._key, sequence)

    def committed(self, sequence: int) -> None:
        """Note a commit of this process, which needs no proof."""
        self._pool.durability.committed(self._key, sequence)

    async def end_stalled_writer(self) -> bool:
        """Free the head from a process that stands still in its commit; return whether there was one."""
        async with self.reading() as connection:
            return await end_stalled_writer(connection, self._key)


@contextmanager
def _own_words() -> Iterator[None]:
    """Raise what a failure means for a lane; the driver's error is its cause."""
    try:
        yield
    except UniqueViolationError as error:
        raise KeyTaken(str(error)) from error
    except LockNotAvailableError as error:
        raise LockedOut(repr(error)) from error
    except Exception as error:
        if is_outage(error):
            raise StoreAway(repr(error)) from error
        raise


async def _roll_back(connection: AnyConnection) -> None:
    """End the database transaction; a connection that can't is thrown away."""
    try:
        await connection.execute("ROLLBACK", timeout=1)
    except Exception:  # noqa: BLE001  # whatever it is, somebody waits for an answer
        # The pool may have taken back a connection that broke; then nothing is left to end.
        with suppress(InterfaceError):
            connection.terminate()
