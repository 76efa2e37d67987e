"""Owns one call of StreamTransactions: items in, results out in the same order, with back-pressure."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from defter.ledger.v1 import posting_pb2

from ledger_server.domain.errors import FieldMalformed, LaneFull, Refused, ShuttingDown
from ledger_server.engine.fair_gate import FairGate, Flow, flow_of
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.guard import caller_now
from ledger_server.rpc.outcomes import item_result, results_message
from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.requests import RequestReader, check_batch_size, check_tenant
from ledger_server.rpc.shares import SIZE, weight_of
from ledger_server.rpc.violations import MAX_KEY

# Items of one stream that may wait for their commit; with more the stream is not read on, so that the
# transport's flow control slows the sender down (back-pressure).
_MAX_UNANSWERED: Final = 4_096
_MAX_UNANSWERED_BYTES: Final = 4 * 1024 * 1024
# The bytes of one response: enough that writing it costs little, and so few that gRPC, which takes one or two
# off our hands whether or not the caller reads, holds little of a caller who does not.
_MAX_RESULTS: Final = 1_000
_MAX_BYTES: Final = 128 * 1024
_LANE_FULL_PAUSE: Final = 0.01


class _Message:
    """One message's items: their keys, what was wrong with them, and the future of the rest.

    Attributes:
        weight: in the gate.
        size: of the message, in bytes.
        future: of the requests, once they wait in the lane; None if there are none.
    """

    __slots__ = ("future", "keys", "refused", "size", "weight")

    def __init__(self, keys: Sequence[str], refused: dict[int, Refused], weight: int, size: int) -> None:
        self.keys = keys
        self.refused = refused
        self.weight = weight
        self.size = size
        self.future: asyncio.Future[list[Outcome]] | None = None

    @property
    def answered(self) -> bool:
        return self.future is None or self.future.done()

    def results(self) -> list[bytes]:
        """Return the items' results in order; all are decided, or the work as a whole has failed."""
        outcomes: list[Outcome] = []
        failed: Refused | None = None
        if self.future is not None:
            try:
                outcomes = self.future.result()
            except Refused as refused:
                failed = refused
        decided = iter(outcomes)
        return [
            item_result(
                key,
                Outcome(None, refused=self.refused.get(index) or failed)
                if index in self.refused or failed is not None
                else next(decided),
            )
            for index, key in enumerate(self.keys)
        ]


