"""Sweeps: whatever is due is found and done, whoever refuses for a while and whatever the neighbours do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ledger_server.domain.clock import system_clock
from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.domain.payments.events import EventState, EventType
from ledger_server.domain.state.commands import Method, PlaceHold
from ledger_server.engine.lane.lane_limits import LaneLimits
from ledger_server.jobs.hold_expiry import HoldExpiry
from ledger_server.jobs.parked_events import ParkedEvents
from ledger_server.jobs.tenant_sweep import RoundLimits, Rounds
from ledger_server.store import parked_store, sweep_store
from ledger_server.store.database import Pool
from tests.integration.dispatch.engine_cashier import TENANT, EngineCashier
from tests.integration.dispatch.test_parked_events import applied, initiated
from tests.support.postgres import alter
from tests.support.randomness import SEED
from tests.support.stumbling import TRANSIENT, Stumbling
from tests.support.tenant_lock import WAIT_SECONDS, head_locked

PAUSE = 0.05


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something has come about; each look is a round trip."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await reached():  # noqa: ASYNC110  # the job brings it about, in the database
            await asyncio.sleep(0.01)


def stumbling(cashier: EngineCashier, case: str, refusals: int, *, singly: bool = False) -> Stumbling:
    """Return another process's ledger that refuses that often."""
    ledger = Stumbling(cashier.pool, system_clock, LaneLimits())
    ledger.refusals, ledger.error, ledger.singly = refusals, TRANSIENT[case], singly
    return ledger


@asynccontextmanager
async def parked_job(
    cashier: EngineCashier, ledger: Stumbling, *, grace: float
) -> AsyncIterator[ParkedEvents]:
    """Run the job for parked events on a ledger."""
    job = ParkedEvents(ledger, cashier.pool, system_clock, pause_seconds=PAUSE, grace_seconds=grace)
    cashier.ledger.on_commit(job.committed)
    job.start()
    try:
        yield job
    finally:
        await job.stop()


async def due_hold(cashier: EngineCashier) -> int:
    """Place a hold and bring its time forward, however slow this machine is; return its number."""
    command = PlaceHold(
        debit_account_id="bank",
        credit_account_id="player:42:real:EUR",
        amount=1,
        currency="EUR",
        expire_time=datetime.now(UTC) + timedelta(hours=1),
        type=TransactionType.BET,
        reference="",
        metadata={},
    )
    number = (await cashier.ask(command, Method.PlaceHold)).sequence
    await alter(
        cashier.database_url,
        "UPDATE holds SET expire_time = now() - interval '1 second'"
        f" WHERE tenant_key = {cashier.key} AND hold_number = {number}",
    )
    return number


async def expired(cashier: EngineCashier, number: int) -> bool:
    """Whether the end of a hold is recorded."""
    state = await cashier.pool.fetchval(
        "SELECT state FROM holds WHERE tenant_key = $1 AND hold_number = $2", cashier.key, number
    )
    return bool(state == 4)


@pytest.mark.parametrize("refusals", [1, 3])
@pytest.mark.parametrize("case", TRANSIENT)
@pytest.mark.parametrize("first", ["event", "deposit of the other process"])
async def test_replay_that_was_refused_is_tried_again(
    cashier: EngineCashier, case: str, refusals: int, first: str
) -> None:
    """A parked event counts as tried when its replay was decided, and not before; no restart is needed."""
    async with parked_job(cashier, stumbling(cashier, case, refusals), grace=3_600.0):
        events = [
            await cashier.tell(EventType.PAYMENT_CAPTURED, f"pay_{index}", amount=5_000, final=True)
            for index in range(3)
        ]
        if first == "event":
            cashier.ledger._on_commit.clear()  # the deposit is another process's, so a sweep has to find it
        for index in range(3):
            await initiated(cashier, f"pay_{index}")
        for event in events:
            await applied(cashier, event)
    await cashier.assert_sound()


async def test_replay_of_which_each_item_was_refused_is_tried_again(cashier: EngineCashier) -> None:
    """An answer may refuse each item by itself; that decides nothing either."""
    event = await cashier.tell(EventType.PAYMENT_CAPTURED, "pay_1", amount=5_000, final=True)
    await initiated(cashier, "pay_1")
    async with parked_job(cashier, stumbling(cashier, "internal", 2, singly=True), grace=3_600.0):
        await applied(cashier, event)


@pytest.mark.parametrize("case", TRANSIENT)
async def test_report_that_was_refused_is_written_later(cashier: EngineCashier, case: str) -> None:
    """What is overdue stays on the list until its finding is written."""
    await cashier.tell(EventType.PAYMENT_CAPTURED, "nobodys_payment", amount=5_000)

    async def reported() -> bool:
        return await cashier.finding_classes() == [FindingClass.MISSING_IN_LEDGER]

    async with parked_job(cashier, stumbling(cashier, case, 3), grace=0.0):
        await until(reported)


