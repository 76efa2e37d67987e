"""Own the proof that nothing is told, or paid out, which a failover might take back.

The synchronous standby is away, so commits wait. Then their wait is cut short, in each way that there is: the
commit is seen on the primary by every session, and nobody knows whether it lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg
import grpc
import pytest
from defter.ledger.v1 import journal_pb2

from ledger_server.process.running import close
from ledger_server.providers.adapter import Answer, ProviderCall
from ledger_server.providers.sending import Proof
from ledger_server.store import connections
from ledger_server.store.connections import NotReplicated
from ledger_server.store.database import AnyConnection, Pool, open_pool
from ledger_server.store.migrate import APPLICATION_ROLE
from tests.support.cashier import Cashier
from tests.support.coherence import assert_ledger_coherent
from tests.support.database_proxy import proxied
from tests.support.fake_provider import PROVIDER, FakeAdapter, fake_providers
from tests.support.ledger import Ledger
from tests.support.postgres import Databases, running_postgres
from tests.support.service import Service, serving
from tests.support.standby import Standby

# How long a reader is given to tell what it must not. On a slow machine it has less to tell, never more.
READ_SECONDS = 2.0
RECORDS = "SELECT count(*) FROM journal"

Way = Callable[[Standby, Service], Awaitable[None]]
Read = Callable[[Ledger], Awaitable[bool]]


@pytest.fixture(scope="module")
def own_databases() -> Iterator[Databases]:
    """A PostgreSQL that no other test uses: its settings are changed."""
    with running_postgres() as server, Databases(server) as found:
        found.make_template()
        yield found


@pytest.fixture
def url(own_databases: Databases) -> Iterator[str]:
    """A fresh, migrated database there."""
    with own_databases.fresh() as found:
        yield found


@pytest.fixture
async def standby(url: str) -> AsyncIterator[Standby]:
    """The standby, which is there until a test says otherwise."""
    owner = await asyncpg.connect(url)
    found = Standby(url, owner)
    try:
        yield found
    finally:
        await found.return_()
        await owner.close()


async def told(read: Awaitable[bool]) -> bool:
    """Whether a reader tells what it must not within its time."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await read
    except (TimeoutError, grpc.aio.AioRpcError):
        return False


async def watched(ledger: Ledger) -> bool:
    """Whether a watch tells of the last posting."""
    request = journal_pb2.WatchJournalRequest(tenant_id=ledger.tenant_id, after_sequence=0)
    async for message in ledger.stubs.journal.WatchJournal(request):
        if any(entry.record.WhichOneof("fact") == "transaction_posted" for entry in message.entries):
            return True
    return False


async def verified(ledger: Ledger) -> bool:
    """Whether the verification tells of it."""
    return (await ledger.verify()).posting_count > 0


async def known_outcome(ledger: Ledger) -> bool:
    """Whether its key has an outcome."""
    return bool((await ledger.outcome("PostTransaction", "bet")).sequence)


async def replayed(ledger: Ledger) -> bool:
    """Whether a retry is told what was decided."""
    return bool((await ledger.post("house", "ann", 5, key="bet")).transaction_id)


async def balanced(ledger: Ledger) -> bool:
    """Whether the balance has it."""
    return await ledger.posted("ann") == 5


async def summed(ledger: Ledger) -> bool:
    """Whether the trial balance has it."""
    return bool(await ledger.trial_balances())


async def stated(ledger: Ledger) -> bool:
    """Whether the statement has it."""
    return bool(await ledger.statement("ann"))


async def listed(ledger: Ledger) -> bool:
    """Whether the journal has it."""
    return bool(await ledger.records("transaction_posted"))


async def accounted(ledger: Ledger) -> bool:
    """Whether the list of accounts has it."""
    return any(each.balance.posted_balance_minor for each in await ledger.accounts())


async def headed(ledger: Ledger) -> bool:
    """Whether the tenant's head counts it."""
    return await ledger.head() > 3


READS: tuple[Read, ...] = (
    watched,
    verified,
    known_outcome,
    replayed,
    balanced,
    summed,
    stated,
    listed,
    accounted,
    headed,
)


async def cancel(standby: Standby, _: Service) -> None:
    """An operator cancels what hangs."""
    await standby.cut("cancel", proofs=False)


async def terminate(standby: Standby, _: Service) -> None:
    """An operator ends the sessions that hang."""
    await standby.cut("terminate", proofs=False)


