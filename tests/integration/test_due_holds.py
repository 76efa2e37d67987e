"""Own the proof that expiring what is due is bounded, and never forgotten before it is committed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import count

import pytest

from ledger_server.domain.ledger.accounts import AccountKind, Direction, Limits
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.state.commands import (
    ContinueAccount,
    ExpireHolds,
    Method,
    OpenAccount,
    PlaceHold,
    PostTransaction,
)
from ledger_server.engine.lane.work import Request
from tests.support.clock import FakeClock
from tests.support.engine import TENANT, Engine, asked, assert_coherent, engine
from tests.support.patience import HANG_SECONDS
from tests.support.tenant_lock import head_locked, poll, wait_until_lane_waits

CACHE = 10
NUMBERS = count()


def key() -> str:
    """Return a key that nobody has used."""
    return f"key-{next(NUMBERS)}"


def opening(account_id: str) -> Request:
    """Return a request that opens an account without limits."""
    command = OpenAccount(
        account_id=account_id,
        kind=AccountKind.ASSET,
        currency="EUR",
        limits=Limits(min_available=None, max_balance=None),
        metadata={},
    )
    return asked(command, Method.OpenAccount, key())


def post(debit: str, credit: str) -> Request:
    """Return a request that moves one cent."""
    postings = (
        NewPosting(debit, Direction.DEBIT, 1, "EUR"),
        NewPosting(credit, Direction.CREDIT, 1, "EUR"),
    )
    command = PostTransaction(TransactionType.TRANSFER, postings, "", None, {})
    return asked(command, Method.PostTransaction, key())


def hold(debit: str, credit: str, clock: FakeClock) -> Request:
    """Return a request that holds EUR 6 for ten seconds."""
    command = PlaceHold(
        debit_account_id=debit,
        credit_account_id=credit,
        amount=600,
        currency="EUR",
        expire_time=clock.now + timedelta(seconds=10),
        type=TransactionType.BET,
        reference="",
        metadata={},
    )
    return asked(command, Method.PlaceHold, key())


async def due_holds(running: Engine, clock: FakeClock, count: int) -> None:
    """Create a tenant with so many holds between `ann` and `house`, whose time has come."""
    await running.create_tenant()
    for account_id in ("house", "ann"):
        await ask_all(running, [opening(account_id)])
    await ask_all(running, [hold("ann", "house", clock) for _ in range(count)])
    clock.advance(seconds=11)


async def open_holds(running: Engine) -> int:
    """Return how many holds are stored as open."""
    return int(await running.pool.fetchval("SELECT count(*) FROM holds WHERE state = 1"))


async def ask_all(running: Engine, requests: list[Request]) -> None:
    """Submit requests as one work, and see each succeed."""
    outcomes = await running.ledger.submit(TENANT, requests)
    assert not any(outcome.rejected or outcome.refused for outcome in outcomes)


async def test_account_changed_by_an_expiry_alone_is_kept_until_that_is_committed(
    database_url: str, clock: FakeClock
) -> None:
    """The oldest account in a full cache loses a hold to a posting on the hold's other account."""
    others = [f"other-{number}" for number in range(40)]
    async with engine(database_url, clock, cache_size=CACHE) as running:
        await running.create_tenant()
        for account_id in ("house", "ann", *others):
            await ask_all(running, [opening(account_id)])
        await ask_all(running, [hold("ann", "house", clock)])
        for account_id in others[:12]:  # used since, so ann is the oldest
            await ask_all(running, [post("house", account_id)])
        lane = running.ledger._lanes[TENANT]

        async with head_locked(database_url, TENANT), asyncio.timeout(HANG_SECONDS):
            first = asyncio.create_task(ask_all(running, [post("other-0", "other-1")]))
            await wait_until_lane_waits(database_url)
            clock.advance(seconds=11)
            ahead = [post("house", account_id) for account_id in others]
            second = asyncio.create_task(ask_all(running, ahead))
            await poll(database_url, "SELECT 1 WHERE false", unless=lambda: lane._open is not None)
            # While that commit is on its way, the first one's end forgets what it may.
            third = asyncio.create_task(ask_all(running, [post("ann", "other-2")]))
            await asyncio.sleep(0)
        await asyncio.gather(first, second, third)

        lines = await running.pool.fetch(
            "SELECT version, pending_debits FROM postings JOIN accounts USING (tenant_key, account_number)"
            " WHERE account_id = 'ann' ORDER BY sequence"
        )
    assert [tuple(line) for line in lines] == [(1, 600), (2, 0), (3, 0)]
    await assert_coherent(database_url, clock)


@pytest.mark.parametrize("moved", [False, True])
async def test_more_due_than_expires_in_one_go_is_expired_in_several(
    database_url: str, clock: FakeClock, *, moved: bool
) -> None:
    """Whoever touches the account is answered behind them all, also after another process has written."""
    async with (
        engine(database_url, clock, expiry_size=7) as running,
        engine(database_url, clock) as other,
    ):
        await due_holds(running, clock, 50)
        for account_id in ("ben", "cat"):
            await ask_all(running, [opening(account_id)])
        if moved:
            await ask_all(other, [post("ben", "cat")])

        async with asyncio.timeout(HANG_SECONDS):
            works = [ask_all(running, [post("house", "ben")]) for _ in range(40)]
            await asyncio.gather(*works, ask_all(running, [post("ben", "cat")]))

        sizes = await running.pool.fetch(
            "SELECT count(*) FROM journal WHERE kind = (SELECT max(kind) FROM journal j"
            " WHERE j.sequence IN (SELECT sequence FROM postings WHERE phase = 5)) GROUP BY record_time"
        )
        first_post = await running.pool.fetchval(
            "SELECT min(p.sequence) FROM postings p JOIN accounts USING (tenant_key, account_number)"
            " WHERE account_id = 'house' AND phase = 1"
        )
        last_expiry = await running.pool.fetchval("SELECT max(sequence) FROM postings WHERE phase = 5")
        assert sum(row[0] for row in sizes) == 50
        assert last_expiry < first_post
    await assert_coherent(database_url, clock)


