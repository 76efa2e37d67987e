"""Balances of the past are what the journal says, for every record and around every instant."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta

import asyncpg
import grpc
import pytest
from defter.ledger.v1 import hold_pb2, journal_pb2

from tests.support.clock import FakeClock
from tests.support.coherence import HOLD_FACTS, counters_of, hold_of, pending_of, transactions_of
from tests.support.ledger import Ledger
from tests.support.randomness import SEED
from tests.support.requests import CREDIT, DEBIT, limits, timestamp
from tests.support.service import Service, serving
from tests.support.tenant_lock import WAIT_SECONDS, head_locked, wait_until_lane_waits

ACCOUNTS = ("house", "ann", "bob")
MICROSECOND = timedelta(microseconds=1)

Counters = tuple[int, int, int, int]


@pytest.fixture
async def service(database_url: str, clock: FakeClock) -> AsyncIterator[Service]:
    """A server whose sweeper never comes by: dead holds stay unrecorded until somebody touches them."""
    async with serving(database_url, clock=clock, expiry_sweep_seconds=3600) as running:
        yield running


@pytest.fixture
async def ledger(service: Service) -> Ledger:
    """Three accounts without limits."""
    created = await service.new_ledger()
    await created.open_house()
    await created.open("ann", bounds=limits())
    await created.open("bob", bounds=limits())
    return created


async def test_get_balance_of_any_moment_follows_from_journal(ledger: Ledger, clock: FakeClock) -> None:
    """Holds that died unnoticed, were extended, or died within a commit: no moment is wrong."""
    chance = random.Random(SEED)
    for _ in range(25):
        await asyncio.gather(*(_step(ledger, clock, chance) for _ in range(chance.randint(1, 6))))
    await ledger.place_hold("ann", "bob", 1, expire_time=timestamp(clock.now + MICROSECOND))
    clock.advance(seconds=20)

    await _check_every_moment(ledger, clock)


async def test_get_balance_at_time_within_a_commit_includes_its_first_records(
    service: Service, ledger: Ledger, clock: FakeClock
) -> None:
    """While a commit is under way, the next one is decided bit by bit; its records differ in time."""
    lane = service.server.ledger._lanes[ledger.tenant_id]
    posting = []
    async with head_locked(service.database_url, ledger.tenant_id):
        posting.append(asyncio.ensure_future(ledger.post("house", "ann", 1)))
        await wait_until_lane_waits(service.database_url)
        decided = 0
        for _ in range(3):
            clock.advance(seconds=1)
            posting += [asyncio.ensure_future(ledger.post("house", "ann", 1)) for _ in range(64)]
            async with asyncio.timeout(WAIT_SECONDS):
                while lane._open is None or lane._open.request_count <= decided:  # noqa: ASYNC110  # it tells nobody
                    await asyncio.sleep(0.001)
            decided = lane._open.request_count
    await asyncio.gather(*posting)

    closings = await _read(service.database_url, "SELECT record_time FROM journal WHERE closes_batch")
    times = await _read(service.database_url, "SELECT DISTINCT record_time FROM journal")
    assert len(times) > len(set(closings)), "some records stand before a later one of the same commit"
    await _check_every_moment(ledger, clock)
    verdict = await ledger.verify()
    assert not verdict.HasField("first_difference"), verdict.first_difference


async def _read(database_url: str, statement: str) -> list[object]:
    connection = await asyncpg.connect(database_url)
    try:
        return [row[0] for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def _check_every_moment(ledger: Ledger, clock: FakeClock) -> None:
    """Compare balances with the journal, for every record and around every instant that matters."""
    records = [entry.record for entry in await ledger.entries()]
    moments = [(record.record_time.ToDatetime(clock.now.tzinfo), record.sequence) for record in records]
    for moment, sequence in [*moments, *((moment, 0) for moment in _interesting(records, clock.now))]:
        known = [
            one
            for one, (time, _) in zip(records, moments, strict=True)
            if (one.sequence <= sequence if sequence else time <= moment)
        ]
        for account_id in _opened(known):
            balance = await ledger.balance(
                account_id, sequence=sequence or None, time=None if sequence else timestamp(moment)
            )
            assert counters_of(balance) == _expected(account_id, known, moment), (
                account_id,
                moment,
                sequence,
            )


async def _step(ledger: Ledger, clock: FakeClock, chance: random.Random) -> None:
    """Do one thing; refusals belong to it."""
    debit, credit = chance.sample(ACCOUNTS, 2)
    step = chance.choice(["post", "hold", "hold", "hold", "capture", "release", "extend", "wait", "wait"])
    open_holds = [] if step in {"post", "hold", "wait"} else await ledger.holds()
    soon = clock.now + timedelta(seconds=chance.randint(1, 9))
    try:
        if step == "wait":
            clock.advance(microseconds=chance.choice([1, 400_000, 3_000_000]))
        elif step == "post":
            await ledger.post(debit, credit, chance.randint(1, 9))
        elif step == "hold":
            await ledger.place_hold(debit, credit, chance.randint(1, 9), expire_time=timestamp(soon))
        elif open_holds:
            hold = chance.choice(open_holds)
            if step == "capture":
                await ledger.capture(hold.hold_id, 1)
            elif step == "release":
                await ledger.release(hold.hold_id)
            else:
                await ledger.extend(hold.hold_id, timestamp(soon + timedelta(seconds=5)))
    except grpc.aio.AioRpcError as error:
        assert error.code() in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT}  # noqa: PT017


def _opened(records: Iterable[journal_pb2.JournalRecord]) -> list[str]:
    return [record.account_opened.account_id for record in records if record.HasField("account_opened")]


def _expected(account_id: str, records: Sequence[journal_pb2.JournalRecord], moment: datetime) -> Counters:
    """Add up all postings, and what is held by holds that were alive at that moment."""
    posted: Counter[int] = Counter()
    for transaction in transactions_of(records):
        for posting in transaction.postings:
            if posting.account_id == account_id:
                posted[posting.direction] += posting.amount_minor
    newest: dict[str, hold_pb2.Hold] = {}
    for record in records:
        if record.WhichOneof("fact") in HOLD_FACTS:
            newest[hold_of(record).hold_id] = hold_of(record)
    alive = [
        hold
        for hold in newest.values()
        if hold.state == hold_pb2.HOLD_STATE_OPEN and hold.expire_time.ToDatetime(moment.tzinfo) > moment
    ]
    pending = pending_of(alive)
    return (posted[DEBIT], posted[CREDIT], pending[account_id, DEBIT], pending[account_id, CREDIT])


def _interesting(records: Iterable[journal_pb2.JournalRecord], now: datetime) -> list[datetime]:
    """Return every record time and expire time that has come, with the microseconds around it."""
    times = set()
    for record in records:
        times.add(record.record_time.ToDatetime(now.tzinfo))
        if record.WhichOneof("fact") in HOLD_FACTS:
            times.add(hold_of(record).expire_time.ToDatetime(now.tzinfo))
    around = {time + step * MICROSECOND for time in times for step in (-1, 0, 1)}
    return sorted(time for time in around if time <= now)
