"""Own rounds of failover under load: callers post, readers note what they hear, the standby takes over."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

import grpc
from defter.ledger.v1 import journal_pb2

from tests.failover.pair import Pair, until
from tests.support.ledger import Ledger
from tests.support.load import SETUP, Callers, assert_never_below_zero, assert_outcomes_kept, open_players
from tests.support.postgres import memory_folder
from tests.support.service import ServerProcess, serving_process
from tests.support.wire import open_channel

PLAYERS: Final = ("ann", "bob", "cid", "dan")
TENANT: Final = "casino"
CALLERS: Final = 8
_OUTCOMES: Final = 40
# Of a read that is given up and asked again.
_READ_SECONDS: Final = 5.0

Way = Literal["killed", "paused"]


class Round(NamedTuple):
    """How a failover went.

    Attributes:
        seconds: from the moment at which the promotion was asked for until a posting was acknowledged.
        acknowledged_count: postings of all rounds so far.
        told_count: records that readers were told of so far.
    """

    way: Way
    seconds: float
    acknowledged_count: int
    told_count: int


class Readers:
    """What readers were told of the journal, by sequence."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.told: dict[int, bytes] = {}

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read all the time: the head, and the journal as it grows."""
        tasks = [asyncio.create_task(each()) for each in (self._heads, self._watch)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result

    async def _heads(self) -> None:
        async with open_channel(self._port) as channel:
            ledger = Ledger(channel, TENANT)
            while True:
                with suppress(grpc.aio.AioRpcError, TimeoutError):
                    async with asyncio.timeout(_READ_SECONDS):
                        tenant = await ledger.tenant()
                    self._tell(tenant.head_sequence, tenant.head_chain_hash)
                await asyncio.sleep(0.01)  # lets others call

    async def _watch(self) -> None:
        newest = 0
        async with open_channel(self._port) as channel:
            stubs = Ledger(channel, TENANT).stubs
            while True:
                request = journal_pb2.WatchJournalRequest(tenant_id=TENANT, after_sequence=newest)
                with suppress(grpc.aio.AioRpcError):
                    async for message in stubs.journal.WatchJournal(request):
                        for entry in message.entries:
                            newest = entry.sequence
                            self._tell(newest, entry.chain_hash)
                await asyncio.sleep(0.05)  # the server is away for a moment

    def _tell(self, sequence: int, chain_hash: bytes) -> None:
        assert self.told.setdefault(sequence, chain_hash) == chain_hash, f"record {sequence} was told twice"


@contextmanager
def running_pair() -> Iterator[Pair]:
    """Run a pair of hosts in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="defter-failover-", dir=memory_folder()))
    pair = Pair(folder)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Failover:
    """A server over a pair of hosts, its callers and its readers."""

    def __init__(self, pair: Pair, process: ServerProcess, randomness: random.Random) -> None:
        self.pair = pair
        self.callers = Callers(TENANT, [process.port], accounts=PLAYERS, randomness=randomness)
        self.readers = Readers(process.port)
        self._process = process

    @classmethod
    @asynccontextmanager
    async def under_load(
        cls, pair: Pair, *, log_file: Path, randomness: random.Random
    ) -> AsyncIterator[Failover]:
        """Run a server on the pair while callers post and readers read; behind the block all have ended."""
        async with serving_process(pair.url, log_file=log_file) as process:
            async with open_channel(process.port) as channel:
                ledger = Ledger(channel, TENANT, key_prefix=SETUP)
                await ledger.create()
                await open_players(ledger, PLAYERS, each=1_000)
            failover = cls(pair, process, randomness)
            async with failover.readers.reading(), failover.callers.calling(CALLERS):
                try:
                    await failover.callers.wait_for(_OUTCOMES)
                    yield failover
                except BaseException:
                    failover.callers.give_up()  # there may never be an answer
                    raise
            await failover.assert_nothing_lost()

    async def round(self, way: Way) -> Round:
        """Lose the primary, promote the standby and wait until the service is back."""
        old = self.pair.primary
        await asyncio.to_thread(old.kill if way == "killed" else old.stand_still)
        begun = await asyncio.to_thread(self.pair.promote)
        await self.callers.wait_for(1)
        seconds = time.monotonic() - begun
        if way == "paused":
            # It wakes up as a primary that knows nothing of what happened, and the server leaves it alone.
            await asyncio.to_thread(old.go_on)
        await self.callers.wait_for(_OUTCOMES)
        return Round(way, seconds, len(self.callers.posted), len(self.readers.told))

    async def until_logged(self, text: str) -> None:
        """Wait until the server has logged something."""
        logged = self._process.log_file.read_text
        await asyncio.to_thread(until, lambda: text in logged(), f"not logged: {text}")

    async def assert_nothing_lost(self) -> None:
        """Check what callers and readers were told against the journal.

        Raises:
            AssertionError: an acknowledged posting was lost or doubled, or a record that was told is gone.
        """
        async with open_channel(self._process.port) as channel:
            ledger = Ledger(channel, TENANT)
            await assert_outcomes_kept(ledger, self.callers)
            await assert_never_below_zero(ledger, PLAYERS)
            kept = {entry.sequence: entry.chain_hash for entry in await ledger.entries()}
            lost = {sequence for sequence, told in self.readers.told.items() if kept.get(sequence) != told}
            assert not lost, f"records {sorted(lost)} were told and are gone"
            assert not (await ledger.verify()).HasField("first_difference")