@pytest.mark.parametrize("case", TRANSIENT)
async def test_expiry_that_was_refused_is_tried_again(cashier: EngineCashier, case: str) -> None:
    """A due hold is found again until its end is recorded."""
    number = await due_hold(cashier)
    job = HoldExpiry(stumbling(cashier, case, 3), cashier.pool, system_clock, PAUSE)
    job.start()
    try:
        await until(lambda: expired(cashier, number))
    finally:
        await job.stop()


@pytest.mark.parametrize("locked", [("casino",), ("aaa", "casino", "mmm", "nnn", "ooo", "ppp"), ("zzz",)])
async def test_sweep_past_locked_tenants_looks_after_all_others(
    cashier: EngineCashier, locked: tuple[str, ...]
) -> None:
    """Wherever locked tenants stand in the alphabet, nobody else waits; they follow when they are free."""
    names = sorted({"aaa", "mmm", "nnn", "ooo", "ppp", "zzz"})
    cashiers = {TENANT: cashier, **{name: await cashier.other_tenant(name) for name in names}}
    numbers = {name: await due_hold(each) for name, each in cashiers.items()}
    other = Stumbling(cashier.pool, system_clock, LaneLimits())
    job = HoldExpiry(other, cashier.pool, system_clock, PAUSE)

    async def done(wanted: set[str]) -> bool:
        return all([await expired(cashiers[name], numbers[name]) for name in wanted])

    try:
        async with many_locked(cashier.database_url, locked):
            job.start()
            await until(lambda: done(set(cashiers) - set(locked)))
            assert not [name for name in locked if await expired(cashiers[name], numbers[name])]
        await until(lambda: done(set(locked)))
    finally:
        await job.stop()
        other.abort()


@asynccontextmanager
async def many_locked(database_url: str, tenants: tuple[str, ...]) -> AsyncIterator[None]:
    """Keep the heads of tenants locked."""
    if not tenants:
        yield
        return
    async with head_locked(database_url, tenants[0]), many_locked(database_url, tenants[1:]):
        yield


@pytest.mark.parametrize("hung", [0, 1, 4, 20])
async def test_look_that_hangs_keeps_nobody_waiting(cashier: EngineCashier, hung: int) -> None:
    """Looks that never end go on beside the others, and so do those that always fail."""
    tenants = [f"t{number:02}" for number in range(40)]
    stuck = set(random.Random(f"{SEED}/hung").sample(tenants, hung))
    failing = set(random.Random(f"{SEED}/failing").sample(tenants, 5))
    seen: set[str] = set()
    all_seen = asyncio.Event()
    never = asyncio.Event()

    async def look(tenant_id: str) -> None:
        seen.add(tenant_id)
        if len(seen) == len(tenants):
            all_seen.set()
        if tenant_id in stuck:
            await never.wait()
        if tenant_id in failing:
            raise TimeoutError

    async def due() -> list[str]:
        return tenants

    rounds = Rounds("a job", look, due, cashier.pool, PAUSE, limits=RoundLimits(turn_seconds=0.01))
    rounds.start()
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await all_seen.wait()
    finally:
        await rounds.stop()


async def test_tenant_with_endless_work_takes_turns(cashier: EngineCashier) -> None:
    """Who has always more to do comes again behind those who wait."""
    turns: list[str] = []
    enough = asyncio.Event()

    async def look(tenant_id: str) -> bool:
        turns.append(tenant_id)
        if len(turns) == 30:
            enough.set()
        await asyncio.sleep(0)
        return True

    async def due() -> list[str]:
        return ["a", "b", "c"]

    rounds = Rounds("a job", look, due, cashier.pool, 60.0, limits=RoundLimits(looks_at_once=1))
    rounds.start()
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await enough.wait()
    finally:
        await rounds.stop()
    assert {turns.count(name) for name in "abc"} <= {9, 10, 11}


async def test_ask_for_a_look_during_a_look_brings_another_one(cashier: EngineCashier) -> None:
    """What happens after a look has begun may be what it did not see."""
    begun, go_on, twice = asyncio.Event(), asyncio.Event(), asyncio.Event()
    looks = 0

    async def look(_: str) -> None:
        nonlocal looks
        looks += 1
        begun.set()
        if looks == 2:
            twice.set()
        await go_on.wait()

    async def nothing() -> list[str]:
        return []

    rounds = Rounds("a job", look, nothing, cashier.pool, 60.0)
    rounds.start()
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            rounds.look_at("a")
            await begun.wait()
            rounds.look_at("a")
            go_on.set()
            await twice.wait()
    finally:
        await rounds.stop()