@pytest.mark.parametrize("batch_bytes", [1, 400, 1_000, 2_000])
@pytest.mark.parametrize("cache_size", [1, 10_000], ids=["forgetful", "warm"])
async def test_more_due_than_a_batch_has_bytes_for_is_expired_in_several(
    database_url: str, clock: FakeClock, cache_size: int, batch_bytes: int
) -> None:
    """What is left over is not forgotten when the batch is full: nobody is answered beside a dead hold."""
    async with engine(database_url, clock, cache_size=cache_size, batch_bytes=batch_bytes) as running:
        await due_holds(running, clock, 9)

        async with asyncio.timeout(HANG_SECONDS):
            await ask_all(running, [post("house", "ann")])

        assert await open_holds(running) == 0
    await assert_coherent(database_url, clock)


async def test_sweeper_expires_more_than_goes_at_once(database_url: str, clock: FakeClock) -> None:
    """The sweeper's work is answered when everything on its accounts is expired."""
    async with engine(database_url, clock, expiry_size=7) as running:
        await due_holds(running, clock, 30)

        async with asyncio.timeout(HANG_SECONDS):
            await running.ledger.submit(TENANT, [Request(ExpireHolds(numbers=(4, 5)))])

        assert await open_holds(running) == 0
    await assert_coherent(database_url, clock)


async def test_callers_who_leave_while_holds_expire_leave_a_working_lane(
    database_url: str, clock: FakeClock
) -> None:
    """What has been expired for a caller who is gone stands, or is expired again by the next one."""
    async with engine(database_url, clock, expiry_size=7) as running:
        await due_holds(running, clock, 50)

        async with asyncio.timeout(HANG_SECONDS):
            async with head_locked(database_url, TENANT):
                leaving = asyncio.create_task(ask_all(running, [post("house", "ann")]))
                await wait_until_lane_waits(database_url)
                leaving.cancel()
            await ask_all(running, [post("ann", "house")])

        assert await open_holds(running) == 0
    await assert_coherent(database_url, clock)


async def test_process_that_dies_between_portions_leaves_the_rest_to_the_next(
    database_url: str, clock: FakeClock
) -> None:
    """A portion is a commit of its own: what it has expired stands, and is not expired again."""
    async with engine(database_url, clock, expiry_size=7) as dying:
        await due_holds(dying, clock, 50)
        commits = asyncio.Event()
        dying.ledger.on_commit(lambda *_: commits.set())
        asked_for = asyncio.create_task(ask_all(dying, [post("house", "ann")]))
        async with asyncio.timeout(HANG_SECONDS):
            await commits.wait()
        dying.ledger.abort()
        assert not asked_for.done()
        asked_for.cancel()

    async with engine(database_url, clock, expiry_size=7) as next_one, asyncio.timeout(HANG_SECONDS):
        left = await open_holds(next_one)
        assert 0 < left < 50
        await ask_all(next_one, [post("house", "ann")])
        assert await open_holds(next_one) == 0
        expiries = await next_one.pool.fetchval("SELECT count(*) FROM postings WHERE phase = 5")
        assert expiries == 2 * 50
    await assert_coherent(database_url, clock)


@pytest.mark.parametrize("count", [6, 7, 8, 14])
async def test_process_that_dies_before_freed_money_moves_on_leaves_that_to_the_next(
    database_url: str, clock: FakeClock, count: int
) -> None:
    """Also where the portion was the last one, so that nothing is due any more that could remind of it."""
    async with engine(database_url, clock, expiry_size=7) as dying:
        await dying.create_tenant()
        for account_id in ("house", "ann"):
            await ask_all(dying, [opening(account_id)])
        await ask_all(dying, [hold("house", "ann", clock) for _ in range(count)])
        further = ContinueAccount(account_id="ann", successor_id="ann@2", note="", kind=None, currency="")
        await ask_all(dying, [asked(further, Method.ContinueAccount, key())])
        clock.advance(seconds=11)
        commits = asyncio.Event()
        dying.ledger.on_commit(lambda *_: commits.set())
        asked_for = asyncio.create_task(ask_all(dying, [post("house", "ann@2")]))
        async with asyncio.timeout(HANG_SECONDS):
            await commits.wait()
        dying.ledger.abort()
        asked_for.cancel()

    async with engine(database_url, clock, expiry_size=7) as next_one, asyncio.timeout(HANG_SECONDS):
        await ask_all(next_one, [post("house", "ann@2")])
        left = await next_one.pool.fetchrow(
            "SELECT posted_debits - posted_credits, pending_debits, pending_credits"
            " FROM postings JOIN accounts USING (tenant_key, account_number)"
            " WHERE account_id = 'ann' ORDER BY sequence DESC, leg DESC LIMIT 1"
        )
        assert left is not None
        assert tuple(left) == (0, 0, 0)
    await assert_coherent(database_url, clock)