class TransactionStream:
    """Reads items into the tenant's lane while it writes results."""

    def __init__(
        self,
        ledger: CallersLedger,
        reader: RequestReader,
        budget: RequestBudget,
        gate: FairGate,
        *,
        deadline: float | None,
    ) -> None:
        """Take what lets messages in, and the call's deadline.

        Args:
            deadline: in the event loop's time; items that have not begun by then never do.
        """
        self._budget = budget
        self._gate = gate
        self._caller = caller_now()
        self._ledger = ledger
        self._reader = reader
        self._deadline = deadline
        self._draining = False
        self._ended = False
        self._tenant_id = ""
        self._results: deque[bytes] = deque()
        self._messages: deque[_Message] = deque()
        self._unanswered = 0
        self._unanswered_bytes = 0
        # Of these the bytes of the requests whose results are not all written.
        self._unwritten_bytes = 0
        # Those in work: each has its weight in the gate until it is decided.
        self._in_work: deque[_Message] = deque()
        self._flow = Flow("", "")
        self._room = asyncio.Event()
        self._arrived = asyncio.Event()

    async def run(
        self, requests: AsyncIterator[posting_pb2.StreamTransactionsRequest]
    ) -> AsyncIterator[bytes]:
        """Yield results until the sender has finished and everything is answered."""
        reading = asyncio.create_task(self._read(requests))
        reading.add_done_callback(lambda _: self._arrived.set())
        idle = False
        try:
            while True:
                self._arrived.clear()
                if self._messages or self._results:
                    yield await self._next_results()
                    self._written()
                elif reading.done():
                    break
                elif self._draining:
                    idle = True
                    raise ShuttingDown
                else:
                    await self._arrived.wait()
            reading.result()  # the error that broke the stream is told after all results
        finally:
            self._ended = True
            if idle:
                # The task waits for gRPC, which ends it when the call has ended; it begins no more work.
                reading.add_done_callback(_heed)
            else:
                reading.cancel()
            # Nobody waits for these items any more. Items that have not begun are dropped, as for a single
            # call.
            for message in self._messages:
                if message.future is not None:
                    message.future.cancel()
            self._budget.leave(self._unanswered_bytes)
            self._unanswered_bytes = 0

    def drain(self) -> None:
        """End the stream as soon as every item that came in is answered."""
        self._draining = True
        self._arrived.set()

    async def _read(self, requests: AsyncIterator[posting_pb2.StreamTransactionsRequest]) -> None:
        async for request in requests:
            if self._ended:
                return
            # A broken message arrives as the refusal that explains it.
            broken: object = request
            if isinstance(broken, Refused):
                raise broken
            self._check_tenant(request.tenant_id)
            check_batch_size(len(request.items))
            while self._unanswered >= _MAX_UNANSWERED or self._unanswered_bytes >= _MAX_UNANSWERED_BYTES:
                self._room.clear()
                await self._room.wait()
            size = SIZE.get()
            weight = weight_of(size)
            waits = self._gate.enter(self._flow, weight)
            has_room = waits is None and self._budget.enter_if_room(size)
            if not has_room and not await self._enter_patiently(size, weight, waits):
                return
            self._unanswered_bytes += size
            message: _Message | None = None
            try:
                message, wanted = self._read_items(request.items, weight, size)
                if wanted:
                    message.future = await self._enqueue(wanted)
            finally:
                if message is None or message.future is None:
                    self._gate.leave(self._flow, weight)
                else:
                    self._work(message, message.future)
            self._messages.append(message)
            self._unanswered += len(message.keys)
            self._arrived.set()

    async def _enter_patiently(self, size: int, weight: int, waits: "asyncio.Future[None] | None") -> bool:
        """Wait until there is room for a message; return False if the stream has ended meanwhile."""
        entered = False
        try:
            if waits is not None:
                await waits
            await self._budget.enter_patiently(size)
            if self._ended:
                self._budget.leave(size)
            else:
                entered = True
        finally:
            if not entered:
                self._gate.leave(self._flow, weight, waits)
        return entered

    def _work(self, message: _Message, future: "asyncio.Future[list[Outcome]]") -> None:
        """Have other messages let in once this one is decided, however slow the reader of the results is.

        A commit decides many at once, so the eldest alone is listened to.
        """
        self._in_work.append(message)
        if len(self._in_work) == 1:
            future.add_done_callback(self._decided)

    def _decided(self, _: object) -> None:
        weight = 0
        while self._in_work and self._in_work[0].answered:
            weight += self._in_work.popleft().weight
        self._gate.leave(self._flow, weight)
        if self._in_work and (eldest := self._in_work[0].future) is not None:
            eldest.add_done_callback(self._decided)

    def _check_tenant(self, tenant_id: str) -> None:
        if not self._tenant_id:
            check_tenant(tenant_id)
            self._tenant_id = tenant_id
            self._flow = flow_of(tenant_id, self._caller)
        elif tenant_id != self._tenant_id:
            raise FieldMalformed(field="tenant_id")

    def _read_items(
        self, items: Sequence[posting_pb2.PostTransactionItem], weight: int, size: int
    ) -> tuple[_Message, Sequence[Request]]:
        """Return a message, and those of its items that may be decided."""
        keys: list[str] = []
        refused: dict[int, Refused] = {}
        requests: list[Request] = []
        for index, item in enumerate(items):
            # An invalid key is not repeated in full, since the results of other items share the message.
            keys.append(item.idempotency_key[:MAX_KEY])
            try:
                requests.append(
                    self._reader.post_item(item.idempotency_key, item.transaction, f"items[{index}].")
                )
            except Refused as broken:
                refused[index] = broken
        return _Message(keys, refused, weight, size), requests

    async def _enqueue(self, requests: Sequence[Request]) -> "asyncio.Future[list[Outcome]]":
        while True:
            try:
                return self._ledger.enqueue(self._tenant_id, requests, deadline=self._deadline)
            except LaneFull:
                # A stream gets no refusal: not reading on is the answer (back-pressure).
                await asyncio.sleep(_LANE_FULL_PAUSE)
                if self._ended:
                    raise ShuttingDown from None

    async def _next_results(self) -> bytes:
        """Return the next decided results, as many as fit into one response."""
        if not self._results:
            first = self._messages[0]
            if first.future is not None and not first.answered:
                await asyncio.wait({first.future})
        while self._messages and self._messages[0].answered and len(self._results) < _MAX_RESULTS:
            message = self._messages.popleft()
            self._unanswered -= len(message.keys)
            self._unwritten_bytes += message.size
            self._results += message.results()
        results: list[bytes] = []
        size = 0
        while self._results and size < _MAX_BYTES and len(results) < _MAX_RESULTS:
            result = self._results.popleft()
            size += len(result)
            results.append(result)
        return results_message(results)

    def _written(self) -> None:
        """Give back the room of requests once the last of their results is written, which are larger."""
        if not self._results:
            self._unanswered_bytes -= self._unwritten_bytes
            self._budget.leave(self._unwritten_bytes)
            self._unwritten_bytes = 0
        self._room.set()


def _heed(reading: "asyncio.Task[None]") -> None:
    """Retrieve the result of the reading task; the end of the stream is no error."""
    if not reading.cancelled():
        reading.exception()


class Drained(Protocol):
    """A call that a drain has to end."""

    def drain(self) -> None:
        """End the call as soon as what has begun is answered."""


class Streams:
    """The calls of this process that are streams, so that a drain can end those that are idle."""

    def __init__(self, budget: RequestBudget, gate: FairGate) -> None:
        self.budget: Final = budget
        self.gate: Final = gate
        self._open: set[Drained] = set()
        self._draining = False

    @contextmanager
    def open(self, stream: Drained) -> Iterator[None]:
        """Know a stream for as long as its call lasts."""
        self._open.add(stream)
        if self._draining:
            stream.drain()
        try:
            yield
        finally:
            self._open.discard(stream)

    def drain(self) -> None:
        """End every stream, also later ones, once all items that came in by it are answered."""
        self._draining = True
        for stream in self._open:
            stream.drain()
