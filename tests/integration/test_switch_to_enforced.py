"""A switch to ENFORCED is right at its commit, whatever other lanes and processes decide meanwhile."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from ledger_server.domain.decisions.enforcement import against
from ledger_server.domain.ledger.accounts import AccountKind, Direction, Limits, default_limits
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.state.commands import (
    ContinueAccount,
    Enforcement,
    Method,
    OpenAccount,
    PlaceHold,
    PostTransaction,
    SetBalanceEnforcement,
)
from ledger_server.domain.state.limit_survey import NO_SURVEY, LimitSurvey
from ledger_server.domain.state.working_set import AccountEntry, WorkingSet
from ledger_server.engine.lane.loading_unloaded import load_unloaded
from ledger_server.engine.lane.work import Request
from ledger_server.engine.reads.enforcement import EnforcementReads
from ledger_server.engine.reads.ledger import Reads
from ledger_server.store.lane_store import load_accounts
from tests.support.clock import FakeClock
from tests.support.engine import IDS, KEY, TENANT, Engine, asked, assert_coherent, engine
from tests.support.randomness import SEED

PLAYERS = tuple(f"player-{number}" for number in range(6))
UNLIMITED = Limits(min_available=None, max_balance=None)


def moved(debit: str, credit: str, amount: int, key: str) -> Request:
    """Return the request for a transfer."""
    legs = (
        NewPosting(debit, Direction.DEBIT, amount, "EUR"),
        NewPosting(credit, Direction.CREDIT, amount, "EUR"),
    )
    return asked(PostTransaction(TransactionType.BET, legs, "", None, {}), Method.PostTransaction, key)


def switched(to: Enforcement, key: str, survey: LimitSurvey, *, force: bool = False) -> Request:
    """Return the request for a switch."""
    command = SetBalanceEnforcement(enforcement=to, reason="because", force=force, survey=survey)
    return asked(command, Method.SetBalanceEnforcement, key)


async def open_books(one: Engine) -> None:
    """Create the tenant in SHADOW with players who have nothing, and a house without limits."""
    await one.create_tenant()
    for name in (*PLAYERS, "house"):
        kind = AccountKind.ASSET if name == "house" else AccountKind.LIABILITY
        limits = UNLIMITED if name == "house" else default_limits(kind)
        command = OpenAccount(account_id=name, kind=kind, currency="EUR", limits=limits, metadata={})
        await one.ask(asked(command, Method.OpenAccount, name))
    await one.ask(switched(Enforcement.SHADOW, "shadow", NO_SURVEY))


async def survey_of(one: Engine, clock: FakeClock) -> LimitSurvey:
    """Look at all accounts as a server does before it asks the lane."""
    return await EnforcementReads(Reads(one.pool, clock)).survey(TENANT)


@pytest.mark.parametrize("expiry_size", [1, 2, 3, 1_000])
async def test_money_of_holds_that_end_before_the_switch_moves_to_the_successor(
    database_url: str, clock: FakeClock, expiry_size: int
) -> None:
    """However many holds end in one go: what they held on a continued account is the successor's at once."""
    async with engine(database_url, clock, expiry_size=expiry_size) as one:
        await open_books(one)
        await one.ask(moved("house", "player-0", 90, "fund"))
        for number in range(3):
            hold = PlaceHold(
                debit_account_id="player-0",
                credit_account_id="house",
                amount=30,
                currency="EUR",
                expire_time=clock.now + timedelta(seconds=5),
                type=TransactionType.BET,
                reference="",
                metadata={},
            )
            await one.ask(asked(hold, Method.PlaceHold, f"hold-{number}"))
        further = ContinueAccount(
            account_id="player-0", successor_id="player-0@2", note="", kind=None, currency=""
        )
        await one.ask(asked(further, Method.ContinueAccount, "continue"))
        clock.advance(seconds=10)

        survey = await survey_of(one, clock)
        assert not (await one.ask(switched(Enforcement.ENFORCED, "enforce", survey))).rejected
        spent = await one.ask(moved("player-0@2", "house", 90, "spend"))

        assert not spent.rejected, spent
    await assert_coherent(database_url, clock)


