"""Owns what each call passes before it is decided or queued: its quotas, and its share of the process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from prometheus_client import Counter

from ledger_server.domain.errors import Reason, Refused
from ledger_server.engine import metrics
from ledger_server.engine.fair_gate import Company, FairGate, Flow
from ledger_server.identity.quotas import Quotas
from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.tenant_scope import tenant_reader
from ledger_server.rpc.violations import MAX_BATCH

SIZE: ContextVar[int] = ContextVar("SIZE", default=0)
"""The bytes of the message that was opened last for the call under way.

To ask a large message for its size would make its bytes anew.
"""

NO_TENANT: Final = ""
"""Stands for the tenant of methods that are of none, and of streams whose first message has not come."""

VERIFY: Final = "VerifyJournal"
_READS: Final = ("Get", "BatchGet")
_LISTS: Final = ("List", "GetTrialBalance")
_UNIT_BYTES: Final = 1_024
# So many lists, or verifications, of one owner may wait for their turn.
_MOST_WAITING: Final = 256
# One caller often serves many tenants, and each commit is of one tenant.
_CALLER_SHARES: Final = 4
# A policy that is read anew may shorten a wait.
_LONGEST_PAUSE_SECONDS: Final = 1.0
_ITEMS: Final = ("items", "events")

_REFUSED: Final = Counter(
    "defter_quota_refused_total", "Calls refused by quotas, by whose it is and by reason", ["quota", "reason"]
)
for _kind in ("tenant", "caller"):
    for _reason in (
        Reason.QUOTA_RATE_EXCEEDED,
        Reason.QUOTA_CALLS_UNDER_WAY,
        Reason.QUOTA_BYTES_UNDER_WAY,
        Reason.QUOTA_READS_WAITING,
    ):
        _REFUSED.labels(quota=_kind, reason=_reason.name)


class Received(NamedTuple):
    """A message as it was received, with its size in bytes."""

    message: Message
    size: int


def opened(request: Any) -> Any:
    """Return a message, or the messages of a stream, noting the size; a refusal is returned as it is."""
    if type(request) is Received:
        SIZE.set(request.size)
        return request.message
    return request if isinstance(request, Refused) else _opened_one_by_one(request)


async def _opened_one_by_one(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield opened(request) if type(request) is Received else request


class Shares:
    """The quotas and the gates of a process."""

    def __init__(self, quotas: Quotas, now: Callable[[], float], *, share: int, heavy: int) -> None:
        """Take the quotas and a clock.

        Args:
            share: weight of what one tenant has in work while others call; a caller has four times as much.
            heavy: how many lists, and how many verifications, are in work at once.
        """
        self.quotas = quotas
        self.company = Company(now)
        self.writes, self.reads = (
            FairGate(share, caller_share=_CALLER_SHARES * share, company=self.company) for _ in range(2)
        )
        self.lists = FairGate(max(heavy // 2, 1), total=heavy, most_waiting=_MOST_WAITING)
        self.verifications = FairGate(max(heavy // 2, 1), total=heavy, most_waiting=_MOST_WAITING)
        gates = (self.writes, self.reads, self.lists, self.verifications)
        metrics.WAITING_FOR_SHARE.set_function(lambda: sum(gate.waiting for gate in gates))

    @property
    def busy(self) -> bool:
        """Whether light work is under way, for which heavy work rests."""
        return bool(self.writes.in_work or self.reads.in_work)

    def gate_of(self, method: MethodDescriptor) -> FairGate | None:
        """Return the gate of a method; None where a call lasts as long as its caller likes.

        Such a call (a watch, a stream, a run, an import) has bounds of its own.
        """
        if method.name == VERIFY:
            return self.verifications
        if method.client_streaming or method.server_streaming:
            return None
        if method.name.startswith(_LISTS):
            return self.lists
        return self.reads if method.name.startswith(_READS) else self.writes


class Way:
    """What each call of one method passes."""

    def __init__(self, method: MethodDescriptor, shares: Shares, budget: RequestBudget) -> None:
        """Find the gate and the tenant of a method's calls.

        Args:
            budget: has room for the requests of all calls; a stream counts its messages itself.
        Raises:
            TenantUnclear: nobody has said of which tenant they are.
        """
        self.shares: Final = shares
        self.budget: Final = budget
        self.gate: Final = shares.gate_of(method)
        self.tenant_of: Final = tenant_reader(method)
        self.is_stream: Final = bool(method.client_streaming)
        # One caller's idle watches must not use up the calls of a tenant: they are the caller's own.
        self.is_followed: Final = self.gate is None and not self.is_stream
        self._items = next((name for name in _ITEMS if name in method.input_type.fields_by_name), None)

    def calls(self, request: Any) -> int:
        """Return for how many calls a request counts: a batch for as many as it has items.

        A batch with more items than any may have is refused, and is one call.
        """
        count = 1 if self._items is None else len(getattr(request, self._items))
        return count if 1 <= count <= MAX_BATCH else 1

    def begin(self, request: Any, caller: str) -> "Passage":
        """Admit a call by its quotas and the budget, and have it let in by its gate.

        Args:
            request: a message, or the messages of a stream, whose tenant its first message names.
            caller: the identity; empty on an open server.
        Raises:
            QuotaRateExceeded, QuotaCallsUnderWay, QuotaBytesUnderWay, QuotaReadsWaiting, ServerFull: nothing
                was counted.
        """
        tenant_id = None if self.is_stream else self.tenant_of(request)
        if caller and self.is_followed:
            tenant_id = None
        try:
            return Passage(self, request, Flow(tenant_id or NO_TENANT, caller))
        except Refused as refused:
            _count(refused)
            raise


class Passage:
    """A call that its quotas have admitted: it counts as under way until `end`."""

    __slots__ = ("_budget", "_flow", "_gate", "_quotas", "_weight", "request", "size", "waits")

    def __init__(self, way: Way, request: Any, flow: Flow) -> None:
        shares, gate = way.shares, way.gate
        self._budget = way.budget
        self._quotas = shares.quotas
        self._flow = flow
        self._gate = gate
        whole = not way.is_stream
        self.request = request if whole else self._metered(request, way)
        """The message, or the messages as fast as the quotas allow."""
        self.size: int = SIZE.get() if whole else 0
        """Of the message, in bytes."""
        self._weight = weight_of(self.size)
        self.waits: asyncio.Future[None] | None = None
        """What the call has to await before it is begun, if anything."""
        self._quotas.begin(*flow, calls=way.calls(request) if whole else 0, size=self.size)
        shares.company.saw(flow)
        entered = 0
        try:
            if whole:
                self._budget.enter(self.size)
                entered = self.size
            if gate is not None:
                self.waits = gate.enter(flow, self._weight)
        except Refused:
            self._budget.leave(entered)
            self._quotas.end(*flow, size=self.size)
            raise

    def end(self) -> None:
        """Count the call no more, and let in another one."""
        if self._gate is not None:
            self._gate.leave(self._flow, self._weight, self.waits)
        self._budget.leave(self.size)
        self._quotas.end(*self._flow, size=self.size)

    async def _metered(self, requests: AsyncIterator[Any], way: Way) -> AsyncIterator[Any]:
        """Yield the messages of a stream no faster than its quotas allow: who sends more is read later.

        From its first message on the stream counts as a call of the tenant that the message names. If the
        tenant has no room for one more, the refusal is yielded in place of the message, as of a broken one.
        """
        async for request in requests:
            if isinstance(request, Message):
                tenant_id = way.tenant_of(request)
                try:
                    if tenant_id and self._flow.tenant_id == NO_TENANT:
                        self._move(tenant_id)
                except Refused as refused:
                    _count(refused)
                    yield refused
                    return
                calls = way.calls(request)
                while True:
                    seconds = self._quotas.wait(*self._flow, calls=calls)
                    if seconds <= 0:
                        break
                    await asyncio.sleep(min(seconds, _LONGEST_PAUSE_SECONDS))
                way.shares.company.saw(self._flow)
            yield request

    def _move(self, tenant_id: str) -> None:
        """Count the call as one of a tenant."""
        self._quotas.name_tenant(tenant_id, self._flow.caller)
        self._flow = Flow(tenant_id, self._flow.caller)


def weight_of(size: int) -> int:
    """Return the weight of a request of so many bytes."""
    return 1 + size // _UNIT_BYTES


def _count(refused: Refused) -> None:
    if "quota" in refused.metadata:
        _REFUSED.labels(quota=refused.metadata["quota"], reason=refused.reason.name).inc()
