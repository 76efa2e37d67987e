"""Own an absent synchronous standby: commits wait until it is back, or until their wait is cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

from tests.support.patience import HANG_SECONDS

WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'"
_COMMIT = "SELECT pg_logical_emit_message(true, 'test', '')"


class Standby:
    """Names a standby that does not exist, over a connection of its own."""

    def __init__(self, database_url: str, owner: asyncpg.Connection[Any]) -> None:
        self._url = database_url
        self._owner = owner

    async def leave(self) -> None:
        """Make all commits from now on wait."""
        await self._name("gone")

    async def return_(self) -> None:
        """Let all waiting commits go on."""
        await self._name("")

    async def _name(self, standby: str) -> None:
        await self._owner.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
        await self._owner.execute("SELECT pg_reload_conf()")
        # Commits wait only once the checkpointer has read the setting too, so the effect is checked and not
        # the setting.
        await self.until(self._waits if standby else self._goes_on)

    async def _waits(self) -> bool:
        """Return whether a commit waits; the commit writes nothing visible."""
        probe = await asyncpg.connect(self._url, server_settings={"synchronous_commit": "on"})
        try:
            commit = asyncio.ensure_future(probe.execute(_COMMIT))
            await asyncio.wait({commit}, timeout=0.2)
            if commit.done():
                return False
            pid = probe.get_server_pid()
            waits = bool(await self._owner.fetchval(f"{WAITING} AND pid = {pid}"))
            await self._owner.execute("SELECT pg_terminate_backend($1)", pid)
            await asyncio.wait({commit})
            commit.exception()
            return waits
        finally:
            probe.terminate()

    async def _goes_on(self) -> bool:
        named: str = await self._owner.fetchval("SHOW synchronous_standby_names")
        return not named

    async def waiting(self, *, but: frozenset[int] = frozenset(), proofs: bool = True) -> set[int]:
        """Return the sessions of this database whose commits wait, once there are others than these.

        Args:
            proofs: whether commits that write nothing count; servers use those to prove what they have read.
        """
        found: set[int] = set()
        statement = WAITING if proofs else f"{WAITING} AND query NOT LIKE '%pg_logical_emit_message%'"

        async def look() -> bool:
            found.update(row["pid"] for row in await self._owner.fetch(statement))
            return bool(found - but)

        await self.until(look)
        return found - but

    async def cut(self, way: str, *, proofs: bool = True) -> None:
        """Cut all waits short once there is one: `cancel` or `terminate`."""
        for pid in await self.waiting(proofs=proofs):
            await self._owner.execute(f"SELECT pg_{way}_backend($1)", pid)

    async def count(self, statement: str) -> int:
        """Return the count of a statement, as visible to everybody on the primary."""
        found: int = await self._owner.fetchval(statement)
        return found

    async def until(self, done: Callable[[], Any]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(HANG_SECONDS):
            while not await done():
                await self._owner.fetchval("SELECT 1")  # a round trip, in which all other work goes on