@pytest.mark.parametrize("cache_size", [1, 10_000], ids=["forgetful", "warm"])
async def test_overdraft_behind_the_survey_is_seen(
    database_url: str, clock: FakeClock, cache_size: int
) -> None:
    """Of another process, of the same lane, or in the same batch: the switch knows of each."""
    async with (
        engine(database_url, clock, cache_size=cache_size) as one,
        engine(database_url, clock, cache_size=cache_size) as other,
    ):
        await open_books(one)
        survey = await survey_of(one, clock)
        await other.ask(moved("player-0", "house", 1, "elsewhere"))
        await one.ask(moved("player-1", "house", 1, "here"))
        _, refused = await asyncio.gather(
            one.ask(moved("player-2", "house", 1, "beside")),
            one.ask(switched(Enforcement.ENFORCED, "first", survey)),
        )
        stale = survey
        survey = await survey_of(one, clock)
        for number in range(3):
            await other.ask(moved("house", f"player-{number}", 1, f"mended {number}"))
        done = await one.ask(switched(Enforcement.ENFORCED, "second", survey))

        assert (stale.below, len(survey.below)) == ((), 3)
        assert refused.rejected
        assert not done.rejected
        broke = await other.ask(moved("player-3", "house", 1, "after"))
        assert broke.rejected
    await assert_coherent(database_url, clock)


@pytest.mark.parametrize("seed", range(3))
async def test_switches_beside_overdrafts_of_two_processes_are_right_at_their_commit(
    database_url: str, clock: FakeClock, seed: int
) -> None:
    """VerifyJournal counts at each switch who stands below, and tells if it was made in spite of it."""
    chance = random.Random(f"{SEED}-{seed}")
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(engine(database_url, clock, cache_size=chance.choice([1, 100])))
            for _ in range(2)
        ]
        await open_books(engines[0])
        old = NO_SURVEY
        for turn in range(12):
            old = await survey_of(engines[0], clock)
            asks = []
            for number in range(chance.randint(1, 30)):
                legs = [chance.choice(PLAYERS), "house"]
                chance.shuffle(legs)
                asks.append(moved(legs[0], legs[1], chance.randint(1, 2), f"{turn}-{number}"))
            survey = chance.choice([old, NO_SURVEY])
            force = chance.random() < 0.3
            asks.insert(
                chance.randint(0, len(asks)),
                switched(Enforcement.ENFORCED, f"enforce {turn}", survey, force=force),
            )
            await asyncio.gather(*(chance.choice(engines).ask(each) for each in asks))
            await engines[0].ask(switched(Enforcement.SHADOW, f"shadow {turn}", NO_SURVEY))
            amounts = {each: chance.randint(1, 6) for each in PLAYERS}
            mending = [moved("house", each, amounts[each], f"mended {turn} {each}") for each in PLAYERS]
            await asyncio.gather(*(chance.choice(engines).ask(each) for each in mending))
        await engines[1].ask(moved("player-0", "house", 10_000, "too much"))
        refused = await engines[0].ask(switched(Enforcement.ENFORCED, "refused", old))
        for each in PLAYERS:
            await engines[1].ask(moved("house", each, 10_000, f"enough {each}"))
        done = await engines[0].ask(switched(Enforcement.ENFORCED, "done", old))

        assert (refused.rejected, done.rejected) == (True, False)
    await assert_coherent(database_url, clock)


async def test_what_is_not_committed_is_kept_until_the_switch_is_decided(
    database_url: str, clock: FakeClock
) -> None:
    """A commit may end while accounts are counted; what it has changed must not be forgotten by that."""
    async with engine(database_url, clock) as one:
        await open_books(one)
        working_set = WorkingSet(
            IDS, sequence=9, record_time=clock.now, enforcement=Enforcement.SHADOW, create_time=clock.now
        )
        async with one.pool.acquire() as connection:
            found = await load_accounts(connection, KEY, PLAYERS)
            for name, loaded in found.items():
                overdrawn = loaded.counters.changed(Direction.DEBIT, 1, 0)
                working_set.accounts[name] = AccountEntry(loaded.account, overdrawn, stamp=1)
            working_set.stamp = 2
            await load_unloaded(connection, KEY, working_set, NO_SURVEY)

        working_set.forget(1, 0, 0)

        assert against(working_set).below_count == len(PLAYERS)