async def crash_and_cancel(standby: Standby, service: Service) -> None:
    """The process that waits dies; then somebody cancels what it left behind."""
    await standby.waiting(proofs=False)
    await service.crash()
    await standby.cut("cancel", proofs=False)
    await service.restart()


@pytest.mark.parametrize("way", [cancel, terminate, crash_and_cancel])
async def test_cut_wait_is_told_by_nobody_until_the_standby_is_back(
    url: str, standby: Standby, way: Way
) -> None:
    """Neither the process that committed nor another one tells of it, in whatever way they are asked."""
    async with serving(url) as first, serving(url) as second:
        ledger = await first.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        count = await standby.count(RECORDS)
        await standby.leave()
        posting = asyncio.create_task(ledger.post("house", "ann", 5, key="bet"))
        await way(standby, first)
        await asyncio.wait({posting}, timeout=READ_SECONDS)
        # A crash may end the call from here, which is no answer either.
        assert not posting.done() or posting.cancelled() or posting.exception(), "it was told to its caller"
        assert await standby.count(RECORDS) == count + 1, "it is seen on the primary"

        found = await asyncio.gather(
            *(told(read(service.ledger())) for service in (first, second) for read in READS)
        )

        assert found == [False] * len(found)
        await standby.return_()
        await asyncio.wait({posting})
        if not posting.cancelled():
            posting.exception()
        for service in (first, second):
            for read in READS:
                await standby.until(partial(_told_by, read, service))
            await assert_ledger_coherent(service.ledger())
        assert await standby.count(RECORDS) == count + 1


async def test_what_a_process_has_committed_itself_is_told_while_the_standby_is_away(
    url: str, standby: Standby
) -> None:
    """It was confirmed then; only what nobody has confirmed is held back."""
    async with serving(url) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        await ledger.post("house", "ann", 5, key="bet")
        await standby.leave()

        # A retry locks the tenant's head, and so does a commit of its own, which waits.
        reads = [read for read in READS if read is not replayed]
        assert [await read(ledger) for read in reads] == [True] * len(reads)


async def _told_by(read: Read, service: Service) -> bool:
    return await told(read(service.ledger()))


class CountingAdapter(FakeAdapter):
    """Counts the calls that reach the provider."""

    def __init__(self) -> None:
        super().__init__()
        self.call_count = 0

    async def call(self, call: ProviderCall, proof: Proof) -> Answer:
        """Take the call on."""
        answer = await super().call(call, proof)
        self.call_count += 1
        return answer


async def test_payout_waits_for_the_standby(url: str, standby: Standby) -> None:
    """An approval that a failover may take back sends nothing; later one payout is sent."""
    provider = CountingAdapter()
    async with (
        serving(url, providers=fake_providers(), dispatch_sweep_seconds=1e6) as first,
        serving(url, providers={PROVIDER: provider}, dispatch_sweep_seconds=0.05),
    ):
        ledger = await first.new_ledger()
        await ledger.open_house()
        cashier = Cashier(ledger)
        await cashier.captured(500)
        withdrawal = await cashier.request(100)
        await standby.leave()
        approving = asyncio.create_task(cashier.approve(withdrawal.withdrawal_id, key="approve"))
        while not await standby.count("SELECT count(*) FROM outbox"):  # another commit may wait first
            await standby.cut("cancel", proofs=False)
        for _ in range(3):  # whoever waits now, for a proof or a claim, gets no further by a cut
            await standby.cut("cancel")
        assert await standby.count("SELECT count(*) FROM outbox") == 1
        assert provider.call_count == 0

        await standby.return_()

        with suppress(grpc.aio.AioRpcError):
            await approving
        await standby.until(partial(_has_called, provider))
        await cashier.until_called()
        assert provider.call_count == 1


async def _has_called(provider: CountingAdapter) -> bool:
    return provider.call_count > 0


async def by_one_statement(connection: AnyConnection, number: int) -> None:
    """A statement that commits by itself, as small batches are."""
    await connection.fetchval(f"INSERT INTO marks VALUES ({number}) RETURNING number")


async def by_commit(connection: AnyConnection, number: int) -> None:
    """The COMMIT of several statements, as large batches are."""
    await connection.execute("BEGIN")
    await connection.copy_records_to_table("marks", records=[(number,)])
    await connection.execute("COMMIT")


