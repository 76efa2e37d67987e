"""An instant that was answered is final: whatever was under way when it was asked for, its answer stays."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, NamedTuple

import asyncpg
import grpc
import pytest
from defter.ledger.v1 import account_pb2, adjustment_pb2, posting_pb2
from defter.payments.v1 import payment_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.timestamp_pb2 import Timestamp

from ledger_server.embedded_postgres import EmbeddedPostgres
from ledger_server.engine.metrics import FINAL_RAISES
from ledger_server.store import lane_writes
from ledger_server.store.database import AnyConnection
from ledger_server.store.final_time import raise_final, read_final
from ledger_server.store.lane_store import read_head
from ledger_server.store.lane_writes import HeadMoved, Start, TimeRefused
from tests.integration.test_one_clock import WINDOW, database_time, journal, set_database_clock
from tests.support.adjusters import Adjusters
from tests.support.cashier import PLAYER, Cashier
from tests.support.clock import FakeClock
from tests.support.engine import KEY, engine
from tests.support.fake_provider import fake_providers
from tests.support.own_clocks import Machine
from tests.support.requests import timestamp
from tests.support.service import serving
from tests.support.tenant_lock import WAIT_SECONDS, head_locked, wait_until_lane_waits
from tests.support.wire import refusal

INSTANT = timedelta(microseconds=1)
UNKNOWN_TYPE = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
PACKAGES = {
    "ledger": ("account", "adjustment", "hold", "journal", "posting", "tenant"),
    "payments": ("deposit", "provider_event", "wallet", "withdrawal"),
    "reconciliation": ("finding", "reconciliation", "settlement"),
}


class Recorded(NamedTuple):
    """What was recorded, as lists name it, and when."""

    name: object
    time: Timestamp


class Answers(NamedTuple):
    """One RPC that answers by record time: what adds to its answer, and what it answers of a window.

    Attributes:
        window: the fields that begin and end it; the first is empty where there is only an instant.
    """

    add: Callable[[Cashier], Coroutine[Any, Any, Recorded]]
    read: Callable[[Cashier, dict[str, Any]], Awaitable[set[object]]]
    window: tuple[str, str]

    async def until(self, cashier: Cashier, moment: datetime) -> set[object]:
        """Return what it answers of everything up to an instant."""
        end = moment if not self.window[0] else moment + INSTANT
        return await self.read(cashier, {self.window[1]: timestamp(end)})


async def _post(cashier: Cashier) -> Recorded:
    posted = await cashier.ledger.post("house", PLAYER, 1)
    return Recorded(posted.transaction_id, posted.record_time)


async def _post_counted(cashier: Cashier) -> Recorded:
    posted = await cashier.ledger.post("house", PLAYER, 1)
    return Recorded(posted.postings[1].balance.posted_balance_minor, posted.record_time)


async def _deposit(cashier: Cashier) -> Recorded:
    begun = await cashier.initiate(provider_ref=cashier.ledger.new_key())
    return Recorded(begun.deposit_id, begun.initiate_time)


async def _withdraw(cashier: Cashier) -> Recorded:
    begun = await cashier.request(100)
    return Recorded(begun.withdrawal_id, begun.request_time)


async def _adjust(cashier: Cashier) -> Recorded:
    asked = await Adjusters(cashier.ledger).request("house", PLAYER)
    return Recorded(asked.adjustment_id, asked.request_time)


async def _ingest(cashier: Cashier) -> Recorded:
    [stored] = await cashier.ingest(cashier.event(UNKNOWN_TYPE))
    return Recorded(stored.event.provider_event_id, stored.event.receive_time)


async def _balance(cashier: Cashier, window: dict[str, Any]) -> set[object]:
    balance = await cashier.ledger.balance(PLAYER, **window)
    # Every posting adds one, and is named after what it comes to.
    return set(range(1, balance.posted_balance_minor + 1))


async def _postings(cashier: Cashier, window: dict[str, Any]) -> set[object]:
    request = account_pb2.ListPostingsRequest(tenant_id=cashier.ledger.tenant_id, account_id=PLAYER, **window)
    return {line.transaction_id for line in (await cashier.stubs.accounts.ListPostings(request)).lines}


async def _transactions(cashier: Cashier, window: dict[str, Any]) -> set[object]:
    request = posting_pb2.ListTransactionsRequest(tenant_id=cashier.ledger.tenant_id, **window)
    response = await cashier.stubs.postings.ListTransactions(request)
    return {each.transaction_id for each in response.transactions}


async def _deposits(cashier: Cashier, window: dict[str, Any]) -> set[object]:
    return {each.deposit_id for each in await cashier.deposits(**window)}


async def _withdrawals(cashier: Cashier, window: dict[str, Any]) -> set[object]:
    return {each.withdrawal_id for each in await cashier.withdrawals(**window)}


async def _adjustments(cashier: Cashier, window: dict[str, Any]) -> set[object]:
    request = adjustment_pb2.ListAdjustmentsRequest(tenant_id=cashier.ledger.tenant_id, **window)
    response = await cashier.stubs.adjustments.ListAdjustments(request)
    return {each.adjustment_id for each in response.adjustments}


async def _events(cashier: Cashier, window: dict[str, Any]) -> set[object]:
    return {each.provider_event_id for each in await cashier.stored_events(**window)}


BY_RECORD_TIME = {
    "GetBalance": Answers(_post_counted, _balance, ("", "time")),
    "ListPostings": Answers(_post, _postings, ("start_time", "end_time")),
    "ListTransactions": Answers(_post, _transactions, ("start_time", "end_time")),
    "ListDeposits": Answers(_deposit, _deposits, ("from_time", "to_time")),
    "ListWithdrawals": Answers(_withdraw, _withdrawals, ("from_time", "to_time")),
    "ListAdjustments": Answers(_adjust, _adjustments, ("from_time", "to_time")),
    "ListProviderEvents": Answers(_ingest, _events, ("from_time", "to_time")),
}
LISTS = sorted(name for name, answers in BY_RECORD_TIME.items() if answers.window[0])
# Times in requests that choose no records by when they were recorded.
OTHER_TIMES = {
    "PlaceHold.expire_time": "is decided about",
    "ExtendHold.expire_time": "is decided about",
    "ListHolds.expire_before_time": "is a hold's own time; holds are listed as they stand now",
    "CaptureHold.effective_time": "is recorded",
    "RequestAdjustment.effective_time": "is recorded",
    "CountDeposits.from_time": "is of those that have ended; the rest is as it stands",
    "CountDeposits.to_time": "is of those that have ended; the rest is as it stands",
    "CountWithdrawals.from_time": "is of those that have ended; the rest is as it stands",
    "CountWithdrawals.to_time": "is of those that have ended; the rest is as it stands",
    "CountFindings.from_time": "is when findings were opened; they are counted as they stand now",
    "CountFindings.to_time": "is when findings were opened; they are counted as they stand now",
    "PostTransaction.transaction.effective_time": "is recorded",
    "BatchPostTransactions.items.transaction.effective_time": "is recorded",
    "StreamTransactions.items.transaction.effective_time": "is recorded",
    "ReverseTransaction.effective_time": "is recorded",
    "IngestProviderEvents.events.occur_time": "is recorded",
    "RunReconciliation.from_time": "is the provider's time",
    "RunReconciliation.to_time": "is the provider's time; the ledger is compared as it stands",
}


def times_in(message: Descriptor, path: str, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the paths of all times in a message."""
    for field in message.fields:
        inner = field.message_type
        if inner is None or inner.full_name in above:
            continue
        if inner.full_name == "google.protobuf.Timestamp":
            yield f"{path}.{field.name}"
        else:
            yield from times_in(inner, f"{path}.{field.name}", above | {inner.full_name})


