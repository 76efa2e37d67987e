"""Own callers that keep posting and, if an answer is lost, ask again with the same key."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
from defter.ledger.v1 import journal_pb2, posting_pb2

from tests.support.ledger import Ledger
from tests.support.requests import transfer
from tests.support.wire import Refusal, open_channel, read_refusal

# Reasons that leave the outcome open, or ask the caller to come back.
COME_BACK = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
CALL_TIMEOUT_SECONDS = 30
PROGRESS_TIMEOUT_SECONDS = 120
# The prefix of the keys that a test uses before its callers start.
SETUP = "setup"


class Callers:
    """Many callers of one tenant; the answers are kept by key."""

    def __init__(
        self,
        tenant_id: str,
        ports: Sequence[int],
        *,
        accounts: Sequence[str],
        randomness: random.Random,
        patient: bool = True,
        name: str = "caller",
    ) -> None:
        """Describe callers.

        Args:
            ports: of the servers; each caller talks to one of them.
            accounts: between any two of which money is moved.
            patient: whether a caller asks again until it hears what was decided; otherwise it keeps
                the key as unanswered and goes on.
            name: the prefix of these callers' keys.
        """
        self.posted: dict[str, posting_pb2.Transaction] = {}
        self.refused: dict[str, Refusal] = {}
        self.unanswered: dict[str, posting_pb2.PostTransactionRequest] = {}
        self.retry_count = 0
        self._tenant_id = tenant_id
        self._ports = ports
        self._accounts = accounts
        self._randomness = randomness
        self._patient = patient
        self._name = name
        self._stopping = False
        self._progress = asyncio.Condition()

    @property
    def answered_count(self) -> int:
        """How many keys have their outcome."""
        return len(self.posted) + len(self.refused)

    @asynccontextmanager
    async def calling(self, count: int) -> AsyncIterator[None]:
        """Let that many callers post; at the end each one finishes the request that it has begun."""
        tasks = [
            asyncio.create_task(self._call_on(f"{self._name}-{n}", self._ports[n % len(self._ports)]))
            for n in range(count)
        ]
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def run(self, count: int, *, each: int) -> None:
        """Let that many callers post that many transactions each."""
        await asyncio.gather(
            *(
                self._call_on(f"{self._name}-{n}", self._ports[n % len(self._ports)], limit=each)
                for n in range(count)
            )
        )

    async def wait_for(self, more: int) -> None:
        """Wait until so many more keys have their outcome."""
        goal = self.answered_count + more
        async with asyncio.timeout(PROGRESS_TIMEOUT_SECONDS), self._progress:
            await self._progress.wait_for(lambda: self.answered_count >= goal)

    async def ask_again(self, ledger: Ledger) -> None:
        """Ask once more for every key that has not heard its outcome."""
        unanswered, self.unanswered = self.unanswered, {}
        for request in unanswered.values():
            await self._ask(ledger, request)

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping = True

    def give_up(self) -> None:
        """Begin nothing new, and ask no more for what was not answered."""
        self.stop()
        self._patient = False

    async def _call_on(self, name: str, port: int, *, limit: int | None = None) -> None:
        async with open_channel(port) as channel:
            ledger = Ledger(channel, self._tenant_id, key_prefix=name)
            while not self._stopping and limit != 0:
                debit, credit = self._randomness.sample(self._accounts, 2)
                amount = self._randomness.randint(1, 40)
                request = ledger.post_request(transfer(debit, credit, amount))
                await self._ask(ledger, request)
                limit = None if limit is None else limit - 1

    async def _ask(self, ledger: Ledger, request: posting_pb2.PostTransactionRequest) -> None:
        key = request.idempotency_key
        while True:
            try:
                response = await ledger.stubs.postings.PostTransaction(request, timeout=CALL_TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError as error:
                refusal = read_refusal(error)
                if error.code() not in COME_BACK:
                    self.refused[key] = refusal
                elif self._patient:
                    self.retry_count += 1
                    # Lets other work run; the duration does not matter.
                    await asyncio.sleep(0.01)
                    continue
                else:
                    self.unanswered[key] = request
            else:
                self.posted[key] = response.transaction
            break
        async with self._progress:
            self._progress.notify_all()


async def open_players(ledger: Ledger, names: Sequence[str], *, each: int) -> None:
    """Open accounts that may not go below zero, with some money on each."""
    await ledger.open_house()
    for name in names:
        await ledger.open(name)
        await ledger.fund(name, each)


async def assert_outcomes_kept(ledger: Ledger, callers: Callers) -> None:
    """Every answer to a caller stands in the journal exactly once, and nothing else does.

    Raises:
        AssertionError: an acknowledged outcome was lost, changed, doubled or made up.
    """
    records: dict[str, journal_pb2.JournalRecord] = {}
    for entry in await ledger.entries():
        key = entry.record.request.idempotency_key
        # Where an epoch begins, nobody has asked for the record.
        if key in {"", "create"} or key.startswith(SETUP):
            continue
        assert key not in records, "a key has one outcome"
        records[key] = entry.record
    posted = {
        key: record.transaction_posted
        for key, record in records.items()
        if record.HasField("transaction_posted")
    }
    refused = {
        key: record.request_rejected.message
        for key, record in records.items()
        if record.HasField("request_rejected")
    }
    assert posted == callers.posted
    assert refused == {key: refusal.message for key, refusal in callers.refused.items()}


async def assert_never_below_zero(ledger: Ledger, names: Sequence[str]) -> None:
    """No line of these accounts' statements shows less than nothing available."""
    for name in names:
        lines = await ledger.statement(name)
        assert min(line.balance.available_balance_minor for line in lines) >= 0, name
