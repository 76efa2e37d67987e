"""Owns what each call passes before it is decided or queued: its quotas, and its share of the process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor
from msgspec import Struct
from prometheus_client import Counter

from ledger_server.domain.errors import Reason, Refused
from ledger_server.engine import metrics
from ledger_server.engine.fair_gate import Company, FairGate, Flow, flow_of
from ledger_server.identity.quotas import Counted, Quotas
from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.tenant_scope import tenant_reader
from ledger_server.rpc.violations import MAX_BATCH

SIZE: ContextVar[int] = ContextVar("SIZE", default=0)
"""The bytes of the message that the task at work has taken last.

To ask a large message for its size would make its bytes anew.
"""

NO_TENANT: Final = ""
"""Stands for the tenant of methods that are of none, and of streams whose first message has not come."""

VERIFY: Final = "VerifyJournal"
_READS: Final = ("Get", "BatchGet", "Reveal")
_LISTS: Final = ("Count", "List", "GetTrialBalance")
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
        if self._items is None:
            return 1
        count = len(getattr(request, self._items))
        return count if 1 <= count <= MAX_BATCH else 1

    def begin(self, request: Any, tenant_id: str | None, caller: str) -> "Passage":
        """Admit a call by its quotas and the budget, and have it let in by its gate.

        Args:
            request: a message, or the messages of a stream, whose tenant its first message names.
            tenant_id: what the message says.
            caller: the identity; empty on an open server.
        Raises:
            QuotaRateExceeded, QuotaCallsUnderWay, QuotaBytesUnderWay, QuotaReadsWaiting, ServerFull: nothing
                was counted.
        """
        if self.is_stream or (caller and self.is_followed):
            tenant_id = None
        flow = flow_of(tenant_id or NO_TENANT, caller)
        if self.is_stream:
            size = calls = 0
        else:
            size, calls = SIZE.get(), 1 if self._items is None else self.calls(request)
        # This is for every call: what usually does nothing is looked at here.
        company = self.shares.company
        counted: Counted | None = None
        try:
            counted = self.shares.quotas.begin(flow, calls=calls, size=size)
            if company.newest is not flow:
                company.saw(flow)
            self.budget.enter(size)
            try:
                weight = 1 + size // _UNIT_BYTES  # as `weight_of`
                waits = None if self.gate is None else self.gate.enter(flow, weight)
            except Refused:
                self.budget.leave(size)
                raise
        except Refused as refused:
            if counted is not None:
                self.shares.quotas.end(counted, size=size)
            _count(refused)
            raise
        passage = Passage(self, flow, counted, size, weight, waits, request)
        if self.is_stream:
            passage.request = Metered(request, self, passage)
        return passage


class Passage(Struct):
    """A call that its quotas have admitted: it counts as under way until `end`.

    Attributes:
        size: of the message, in bytes; a stream counts its messages itself.
        waits: what the call has to await before it is begun, if anything.
        request: the message, or the messages as fast as the quotas allow.
    """

    _way: Way
    _flow: Flow
    _counted: Counted
    size: int
    _weight: int
    waits: "asyncio.Future[None] | None"
    request: Any

    def end(self) -> None:
        """Count the call no more, and let in another one."""
        way, size = self._way, self.size
        if way.gate is not None:
            way.gate.leave(self._flow, self._weight, self.waits)
        way.budget.leave(size)
        way.shares.quotas.end(self._counted, size=size)
        self.request = None  # a stream's messages refer to this

    def name_tenant(self, tenant_id: str) -> None:
        """Count a stream as a call of the tenant that its first message names.

        Raises:
            QuotaCallsUnderWay: the tenant has no room for one more; nothing was changed.
        """
        try:
            self._counted = self._way.shares.quotas.name_tenant(self._counted, tenant_id)
        except Refused as refused:
            _count(refused)
            raise
        self._flow = flow_of(tenant_id, self._flow.caller)

    def has_rate(self) -> bool:
        """Whether the messages of the stream are counted in a rate, as the quotas have it now."""
        self._way.shares.company.saw(self._flow)
        return self._way.shares.quotas.has_rate(self._counted)

    def take_in(self, calls: int) -> float:
        """Count a message of the stream, or return for how many seconds its quotas have it wait."""
        return self._way.shares.quotas.wait(self._counted, calls=calls)


class Metered:
    """The messages of a stream, no faster than its quotas allow: who sends more is read later.

    If a stream's tenant has no room for it, the refusal comes in place of the first message, as of a broken
    one, and nothing comes after it.
    """

    def __init__(self, messages: AsyncIterator[Any], way: Way, passage: Passage) -> None:
        self._messages = aiter(messages)
        self._way = way
        self._passage = passage
        self._is_named = False

    def __aiter__(self) -> "Metered":
        """Return the messages."""
        return self

    def __anext__(self) -> Awaitable[Any]:
        """Return the next message, or the refusal of one."""
        if self._is_named and not self._passage.has_rate():
            return self._messages.__anext__()
        return self._counted_next()

    async def _counted_next(self) -> Any:
        message = await anext(self._messages)
        if isinstance(message, Refused):
            return message
        if not self._is_named and (tenant_id := self._way.tenant_of(message)):
            try:
                self._passage.name_tenant(tenant_id)
            except Refused as refused:
                self._messages = _nothing()
                return refused
            self._is_named = True
        calls = self._way.calls(message)
        while True:
            seconds = self._passage.take_in(calls)
            if seconds <= 0:
                return message
            await asyncio.sleep(min(seconds, _LONGEST_PAUSE_SECONDS))


async def _nothing() -> AsyncIterator[Any]:
    nothing: tuple[Any, ...] = ()
    for each in nothing:
        yield each


def weight_of(size: int) -> int:
    """Return the weight of a request of so many bytes."""
    return 1 + size // _UNIT_BYTES


def _count(refused: Refused) -> None:
    if "quota" in refused.metadata:
        _REFUSED.labels(quota=refused.metadata["quota"], reason=refused.reason.name).inc()