def test_every_time_in_a_request_is_known_here() -> None:
    """Whoever adds a read by time adds it to the tables of this module."""
    found: set[str] = set()
    for package, names in PACKAGES.items():
        for name in names:
            file = import_module(f"defter.{package}.v1.{name}_pb2").DESCRIPTOR
            for service in file.services_by_name.values():
                for method in service.methods:
                    found |= set(times_in(method.input_type, method.name))

    known = {f"{name}.{each}" for name, answers in BY_RECORD_TIME.items() for each in answers.window if each}
    assert found == known | set(OTHER_TIMES)


@asynccontextmanager
async def nothing_under_way(database_url: str) -> AsyncIterator[None]:
    """Let commits go on at once."""
    yield


def head_held_by_others(database_url: str) -> AbstractAsyncContextManager[None]:
    """Keep the head locked, so that a commit waits before its record times are compared."""
    return head_locked(database_url, "casino")


@asynccontextmanager
async def not_begun(database_url: str) -> AsyncIterator[None]:
    """Keep commits, which have been sent, from being looked at; the head is free."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE journal IN SHARE MODE")
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def half_done(database_url: str) -> AsyncIterator[None]:
    """Keep a commit, which has moved the head, from coming to its end."""
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    try:
        # The record that a commit has to write next; whether it stands in the way is open until this ends.
        await connection.execute(
            "INSERT INTO journal (tenant_key, sequence, kind, player_id, limit_breached, effective_time,"
            " record_time, closes_batch, record, chain_hash) SELECT tenant_key, sequence + 1, 1, '', false,"
            " record_time, record_time, false, '', '' FROM tenants WHERE tenant_id = 'casino'"
        )
        yield
    finally:
        await transaction.rollback()
        await connection.close()


SITUATIONS = {
    "nothing under way": nothing_under_way,
    "head held by others": head_held_by_others,
    "not begun": not_begun,
    "half done": half_done,
}
# There a commit may still bring records of the instant, so that nobody can know what belongs to it.
OPEN = ("head held by others", "half done")


@asynccontextmanager
async def two_sides(
    database_url: str, machine: Machine | None = None
) -> AsyncIterator[tuple[Cashier, Cashier]]:
    """Two servers, and a tenant with money seen through both of them."""
    clocks = (machine or Machine()).clocks
    async with (
        serving(database_url, own_clocks=clocks, providers=fake_providers()) as first,
        serving(database_url, own_clocks=clocks, providers=fake_providers()) as second,
    ):
        ledger = await first.new_ledger()
        await ledger.open_house()
        await ledger.open(PLAYER)
        near = Cashier(ledger)
        await near.captured(10_000)
        await ledger.post("house", PLAYER, 1)
        await near.until_called()
        yield near, Cashier(second.ledger("casino", key_prefix="far"))


async def patiently(ask: Callable[[], Awaitable[set[object]]]) -> set[object]:
    """Ask until there is an answer."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await ask()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.OUT_OF_RANGE:
                    raise