NOW = datetime(2030, 1, 1, tzinfo=UTC)
_HOLDS = """
INSERT INTO holds (tenant_key, hold_number, debit_account_number, credit_account_number, currency_code,
    amount, captured, released, state, expire_time, transaction_type, place_time, limit_breached)
SELECT $1, n, 1, 2, 'EUR', 1, 0, 0, $2, $3, 6, $4, false FROM generate_series($5::int, $6::int) n
"""
_EVENTS = """
INSERT INTO provider_events (tenant_key, event_number, provider, event_id, type, payment_ref, state,
    receive_time, update_time, changed_by, payload, body)
SELECT $1, n, 'mock', 'e' || n, 3, 'p' || n, $2, $3, $4, n, '', '' FROM generate_series($5::int, $6::int) n
"""


class Stored:
    """Tenants with rows that are due, or not, or over; and which of them a sweep has to find."""

    def __init__(self, connection: asyncpg.Connection[Any], pool: Pool, chance: random.Random) -> None:
        self._connection = connection
        self.pool = pool
        self._chance = chance
        self.due: set[str] = set()

    async def fill(self, statement: str, *, open_state: int, over_state: int, heavy: bool) -> None:
        """Write rows for thirty tenants, thousands of them for one of them if `heavy`."""
        names = [f"t{number:02}" for number in range(30)]
        for index, name in enumerate(names):
            key = tenant_key(TenantId(name))
            await self._connection.execute(
                "INSERT INTO tenants (tenant_key, tenant_id, sequence, chain_hash, record_time,"
                " balance_enforcement, create_time) VALUES ($1, $2, 1, '', $3, 1, $3)",
                key,
                name,
                NOW,
            )
            first = 1
            for _ in range(self._chance.randrange(3)):
                due, over = self._chance.random() < 0.4, self._chance.random() < 0.3
                time = NOW + timedelta(seconds=self._chance.choice([-86_400, -1] if due else [1, 86_400]))
                count = self._chance.choice([1, 2, 600])
                state = over_state if over else open_state
                last = first + count - 1
                await self._connection.execute(statement, key, state, time, NOW, first, last)
                first = last + 1
                if due and not over:
                    self.due.add(name)
            if heavy and index == 7:
                old = NOW - timedelta(days=9)
                await self._connection.execute(statement, key, open_state, old, NOW, 100_000, 103_000)
                self.due.add(name)


@asynccontextmanager
async def stored(cashier: EngineCashier, seed: int) -> AsyncIterator[Stored]:
    """Open tables that may be filled by hand."""
    connection = await asyncpg.connect(cashier.database_url)
    try:
        yield Stored(connection, cashier.pool, random.Random(f"{SEED}/{seed}"))
    finally:
        await connection.close()


@pytest.mark.parametrize("heavy", [True, False])
@pytest.mark.parametrize("seed", range(5))
async def test_find_due_holds_names_exactly_their_tenants(
    cashier: EngineCashier, seed: int, heavy: bool
) -> None:
    """However much one tenant has due, all others that have something due are found, and nobody else is."""
    async with stored(cashier, seed) as tables:
        await tables.fill(_HOLDS, open_state=1, over_state=2, heavy=heavy)
        found = await sweep_store.tenants_with_due_holds(tables.pool, NOW)
        assert sorted(found) == sorted(tables.due)


@pytest.mark.parametrize("heavy", [True, False])
@pytest.mark.parametrize("seed", range(5))
async def test_find_overdue_events_names_exactly_their_tenants(
    cashier: EngineCashier, seed: int, heavy: bool
) -> None:
    """The same of events that have been parked for too long."""
    ever = datetime(1970, 1, 1, tzinfo=UTC)
    async with stored(cashier, seed) as tables:
        await tables.fill(_EVENTS, open_state=EventState.PARKED, over_state=1, heavy=heavy)
        found = await parked_store.tenants_with_overdue_events(tables.pool, ever, NOW)
        assert sorted(found) == sorted(tables.due)


@pytest.mark.parametrize("heavy", [True, False])
async def test_find_ready_events_names_exactly_their_tenants(cashier: EngineCashier, heavy: bool) -> None:
    """Of the tenants with parked events, those are found whose payment is there."""
    async with stored(cashier, 1) as tables:
        await tables.fill(_EVENTS, open_state=EventState.PARKED, over_state=1, heavy=heavy)
    waiting = await cashier.other_tenant("waiting")
    for each in (cashier, waiting):
        await each.tell(EventType.PAYMENT_CAPTURED, "pay_1", amount=5_000, final=True)
    await initiated(cashier, "pay_1")
    assert await parked_store.tenants_with_ready_events(cashier.pool) == [cashier.tenant_id]