async def by_block(connection: AnyConnection, number: int) -> None:
    """A block that is a database transaction, as jobs use."""
    async with connection.transaction():
        await connection.execute("INSERT INTO marks VALUES ($1)", number)


WRITES = (by_one_statement, by_commit, by_block)
Write = Callable[[AnyConnection, int], Awaitable[None]]
MARKS = "SELECT count(*) FROM marks"


@pytest.fixture
async def marks(url: str) -> None:
    """A table for what is committed."""
    owner = await asyncpg.connect(url)
    await owner.execute(f"CREATE TABLE marks (number bigint); GRANT ALL ON marks TO {APPLICATION_ROLE}")
    await owner.close()


async def written(pool: Pool, write: Write, number: int) -> None:
    """Write over a connection of the pool."""
    async with pool.acquire() as connection:
        await write(connection, number)


async def by_time_out(pool: Pool, task: asyncio.Task[None]) -> None:
    """The time for the statement is up by itself."""


async def by_cancellation(pool: Pool, task: asyncio.Task[None]) -> None:
    """The task is cancelled, as by a caller who gives up, or by a process that stops at once."""
    task.cancel()


async def by_dropping(pool: Pool, task: asyncio.Task[None]) -> None:
    """The pool is dropped, as when the time to drain is up."""
    pool.terminate()


async def by_closing(pool: Pool, task: asyncio.Task[None]) -> None:
    """The pool is closed, as at the end of a server."""
    await close(pool)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("give_up", [by_time_out, by_cancellation, by_dropping, by_closing])
@pytest.mark.usefixtures("marks")
async def test_commit_that_is_given_up_is_never_cancelled(
    url: str, standby: Standby, write: Write, give_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL goes on to wait for the standby, and nobody sees what was committed before it is back."""
    if give_up is by_time_out:
        monkeypatch.setattr(connections, "_STATEMENT_SECONDS", 1.0)
    async with proxied(url) as proxy:
        pool = await open_pool(proxy.url, role=APPLICATION_ROLE, size=2, tells=False)
        await standby.leave()
        task = asyncio.create_task(written(pool, write, 1))
        waiting = await standby.waiting()

        await give_up(pool, task)
        await asyncio.wait({task})

        assert task.cancelled() or task.exception() is not None
        pool.terminate()
        assert await standby.waiting() == waiting
        assert await standby.count(MARKS) == 0
        await standby.return_()
        await standby.until(lambda: standby.count(MARKS))
        assert proxy.cancel_count == 0


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.usefixtures("marks")
async def test_commit_whose_wait_was_cut_short_is_no_success(
    url: str, standby: Standby, write: Write
) -> None:
    """PostgreSQL reports success and warns; the writer learns that nobody knows, and writes on."""
    pool = await open_pool(url, role=APPLICATION_ROLE, size=1, tells=False)
    await standby.leave()
    task = asyncio.create_task(written(pool, write, 1))
    await standby.cut("cancel")

    with pytest.raises(NotReplicated):
        await task

    await standby.return_()
    await written(pool, write, 2)
    assert await standby.count(MARKS) == 2
    pool.terminate()


async def test_what_was_read_is_proven_once_for_all_who_wait(url: str, standby: Standby) -> None:
    """Each reader's proof begins after the read; those who come meanwhile share the next one."""
    pool = await open_pool(url, role=APPLICATION_ROLE, size=8)
    await standby.leave()
    readers = [asyncio.create_task(pool.fetchval("SELECT 1")) for _ in range(50)]
    [proving] = await standby.waiting()
    late = asyncio.create_task(pool.fetchval("SELECT 2"))
    await standby.until(lambda: _answers(pool))
    assert await standby.waiting() == {proving}
    assert not any(reader.done() for reader in (*readers, late))

    await standby.return_()

    assert await asyncio.gather(*readers, late) == [1] * 50 + [2]
    pool.terminate()


async def _answers(pool: Pool) -> bool:
    async with pool.unproven() as connection:
        return bool(await connection.fetchval("SELECT true"))


async def test_cut_proof_proves_nothing(url: str, standby: Standby) -> None:
    """Whoever cuts the wait of a proof gets no reader to tell."""
    pool = await open_pool(url, role=APPLICATION_ROLE, size=2)
    await standby.leave()
    reader = asyncio.create_task(pool.fetchval("SELECT 1"))

    await standby.cut("cancel")

    with pytest.raises(NotReplicated):
        await reader
    pool.terminate()