@pytest.mark.parametrize("side", ["same process", "other process"])
@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("rpc", BY_RECORD_TIME)
async def test_answer_of_an_instant_stays_the_same(
    database_url: str, rpc: str, situation: str, side: str
) -> None:
    """What was recorded by then is in it from the first answer on; where that is open, there is none yet."""
    answers = BY_RECORD_TIME[rpc]
    async with two_sides(database_url) as (near, far):
        asker = near if side == "same process" else far
        async with SITUATIONS[situation](database_url):
            adding = asyncio.create_task(answers.add(near))
            await wait_until_lane_waits(database_url, unless=adding.done)
            moment = await database_time(database_url)
            first: set[object] | None = None
            if situation in OPEN:
                refused = await refusal(answers.until(asker, moment))
                assert (refused.reason, refused.code) == ("NOT_YET_RECORDED", grpc.StatusCode.OUT_OF_RANGE)
                assert refused.retry_delay_seconds
            else:
                first = await patiently(lambda: answers.until(asker, moment))
        added = await adding

        second = await patiently(lambda: answers.until(asker, moment))

        assert first in (None, second)
        assert (added.name in second) == (added.time.ToDatetime(tzinfo=UTC) <= moment)
        await answers.add(far)
        assert await answers.until(near, moment) == await answers.until(far, moment) == second
        assert not (await near.ledger.verify()).HasField("first_difference")


@pytest.mark.parametrize("rpc", LISTS)
async def test_begin_of_a_window_is_final_too(database_url: str, rpc: str) -> None:
    """What is under way might belong before it, so it would show up on the wrong side."""
    answers = BY_RECORD_TIME[rpc]
    async with two_sides(database_url) as (near, far):
        async with half_done(database_url):
            adding = asyncio.create_task(answers.add(near))
            await wait_until_lane_waits(database_url)
            begin = {answers.window[0]: timestamp(await database_time(database_url))}
            assert (await refusal(answers.read(far, begin))).reason == "NOT_YET_RECORDED"
        await adding

        assert await patiently(lambda: answers.read(far, begin)) == set()


