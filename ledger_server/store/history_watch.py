"""Owns the watch over the history: every connection must lead to the history that the process began with.

A server keeps much of a database in its memory: heads, claims, numbers of payments. All of that is wrong in
another history, so it must never be used on one. At start the history gets its name. From then on a
connection that leads to another history is refused like a lost one, and the process starts its server anew.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog
from prometheus_client import Gauge

from ledger_server.domain.history import NEW, Identity, SeenRecord, Witness, same_place, why_another
from ledger_server.domain.ids import TenantId, TenantKey, new_epoch, tenant_key
from ledger_server.store import history_store
from ledger_server.store.database import CONNECTION_ERRORS, AnyConnection, Pool
from ledger_server.store.history_store import History, Look
from ledger_server.store.hosts import Hosts
from ledger_server.store.lane_store import read_chain_hash
from ledger_server.store.ledger_rows import JournalRow
from ledger_server.store.witness import WitnessKeeper

log = structlog.get_logger()

STOPPED: Final = Gauge("defter_outbound_stopped", "1 while no call to a provider may be made")

LOOK_SECONDS: Final = 5.0
_LAST_LOOK_SECONDS: Final = 2.0
_ACTOR: Final = "defter"


class AnotherHistory(ConnectionError):
    """A connection leads to another history than the one that this process knows."""


class HistoryWatch:
    """Watches that the history stays the one that the process has begun with."""

    def __init__(self, keeper: WitnessKeeper, *, draw: Callable[[], str] | None = None) -> None:
        """Begin to watch.

        Args:
            draw: names a new epoch; a test may say how.
        """
        self._keeper = keeper
        self._look_seconds = LOOK_SECONDS
        self._draw = draw or (lambda: new_epoch(os.urandom))
        self._epoch: str | None = None
        self._identity: Identity | None = None
        self._pool: Pool | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.changed: Final = asyncio.Event()
        """Set as soon as the database is seen to be in another history."""

    async def begin(self, connection: AnyConnection) -> History:
        """Read the history, and give it a new epoch if it is another history or has no epoch.

        Raises:
            ConnectionError: the database is a standby.
            OSError: the witness can't be written.
        """
        while True:
            looked = await history_store.look(connection)
            if looked is None:
                raise ConnectionError("the database is a standby: it decides nothing until it is promoted")
            witness = self._keeper.of(looked.found.identity)
            lost = await _why(connection, looked, witness)
            if looked.known.identity is not None and not lost:
                break
            if lost:
                log.error("the database has another history", why=lost, before=looked.history.epoch)
            # A database that got an epoch before any server opened it keeps that epoch.
            epoch = looked.history.epoch if not lost and looked.history.epoch is not None else self._draw()
            if await history_store.begin_epoch(connection, looked, epoch, lost=lost, actor=_ACTOR):
                log.info("an epoch begins", epoch=epoch, why=lost or NEW)
        self._epoch = looked.history.epoch or ""
        self._see(looked)
        await self._keeper.write()
        _show(looked.history)
        return looked.history

    def committed(self, tenant_id: str, rows: Sequence[JournalRow]) -> None:
        """Remember the newest commit: a database that lacks this commit has lost it."""
        key, last = tenant_key(TenantId(tenant_id)), rows[-1]
        self._keeper.commit(SeenRecord(tenant_key=key, sequence=last.sequence, chain_hash=last.chain_hash))

    def lost(self, why: str) -> None:
        """Note that commits which callers were told of are gone: the next start begins another epoch."""
        log.error("the database has lost commits", why=why, epoch=self._epoch)
        self.changed.set()
        try:
            self._keeper.lose(why)
        except OSError as error:
            log.warning("the witness could not be written", error=repr(error))

    async def connected(self, connection: AnyConnection) -> None:
        """Check where a new connection leads, before it is used.

        Raises:
            AnotherHistory: the connection leads to another history than the process began with.
        """
        if self.changed.is_set():
            raise AnotherHistory("the database is in another history, and this process knows the one before")
        # The witness as of before the question: concurrent looks may be answered in another order.
        seen = self._seen
        looked = await history_store.look(connection)
        if looked is None:
            raise AnotherHistory("the database is a standby")
        why = await _why(connection, looked, seen)
        if not why and (looked.history.epoch or "") != self._epoch:
            why = f"its epoch was {self._epoch} and is {looked.history.epoch}"
        if why:
            log.error("the database has another history", why=why, epoch=self._epoch)
            self.changed.set()
            raise AnotherHistory(why)
        self._see(looked)

    @property
    def timeline(self) -> int:
        """The timeline of the database that the process has begun with."""
        assert self._identity is not None, "it has begun"
        return self._identity.timeline

    async def why_stopped(self) -> str:
        """Return why no call may be made now, according to the database; empty if calls may be made."""
        assert self._pool is not None, "it is started"
        if self.changed.is_set():
            return "the database is in another history"
        async with self._pool.acquire() as connection:
            history = await history_store.read_history(connection)
        if (history.epoch or "") != self._epoch:
            self.changed.set()
            return "the database is in another history"
        _show(history)
        if history.outbound_stopped:
            return f"outbound calls are stopped: {history.note}"
        return ""

    def start(self, pool: Pool, hosts: Hosts) -> None:
        """Look now and then in the background.

        Args:
            pool: its connections come through `connected`.
            hosts: those where the primary may be; where there are several, all of them are looked at.
        """
        self._pool = pool
        self._tasks = [asyncio.create_task(self._look_now_and_then(pool))]
        if hosts.several:
            self._tasks.append(asyncio.create_task(hosts.watch(self.timeline, self.changed)))

    async def look_once_more(self) -> None:
        """Look once more when a server ends, so that the witness knows of its last commits."""
        if self._pool is not None and not self.changed.is_set():
            with suppress(*CONNECTION_ERRORS):
                async with asyncio.timeout(_LAST_LOOK_SECONDS), self._pool.unproven() as connection:
                    await self.connected(connection)
                await self._keeper.write()

    async def stop(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look_now_and_then(self, pool: Pool) -> None:
        while not self.changed.is_set():
            try:
                # The result is told to nobody, so it need not wait for a standby.
                async with pool.unproven() as connection:
                    await self.connected(connection)
                await self._keeper.write()
            except CONNECTION_ERRORS as error:
                log.warning("the database's history could not be checked", error=repr(error))
            except Exception:
                log.exception("the database's history could not be checked")
            await asyncio.sleep(self._look_seconds)

    @property
    def _seen(self) -> Witness | None:
        return None if self._identity is None else self._keeper.of(self._identity)

    def _see(self, looked: Look) -> None:
        self._identity = looked.found.identity
        self._keeper.see(
            Witness(
                epoch=looked.history.epoch or "",
                identity=looked.found.identity,
                position=looked.found.position,
            )
        )


async def _why(connection: AnyConnection, looked: Look, witness: Witness | None) -> str:
    """Return why the history is another one than was known and seen; empty if it is the same."""
    lacks = False
    if (
        witness is not None
        and witness.record is not None
        and same_place(witness.identity, looked.found.identity)
    ):
        key, sequence = TenantKey(witness.record.tenant_key), witness.record.sequence
        lacks = await read_chain_hash(connection, key, sequence) != witness.record.chain_hash
    return why_another(looked.known, looked.found, witness, lacks_record=lacks)


def _show(history: History) -> None:
    STOPPED.set(history.outbound_stopped)
