"""Own the proof that windows of time show everything once while processes write, stand still and go on."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import grpc
from defter.ledger.v1 import account_pb2, posting_pb2

from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import LARGEST_PAGE, Ledger
from tests.support.load import SETUP, Callers, open_players
from tests.support.randomness import SEED
from tests.support.requests import timestamp
from tests.support.service import serving_process
from tests.support.wire import open_channel, read_refusal

PLAYERS = ("ann", "bob", "cid", "dan")
CALLERS = 16
STOPS = 8
# Asked for at no lag and at a little: of both, records may be on their way.
LATEST_SECONDS = 0.05

AnswerT = TypeVar("AnswerT")


async def patiently(call: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
    """Ask until the instant is final."""
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if read_refusal(error).reason != "NOT_YET_RECORDED":
                raise


class Exporter:
    """Reads windows that follow one another, each up to now, and balances at instants just past."""

    def __init__(self, ledger: Ledger, begin: datetime) -> None:
        self.seen: Counter[str] = Counter()
        self.answers: list[tuple[account_pb2.GetBalanceRequest, account_pb2.GetBalanceResponse]] = []
        self._ledger = ledger
        self._begin = self._end = begin
        self._stopping = False
        self._random = random.Random(SEED)

    async def read_window(self) -> None:
        """Read from the end of the window before until now."""
        begin, self._end = self._end, datetime.now(UTC)
        request = posting_pb2.ListTransactionsRequest(
            tenant_id=self._ledger.tenant_id,
            start_time=timestamp(begin),
            end_time=timestamp(self._end),
            page_size=LARGEST_PAGE,
        )
        while True:
            page = await patiently(lambda: self._ledger.stubs.postings.ListTransactions(request))
            self.seen.update(each.transaction_id for each in page.transactions)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def read_balance(self) -> None:
        """Read a balance, and remember the answer."""
        lag = timedelta(seconds=self._random.uniform(0, LATEST_SECONDS))
        moment = max(self._begin, datetime.now(UTC) - lag)
        request = account_pb2.GetBalanceRequest(
            tenant_id=self._ledger.tenant_id,
            account_id=self._random.choice(PLAYERS),
            time=timestamp(moment),
        )
        self.answers.append((request, await self._balance(request)))

    async def assert_answers_stand(self) -> None:
        """Asked again, every instant has the same balance."""
        for request, answer in self.answers:
            assert await self._balance(request) == answer

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read on and on; at the end the last window is read to its end."""
        tasks = [asyncio.create_task(self._again(read)) for read in (self.read_window, self.read_balance)]
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def _again(self, read: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping:
            await read()

    async def _balance(self, request: account_pb2.GetBalanceRequest) -> account_pb2.GetBalanceResponse:
        return await patiently(lambda: self._ledger.stubs.accounts.GetBalance(request))


async def test_export_by_windows_at_no_lag_shows_each_transaction_once(
    database_url: str, tmp_path: Path
) -> None:
    """Sixteen callers, two processes, one of them stopped and continued at random."""
    chance = random.Random(SEED)
    async with (
        serving_process(database_url, log_file=tmp_path / "first.log") as first,
        serving_process(database_url, log_file=tmp_path / "second.log") as second,
        open_channel(first.port) as channel,
    ):
        ledger = Ledger(channel, "casino", key_prefix=SETUP)
        await ledger.create()
        await open_players(ledger, PLAYERS, each=100_000)
        exporter = Exporter(ledger, begin=datetime.now(UTC))
        sides = [
            Callers("casino", [process.port], accounts=PLAYERS, randomness=chance, name=name)
            for name, process in (("first", first), ("second", second))
        ]
        going, stopped = sides
        async with exporter.reading(), going.calling(CALLERS // 2), stopped.calling(CALLERS // 2):
            for _ in range(STOPS):
                await stopped.wait_for(chance.randint(1, 30))
                second.send_signal(signal.SIGSTOP)
                await going.wait_for(chance.randint(1, 60))
                second.send_signal(signal.SIGCONT)
        await exporter.read_window()

        posted = [each.transaction_id for side in sides for each in side.posted.values()]
        assert not [side.refused for side in sides if side.refused]
        assert exporter.seen == Counter(posted)
        assert exporter.answers
        await exporter.assert_answers_stand()
        await assert_ledger_coherent(ledger)
