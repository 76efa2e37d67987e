"""Owns the sweeper: it records the end of due holds on accounts that nobody touches.

Correctness does not depend on it: a lane expires due holds before it touches an account, and reads show a due
hold as released. Several processes may sweep at once; the lanes decide.
"""

from typing import Final

from ledger_server.domain.clock import Clock
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.domain.state.commands import ExpireHolds
from ledger_server.engine.lane.work import Request
from ledger_server.engine.ledger import Ledger
from ledger_server.jobs.tenant_sweep import Rounds
from ledger_server.store import sweep_store
from ledger_server.store.database import Pool
from ledger_server.store.database_clock import known

_CHUNK: Final = 500


class HoldExpiry:
    """Looks for due holds of all tenants, again and again."""

    def __init__(self, ledger: Ledger, pool: Pool, clock: Clock, pause_seconds: float) -> None:
        self._ledger = ledger
        self._pool = pool
        self._clock = clock
        self._rounds = Rounds("hold expiry", self._look, self._due, pool, pause_seconds)

    def start(self) -> None:
        """Begin sweeping in the background."""
        self._rounds.start()

    async def stop(self) -> None:
        """Stop sweeping."""
        await self._rounds.stop()

    async def expire(self, tenant_id: str) -> int:
        """Hand a tenant's due holds to its lane; return how many."""
        key = tenant_key(TenantId(tenant_id))
        numbers = await sweep_store.due_hold_numbers(self._pool, key, await known(self._clock), limit=_CHUNK)
        if numbers:
            await self._ledger.submit(tenant_id, [Request(ExpireHolds(numbers=tuple(numbers)))])
        return len(numbers)

    async def _due(self) -> list[str]:
        return await sweep_store.tenants_with_due_holds(self._pool, await known(self._clock))

    async def _look(self, tenant_id: str) -> bool:
        """Expire some due holds; a tenant that has more takes another turn after the other tenants."""
        return await self.expire(tenant_id) == _CHUNK
