"""Own the delivery of requests to the server: alone or together, with or without trouble, until answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Self

from msgspec.structs import replace

from ledger_server.providers.adapter import Adapter
from tests.simulation.asks import Ask, Reply
from tests.support.clock import FakeClock
from tests.support.ledger import Ledger
from tests.support.service import Service
from tests.support.tenant_lock import (
    cut_connections,
    head_locked,
    poll,
    wait_until_lane_waits,
)

# Answers after which a caller can't know whether the request took effect, so it asks again.
UNKNOWN_OUTCOME = ("STORE_UNAVAILABLE", "DEADLINE_PASSED", "SHUTTING_DOWN")
UNKNOWN_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
MOST_ATTEMPTS = 5
HURRY_SECONDS = 0.2


class World:
    """One server or more on one database; every example gets a tenant of its own.

    Attributes:
        narrow: whether lanes take little at a time, decide ahead at once and forget quickly, so that a
            handful of requests has the effect of thousands.
    """

    def __init__(
        self,
        database_url: str,
        *,
        narrow: bool,
        server_count: int = 1,
        providers: Mapping[str, Adapter] | None = None,
    ) -> None:
        self._runner = asyncio.Runner()
        self.run = self._runner.run
        self.clock = FakeClock()
        self._services = [
            Service(database_url, clock=self.clock, providers=providers) for _ in range(server_count)
        ]
        self.narrow = narrow
        self._current = 0
        self._tenant_count = 0
        self._url = database_url

    def __enter__(self) -> Self:
        """Start the server."""
        for _ in self._services:
            self.run(self.service.start())
            self._narrow_lanes()
            self.use_next_server()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        for service in self._services:
            self.run(service.stop())
        self._runner.close()

    @property
    def service(self) -> Service:
        """The server that is asked now."""
        return self._services[self._current]

    def use_next_server(self) -> None:
        """Turn to the next server; the others know nothing of what it is asked."""
        self._current = (self._current + 1) % len(self._services)

    def new_tenant(self) -> str:
        """Return the id of a tenant that nobody has used; the first server is asked again."""
        self._current = 0
        self._tenant_count += 1
        return f"tenant-{self._tenant_count}"

    async def restart(self) -> None:
        """Kill the server if it still runs, and start another one."""
        if self.service.is_running:
            await self.service.crash()
        await self.service.restart()
        self._narrow_lanes()

    def ledger(self, tenant_id: str) -> Ledger:
        """Return a tenant over the channel of the server that runs now."""
        return self.service.ledger(tenant_id)

    async def ask_all(
        self, tenant_id: str, ids: Mapping[str, str], asks: Sequence[Ask], trouble: str
    ) -> list[Reply]:
        """Ask all at once, with trouble the first time, then each until it is told its outcome."""
        replies = await self._send_all(tenant_id, ids, asks, trouble)
        for index, ask in enumerate(asks):
            for _ in range(MOST_ATTEMPTS):
                if not is_unknown(replies[index]):
                    break
                replies[index] = await ask.send(self.ledger(tenant_id), ids)
            assert not is_unknown(replies[index]), f"no answer: {replies[index].seen}"
        return replies

    async def _send_all(
        self, tenant_id: str, ids: Mapping[str, str], asks: Sequence[Ask], trouble: str
    ) -> list[Reply]:
        ledger = self.ledger(tenant_id)
        head = await ledger.head()
        if trouble == "connections cut":
            await cut_connections(self._url)
            await self._drop_cut_connections(tenant_id)
        if len(asks) == 1 and trouble in ("", "connections cut"):
            return [await asks[0].send(ledger, ids)]
        hurry = HURRY_SECONDS if trouble == "deadline" else None
        # The lock gathers the requests in the lane, so that they are decided in few commits; the journal
        # tells their order.
        async with head_locked(self._url, tenant_id):
            sending: list[asyncio.Future[Reply]] = []
            for ask in asks:
                sending.append(asyncio.ensure_future(ask.send(ledger, ids, timeout_seconds=hurry)))
                # A read over the same connection: once it is answered, the request before it has arrived. So
                # requests arrive in this order, and an example is reproducible.
                await ledger.head()
            await wait_until_lane_waits(self._url, unless=lambda: all_done(sending))
            if trouble == "deadline":
                await asyncio.wait(sending)
            if trouble == "crash before commit":
                await self.service.crash()
        if trouble == "crash after commit":
            grown = f"SELECT 1 FROM tenants WHERE tenant_id = '{tenant_id}' AND sequence > {head}"
            await poll(self._url, grown, unless=lambda: all_done(sending))
            await self.service.crash()
        replies = await asyncio.gather(*sending)
        if not self.service.is_running:
            await self.restart()
        return list(replies)

    async def _drop_cut_connections(self, tenant_id: str) -> None:
        """Read often enough at once that every cut connection is noticed and replaced."""
        for service in self._services:
            ledger = service.ledger(tenant_id)
            reads = (ledger.accounts() for _ in range(2 * service.settings.read_connections))
            await asyncio.gather(*reads, return_exceptions=True)

    def _narrow_lanes(self) -> None:
        if self.narrow:
            ledger = self.service.server.ledger
            ledger._limits = replace(ledger._limits, batch_size=4, ahead_size=1, cache_size=3, expiry_size=2)


def all_done(futures: Sequence[asyncio.Future[Reply]]) -> bool:
    """Tell whether everything has been answered."""
    return all(future.done() for future in futures)


def is_unknown(reply: Reply) -> bool:
    """Tell whether an answer leaves the outcome open."""
    if isinstance(reply.seen, list):
        return any(one.reason in UNKNOWN_OUTCOME for one in reply.seen)
    return reply.seen.reason in UNKNOWN_OUTCOME or reply.seen.reason.startswith(UNKNOWN_CODES)