@pytest.mark.parametrize("ahead", [0.5, 30.0, 3_600.0])
@pytest.mark.parametrize("rpc", BY_RECORD_TIME)
async def test_ask_for_the_future_is_refused(database_url: str, rpc: str, ahead: float) -> None:
    """Neither end of a window may lie there; who is only a little early is told when to come back."""
    answers = BY_RECORD_TIME[rpc]
    async with two_sides(database_url) as (near, _):
        for field in filter(None, answers.window):
            moment = await database_time(database_url) + timedelta(seconds=ahead + 5)
            refused = await refusal(answers.read(near, {field: timestamp(moment)}))

            assert refused.reason == "NOT_YET_RECORDED"
            assert (refused.retry_delay_seconds is not None) == (ahead < 60)


async def write(
    connection: AnyConnection,
    way: str,
    moment: datetime,
    last: datetime,
    *,
    first: int = 2,
    final_time: datetime | None = None,
) -> bool:
    """Write records whose first is of one time and whose last of another; return whether that was taken."""
    rows = journal(first, first + (300 if way == "copy" else 1), moment)
    rows += journal(rows[-1].sequence + 1, rows[-1].sequence + 2, last)
    try:
        if way == "locked":
            async with connection.transaction():
                await lane_writes.write_locked(connection, KEY, rows, {}, window=WINDOW)
        else:
            found = await read_head(connection, KEY, lock=False)
            assert found is not None
            start = Start(found.sequence, found.chain_hash, found.epoch)
            await lane_writes.commit_from(
                connection, KEY, start, rows, {}, window=WINDOW, final_time=final_time
            )
    except (HeadMoved, TimeRefused):
        if way == "copy":
            await connection.execute("ROLLBACK")
        return False
    return True


@pytest.mark.parametrize("late", [-1_000_000, -1, 0, 1, 1_000_000])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("way", ["one statement", "copy", "locked"])
async def test_write_into_what_is_final_is_refused(database_url: str, way: str, when: str, late: int) -> None:
    """Each way to write compares the first time, again where the head changes while it waits for its lock."""
    async with engine(database_url, FakeClock(await database_time(database_url))) as running:
        await running.create_tenant()
        final = await database_time(database_url)
        async with running.pool.acquire() as raising, running.pool.acquire() as writing:
            raised = raising.transaction()
            await raised.start()
            assert await raise_final(raising, KEY, final, window=WINDOW) is not None
            if when == "before":
                await raised.commit()
            # The last time is late enough, so that only the first decides.
            task = asyncio.create_task(
                write(writing, way, final + late * INSTANT, final + timedelta(seconds=2))
            )
            if when == "meanwhile":
                await wait_until_lane_waits(database_url)
                await raised.commit()

            assert await task == (late > 0)
            found = await writing.fetchval("SELECT count(*) FROM journal WHERE sequence > 1")
        assert bool(found) == (late > 0)


@pytest.mark.parametrize("late", [-1, 0, 1])
@pytest.mark.parametrize("then", ["one statement", "copy", "locked"])
@pytest.mark.parametrize("way", ["one statement", "copy"])
async def test_write_into_what_a_commit_made_final_is_refused(
    database_url: str, way: str, then: str, late: int
) -> None:
    """What a commit promises beyond its own records binds whoever comes next, and is never taken back."""
    async with engine(database_url, FakeClock(await database_time(database_url))) as running:
        await running.create_tenant()
        moment = await database_time(database_url)
        final = moment + timedelta(milliseconds=5)
        async with running.pool.acquire() as connection:
            assert await write(connection, way, moment, moment, final_time=final)
            seen = await read_final(connection, KEY)
            assert (seen.head_time, seen.final_time) == (moment, final)
            assert seen.includes(final)

            again = final + late * INSTANT
            taken = await write(
                connection, then, again, again, first=seen.head_sequence + 1, final_time=moment - INSTANT
            )

            assert taken == (late > 0)
            assert (await read_final(connection, KEY)).final_time == final


