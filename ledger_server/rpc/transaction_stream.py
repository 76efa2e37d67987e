"""Owns one call of StreamTransactions: items in, results out in the same order, with back-pressure."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final

from defter.ledger.v1 import posting_pb2

from ledger_server.domain.errors import FieldMalformed, LaneFull, Refused
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.work import Outcome, Request
from ledger_server.rpc.outcomes import item_result, results_message
from ledger_server.rpc.requests import RequestReader, check_batch_size, check_tenant

# Items of one stream that may wait for their commit; beyond that the stream is not read on, and the
# transport's flow control slows the sender down.
_MAX_UNANSWERED: Final = 4_096
_MAX_RESULTS: Final = 1_000
_LANE_FULL_PAUSE: Final = 0.01


class _Message:
    """One message's items: their keys, what was wrong with them, and the future of the rest."""

    __slots__ = ("future", "keys", "refused")

    def __init__(
        self,
        keys: Sequence[str],
        refused: dict[int, Refused],
        future: "asyncio.Future[list[Outcome]] | None",
    ) -> None:
        self.keys = keys
        self.refused = refused
        self.future = future

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

    def __init__(self, ledger: Ledger, reader: RequestReader) -> None:
        self._ledger = ledger
        self._reader = reader
        self._tenant_id = ""
        self._messages: deque[_Message] = deque()
        self._unanswered = 0
        self._room = asyncio.Event()
        self._arrived = asyncio.Event()

    async def run(
        self, requests: AsyncIterator[posting_pb2.StreamTransactionsRequest]
    ) -> AsyncIterator[bytes]:
        """Yield results until the sender has finished and everything is answered."""
        reading = asyncio.create_task(self._read(requests))
        reading.add_done_callback(lambda _: self._arrived.set())
        try:
            while True:
                self._arrived.clear()
                if self._messages:
                    yield await self._next_results()
                elif reading.done():
                    break
                else:
                    await self._arrived.wait()
            reading.result()  # whatever broke the stream is told after all results
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[posting_pb2.StreamTransactionsRequest]) -> None:
        async for request in requests:
            # A broken message arrives as the refusal that explains it.
            broken: object = request
            if isinstance(broken, Refused):
                raise broken
            self._check_tenant(request.tenant_id)
            check_batch_size(len(request.items))
            while self._unanswered >= _MAX_UNANSWERED:
                self._room.clear()
                await self._room.wait()
            self._messages.append(await self._enqueue(request.items))
            self._unanswered += len(request.items)
            self._arrived.set()

    def _check_tenant(self, tenant_id: str) -> None:
        if not self._tenant_id:
            check_tenant(tenant_id)
            self._tenant_id = tenant_id
        elif tenant_id != self._tenant_id:
            raise FieldMalformed(field="tenant_id")

    async def _enqueue(self, items: Sequence[posting_pb2.PostTransactionItem]) -> _Message:
        keys: list[str] = []
        refused: dict[int, Refused] = {}
        requests: list[Request] = []
        for index, item in enumerate(items):
            keys.append(item.idempotency_key)
            try:
                requests.append(
                    self._reader.post_item(item.idempotency_key, item.transaction, f"items[{index}].")
                )
            except Refused as broken:
                refused[index] = broken
        if not requests:
            return _Message(keys, refused, None)
        while True:
            try:
                future = self._ledger.enqueue(self._tenant_id, requests)
            except LaneFull:
                # A stream has no need to be told: not reading on is the answer.
                await asyncio.sleep(_LANE_FULL_PAUSE)
            else:
                return _Message(keys, refused, future)

    async def _next_results(self) -> bytes:
        """Return the results of the next message and of those behind it that are answered too."""
        first = self._messages[0]
        if first.future is not None and not first.answered:
            await asyncio.wait({first.future})
        results: list[bytes] = []
        while self._messages and self._messages[0].answered and len(results) < _MAX_RESULTS:
            message = self._messages.popleft()
            self._unanswered -= len(message.keys)
            results += message.results()
        self._room.set()
        return results_message(results)
