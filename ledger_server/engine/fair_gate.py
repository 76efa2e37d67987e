"""Owns fair queueing: tenants and callers who meet in one process each have a share of what is in work.

Who has more to do than its share waits for its own work to end, and is let in by turns. What waits costs its
memory and nothing else: not the event loop, no connection, no place in a lane.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ledger_server.domain.errors import QuotaReadsWaiting

_COMPANY_SECONDS: Final = 1.0
_LEAST: Final = 2
_FLOWS: Final = 8_192


class Flow(NamedTuple):
    """Whose work it is."""

    tenant_id: str
    caller: str
    """An identity; empty where nobody knows, then the tenant alone counts."""


@lru_cache(maxsize=_FLOWS)
def flow_of(tenant_id: str, caller: str) -> Flow:
    """Return a flow; the same one for each call of a tenant by a caller."""
    return Flow(tenant_id, caller)


class Company:
    """Whether several tenants or callers use the process; each is taken for gone a second after it called."""

    __slots__ = ("_caller", "_callers_until", "_now", "_tenant", "_tenants_until", "newest", "somebody")

    def __init__(self, now: Callable[[], float]) -> None:
        """Take a clock in seconds that never goes back."""
        self._now = now
        self._tenant = self._caller = ""
        self._tenants_until = self._callers_until = 0.0
        self.newest: Flow | None = None
        """Who called last."""
        self.somebody = False
        """Whether there may be more than one; while there is not, nobody need look at the clock."""

    def saw(self, flow: Flow) -> None:
        """Note that somebody calls; who is not named is nobody else."""
        if flow is self.newest:
            return
        self.newest = flow
        if flow.tenant_id and flow.tenant_id != self._tenant:
            self._tenants_until = self._until(self._tenant)
            self._tenant = flow.tenant_id
        if flow.caller and flow.caller != self._caller:
            self._callers_until = self._until(self._caller)
            self._caller = flow.caller

    def _until(self, before: str) -> float:
        """Return until when there are several, now that there is another one than before."""
        if not before:
            return 0.0
        self.somebody = True
        return self._now() + _COMPANY_SECONDS

    @property
    def of_tenants(self) -> bool:
        """Whether there was more than one tenant of late."""
        return self.somebody and self._tenants_until > self._look()

    @property
    def of_callers(self) -> bool:
        """Whether there was more than one caller of late."""
        return self.somebody and self._callers_until > self._look()

    def _look(self) -> float:
        now = self._now()
        self.somebody = now < max(self._tenants_until, self._callers_until)
        return now


class _Owner:
    """A tenant or a caller: the weight of its work, and its flows that wait, in the order of their turns."""

    __slots__ = ("in_work", "waiting", "waiting_count")

    def __init__(self) -> None:
        self.in_work = 0
        self.waiting: OrderedDict[Flow, None] | None = None  # most owners never wait
        self.waiting_count = 0


class FairGate:
    """Lets work in by turns, each with a weight that counts until it has ended.

    An owner is let in while less than its share is in work, whatever the weight of the next: so large work
    is never kept waiting for good by small work.
    """

    def __init__(
        self,
        share: int,
        *,
        caller_share: int | None = None,
        total: int | None = None,
        most_waiting: int | None = None,
        company: "Company | None" = None,
    ) -> None:
        """Take the share of each owner.

        Args:
            caller_share: of a caller, if it is another than a tenant's: one caller may serve many tenants.
            total: the bound of all work together; None: there is none, and with many owners at once each
                share is smaller.
            most_waiting: how much work of one owner may wait; more is refused.
            company: tells whether there are other tenants, or callers; while there are none, the share of
                tenants, or of callers, does not count.
        """
        self._share = share
        self._caller_share = caller_share or share
        self._total = total
        self._most_waiting = most_waiting
        self._company = company
        self._tenants: dict[str, _Owner] = {}
        self._callers: dict[str, _Owner] = {}
        self._lines: OrderedDict[Flow, OrderedDict[asyncio.Future[None], int]] = OrderedDict()
        self.in_work = 0
        """The weight of all work that was let in and has not ended."""

    @property
    def waiting(self) -> int:
        """How much work waits."""
        return sum(owner.waiting_count for owner in self._tenants.values())

    @property
    def known(self) -> int:
        """How many owners have work here."""
        return len(self._tenants) + len(self._callers)

    def enter(self, flow: Flow, weight: int = 1) -> "asyncio.Future[None] | None":
        """Let work in, or return what it waits for; `leave` is due in either case.

        Raises:
            QuotaReadsWaiting: too much of the owner waits already.
        """
        # Every call enters and leaves, so what nearly all of them find is looked at without another method.
        tenant = self._tenants.get(flow.tenant_id)
        caller = self._callers.get(flow.caller)
        if tenant is None or (caller is None and flow.caller):
            tenant, caller = self._owners(flow)
        if not self._lines or flow not in self._lines:
            company = self._company
            alone = company is not None and not company.somebody and self._total is None
            if alone or self._has_room(tenant, caller):
                self.in_work += weight
                tenant.in_work += weight
                if caller is not None:
                    caller.in_work += weight
                return None
        try:
            self._check_waiting(flow, tenant, caller)
        except QuotaReadsWaiting:
            self._drop_idle(flow, tenant, caller)
            raise
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(flow, OrderedDict())[future] = weight
        for owner in (tenant, caller):
            if owner is not None:
                if owner.waiting is None:
                    owner.waiting = OrderedDict()
                owner.waiting[flow] = None
                owner.waiting_count += 1
        return future

    def leave(self, flow: Flow, weight: int = 1, waits: "asyncio.Future[None] | None" = None) -> None:
        """End work, and let in what has waited for it.

        Args:
            waits: what `enter` has returned; work that was given up before it was let in was never begun.
        """
        tenant = self._tenants.get(flow.tenant_id)
        caller = self._callers.get(flow.caller)
        if tenant is None or (caller is None and flow.caller):
            tenant, caller = self._owners(flow)  # it was given up while it waited, and its owner forgotten
        if waits is None or (waits.done() and not waits.cancelled()):
            self.in_work -= weight
            tenant.in_work -= weight
            if caller is not None:
                caller.in_work -= weight
            if self._lines:
                self._let_in_after(tenant, caller)
        elif waits in self._lines.get(flow, ()):
            self._take(flow, waits)
        if not tenant.in_work or (caller is not None and not caller.in_work):
            self._drop_idle(flow, tenant, caller)

    @asynccontextmanager
    async def entered(self, flow: Flow, weight: int = 1) -> AsyncIterator[None]:
        """Wait until work is let in, and let in others behind the block.

        Raises:
            QuotaReadsWaiting: too much of the owner waits already.
        """
        waits = self.enter(flow, weight)
        try:
            if waits is not None:
                await waits
            yield
        finally:
            self.leave(flow, weight, waits)

    def _let_in_after(self, tenant: _Owner, caller: _Owner | None) -> None:
        """Let in what may have room now that work of these owners has ended."""
        if self._total is not None:
            self._let_in(self._lines)
            return
        if tenant.waiting:
            self._let_in(tenant.waiting)
        if caller is not None and caller.waiting:
            self._let_in(caller.waiting)

    def _has_room(self, tenant: _Owner, caller: _Owner | None) -> bool:
        if self._total is not None and self.in_work >= self._total:
            return False
        company = self._company
        if (company is None or company.of_tenants) and tenant.in_work >= self._part(
            self._share, len(self._tenants)
        ):
            return False
        return (
            caller is None
            or not (company is None or company.of_callers)
            or caller.in_work < self._part(self._caller_share, len(self._callers))
        )

    def _part(self, share: int, owners: int) -> int:
        """Return the share of each of so many owners."""
        return share if self._total is not None else max(min(share, 2 * share // owners), min(share, _LEAST))

    def _begin(self, tenant: _Owner, caller: _Owner | None, weight: int) -> None:
        self.in_work += weight
        tenant.in_work += weight
        if caller is not None:
            caller.in_work += weight

    def _check_waiting(self, flow: Flow, tenant: _Owner, caller: _Owner | None) -> None:
        most = self._most_waiting
        if most is None:
            return
        if tenant.waiting_count >= most:
            raise QuotaReadsWaiting(quota="tenant", name=flow.tenant_id, limit=most)
        if caller is not None and caller.waiting_count >= most:
            raise QuotaReadsWaiting(quota="caller", name=flow.caller, limit=most)

    def _let_in(self, flows: OrderedDict[Flow, Any]) -> None:
        """Let in one work of each flow by turns, until nothing more has room."""
        more = True
        while more:
            more = False
            for flow in list(flows):
                tenant, caller = self._owners(flow)
                if not self._has_room(tenant, caller):
                    continue
                future = next(iter(self._lines[flow]))
                weight = self._take(flow, future)
                if flow in flows:
                    flows.move_to_end(flow)
                if not future.done():
                    self._begin(tenant, caller, weight)
                    future.set_result(None)
                more = True

    def _take(self, flow: Flow, future: "asyncio.Future[None]") -> int:
        """Take work out of its line."""
        line = self._lines[flow]
        weight = line.pop(future)
        if not line:
            del self._lines[flow]
        for owner in self._owners(flow):
            if owner is not None:
                owner.waiting_count -= 1
                if not line and owner.waiting is not None:
                    del owner.waiting[flow]
        return weight

    def _owners(self, flow: Flow) -> tuple[_Owner, _Owner | None]:
        tenant = self._tenants.get(flow.tenant_id)
        if tenant is None:
            tenant = self._tenants[flow.tenant_id] = _Owner()
        if not flow.caller:
            return tenant, None
        caller = self._callers.get(flow.caller)
        if caller is None:
            caller = self._callers[flow.caller] = _Owner()
        return tenant, caller

    def _drop_idle(self, flow: Flow, tenant: _Owner, caller: _Owner | None) -> None:
        """Forget owners that have nothing here."""
        if not tenant.in_work and not tenant.waiting:
            self._tenants.pop(flow.tenant_id, None)
        if caller is not None and not caller.in_work and not caller.waiting:
            self._callers.pop(flow.caller, None)