async def test_answers_between_commits_of_two_processes_stay_as_they_were(database_url: str) -> None:
    """Whoever writes, whoever is asked, and however often: an instant's balance is one number for ever."""
    async with two_sides(database_url) as sides:
        done = asyncio.Event()
        answered: list[tuple[datetime, set[object]]] = []

        async def post(side: Cashier) -> None:
            for _ in range(60):
                await _post(side)

        async def ask(side: Cashier) -> None:
            while not done.is_set():
                moment = await database_time(database_url) - timedelta(milliseconds=2)
                window = {"time": timestamp(moment)}
                answered.append((moment, await patiently(functools.partial(_balance, side, window))))

        asking = [asyncio.create_task(ask(side)) for side in sides]
        await asyncio.gather(*(post(side) for side in sides for _ in range(2)))
        done.set()
        await asyncio.gather(*asking)

        for moment, first in answered:
            assert await _balance(sides[1], {"time": timestamp(moment)}) == first
        times = [entry.record.record_time.ToNanoseconds() for entry in await sides[0].ledger.entries()]
        assert times == sorted(times)
        assert not (await sides[0].ledger.verify()).HasField("first_difference")


@pytest.mark.parametrize("back", [5.0, 3_600.0, 26 * 3_600.0])
async def test_set_the_databases_clock_back_leaves_answers_as_they_were(
    database_url: str, back: float
) -> None:
    """The tenant's time then stands still behind the instant that was asked for, in every process."""
    machine = Machine()
    async with two_sides(database_url, machine) as (near, far):
        moment = await database_time(database_url)
        first = await patiently(lambda: _transactions(near, {"end_time": timestamp(moment + INSTANT)}))
        # Whoever sets the clock of one host sets that of all.
        machine.wall = -back
        await set_database_clock(database_url, -back)
        for each in (near, far):
            await _post(each)
            await _post(each)

        times = [entry.record.record_time.ToDatetime(tzinfo=UTC) for entry in await near.ledger.entries()]
        assert times[-4:] == sorted(times[-4:])
        assert times[-4] > moment
        assert await _transactions(far, {"end_time": timestamp(moment + INSTANT)}) == first
        assert not (await near.ledger.verify()).HasField("first_difference")


async def test_kill_database_keeps_what_is_final(
    own_postgres: EmbeddedPostgres, own_database_url: str
) -> None:
    """An answer is given after it is durable that it stays."""
    async with engine(own_database_url, FakeClock(await database_time(own_database_url))) as running:
        await running.create_tenant()
        moment = await database_time(own_database_url)
        async with running.pool.acquire() as connection:
            assert await raise_final(connection, KEY, moment, window=WINDOW) is not None
        own_postgres.kill()
        own_postgres.start()
        again = await asyncpg.connect(own_database_url)
        assert (await read_final(again, KEY)).final_time == moment
        await again.close()


async def test_read_many_instants_of_an_idle_tenant_writes_seldom(database_url: str) -> None:
    """Those that are asked for at once, and those older than one that is final, share one write."""
    async with two_sides(database_url) as (near, _):
        moment = await database_time(database_url)
        before = FINAL_RAISES._value.get()

        await asyncio.gather(
            *(near.ledger.balance(PLAYER, time=timestamp(moment - n * INSTANT)) for n in range(200))
        )
        together = FINAL_RAISES._value.get() - before
        for n in range(50):
            await near.ledger.balance(PLAYER, time=timestamp(moment - n * INSTANT))

        assert 1 <= together < 20
        assert FINAL_RAISES._value.get() == before + together


async def test_raise_final_ahead_of_the_clock_changes_nothing(database_url: str) -> None:
    """Else whoever asks for a far instant would make the tenant's time run ahead."""
    async with engine(database_url, FakeClock(await database_time(database_url))) as running:
        await running.create_tenant()
        ahead = await database_time(database_url) + timedelta(hours=1)
        async with running.pool.acquire() as connection:
            assert await raise_final(connection, KEY, ahead, window=WINDOW) is None
            assert (await read_final(connection, KEY)).final_time is None
