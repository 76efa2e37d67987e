"""Owns how RPCs reach the lanes: what is asked for here is recorded with the caller of the call under way.

Servicers know no other way, so none can forget to say who asked. Jobs ask the `Ledger` itself.
"""

import asyncio
from collections.abc import Awaitable, Sequence

from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.ledger import Ledger
from ledger_server.rpc.guard import CALLER


class CallersLedger:
    """All lanes, for callers; its methods are those of `Ledger`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def submit(
        self,
        tenant_id: str,
        requests: Sequence[Request],
        *,
        atomic: bool = False,
        deadline: float | None = None,
    ) -> Awaitable[list[Outcome]]:
        """Decide requests in one batch; see `Ledger.submit`."""
        return self._ledger.submit(tenant_id, requests, atomic=atomic, deadline=deadline, caller=CALLER.get())

    def enqueue(
        self, tenant_id: str, requests: Sequence[Request], *, deadline: float | None = None
    ) -> "asyncio.Future[list[Outcome]]":
        """Put transactions into the tenant's lane at once; see `Ledger.enqueue`."""
        return self._ledger.enqueue(tenant_id, requests, deadline=deadline, caller=CALLER.get())

    async def create_tenant(
        self, tenant_id: str, request: Request, *, deadline: float | None = None
    ) -> Outcome:
        """Begin a tenant's journal; see `Ledger.create_tenant`."""
        return await self._ledger.create_tenant(tenant_id, request, deadline=deadline, caller=CALLER.get())

    def check_room(self, tenant_id: str, size_bytes: int) -> None:
        """Refuse work that the tenant's lane has no room for; see `Ledger.check_room`."""
        self._ledger.check_room(tenant_id, size_bytes)
