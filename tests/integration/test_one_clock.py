"""One clock: what is decided follows the database's, whatever the clocks of a process say."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2

from ledger_server.domain.adjustments.adjustment import NO_ADJUSTMENT_POLICY
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.domain.ledger.accounts import AccountKind, Limits
from ledger_server.domain.payments.withdrawal import NO_POLICY
from ledger_server.domain.state.commands import Enforcement, Method, OpenAccount
from ledger_server.domain.state.facts import EnforcementChanged, FactKind
from ledger_server.engine.records.journal import NO_CHAIN_HASH, chain
from ledger_server.process.settings import Settings
from ledger_server.store import lane_store, lane_writes
from ledger_server.store.database import open_pool
from ledger_server.store.database_clock import ClockLimits, DatabaseClock
from ledger_server.store.lane_store import Head
from ledger_server.store.lane_writes import HeadMoved, TimeRefused
from ledger_server.store.ledger_rows import JournalRow
from tests.support.cashier import Cashier
from tests.support.clock import FakeClock
from tests.support.engine import KEY, TENANT, Engine, asked, engine
from tests.support.fake_provider import fake_providers
from tests.support.health import health
from tests.support.ledger import Ledger
from tests.support.own_clocks import Machine
from tests.support.requests import timestamp, transfer
from tests.support.service import Service, serving
from tests.support.tenant_lock import WAIT_SECONDS
from tests.support.wire import refusal

DAY = 86_400.0
WINDOW = timedelta(seconds=ClockLimits().record_seconds)


async def database_time(database_url: str) -> datetime:
    """Return what the database's clock says."""
    connection = await asyncpg.connect(database_url)
    try:
        found: datetime = await connection.fetchval("SELECT defter_now()")
    finally:
        await connection.close()
    return found


async def set_database_clock(database_url: str, seconds: float) -> None:
    """Set the database's clock ahead (or behind) by so much."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "CREATE OR REPLACE FUNCTION defter_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE"
            f" AS $$ SELECT clock_timestamp() + interval '{seconds} s' $$"
        )
    finally:
        await connection.close()


CALLS: dict[str, Callable[[Service, Ledger], Awaitable[object]]] = {
    "post": lambda _, ledger: ledger.post("house", "ann", 1),
    "open": lambda _, ledger: ledger.open("bob"),
    "hold": lambda _, ledger: ledger.place_hold("house", "ann", 1),
    "deposit": lambda _, ledger: Cashier(ledger).initiate(),
    "withdraw": lambda _, ledger: Cashier(ledger).request(),
    "policy": lambda _, ledger: Cashier(ledger).set_policy(),
    "tenant": lambda service, _: service.new_ledger("another"),
}


@pytest.mark.parametrize("wall", [-26 * 3_600.0, -70.0, 70.0, 26 * 3_600.0])
@pytest.mark.parametrize("from_the_start", [True, False])
async def test_ask_server_whose_clock_is_far_off_is_refused_and_changes_nothing(
    database_url: str, wall: float, from_the_start: bool
) -> None:
    """Beyond the bound a process starts, reads and says so; it decides nothing until its clock is right."""
    machine = Machine(wall=wall if from_the_start else 0.0)
    async with (
        serving(database_url, providers=fake_providers()) as right,
        serving(database_url, own_clocks=machine.clocks, providers=fake_providers()) as wrong,
    ):
        ledger = await right.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        head = await ledger.head()
        machine.wall = wall

        for call in CALLS.values():
            refused = await refusal(call(wrong, wrong.ledger(ledger.tenant_id)))
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "CLOCK_ASTRAY")
            assert set(refused.metadata) == {"offset_seconds", "bound_seconds"}
            assert float(refused.metadata["offset_seconds"]) == pytest.approx(wall, abs=3.0)
        assert await wrong.ledger(ledger.tenant_id).head() == head
        await until_health(wrong, health_pb2.HealthCheckResponse.NOT_SERVING)

        machine.wall = 0.0
        again = Ledger(wrong.channel, ledger.tenant_id, key_prefix="again")
        await again.post("house", "ann", 1)
        await until_health(wrong, health_pb2.HealthCheckResponse.SERVING)


async def until_health(service: Service, state: int) -> None:
    """Wait until the health service says so."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for answer in health(service.channel).Watch(health_pb2.HealthCheckRequest()):
            if answer.status == state:
                return


@pytest.mark.parametrize("wall", [-50.0, -3.0, 0.0, 3.0, 50.0])
@pytest.mark.parametrize("database", [-DAY, -20.0, 0.0, 20.0, DAY])
async def test_post_and_hold_follow_the_databases_clock_within_the_bound(
    database_url: str, wall: float, database: float
) -> None:
    """A clock that is a little off decides nothing by itself, nor does any other but the database's."""
    await set_database_clock(database_url, database)
    machine = Machine(wall=database + wall)
    async with serving(database_url, own_clocks=machine.clocks) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        before = await database_time(database_url)
        ends = before + timedelta(seconds=45)
        hold = await ledger.place_hold("house", "ann", 1, expire_time=timestamp(ends))
        await ledger.post("house", "ann", 1)
        after = await database_time(database_url)

        record = (await ledger.entries())[-1].record
        told = record.record_time.ToDatetime(tzinfo=UTC)
        assert before - timedelta(seconds=2) <= told <= after + timedelta(seconds=2)
        assert (await ledger.hold(hold.hold_id)).state == hold.state
        assert not await ledger.records("hold_expired")


@asynccontextmanager
async def mistaken_engine(database_url: str, machine: Machine) -> AsyncIterator[Engine]:
    """Run an engine that believes in its own clocks for as long as nobody makes it doubt them."""
    role = Settings(database_url=database_url).application_role
    pool = await open_pool(database_url, role=role, size=1)
    patient = ClockLimits(max_age_seconds=10 * DAY, bound_seconds=10 * DAY)
    clock = DatabaseClock(pool, patient, own=machine.clocks)
    try:
        await clock.known()
        async with engine(database_url, clock) as running:
            yield running
    finally:
        pool.terminate()


def opening(number: int) -> OpenAccount:
    """Return the command that opens an account."""
    return OpenAccount(
        account_id=f"account:{number}",
        kind=AccountKind.LIABILITY,
        currency="EUR",
        limits=Limits(min_available=None, max_balance=None),
        metadata={},
    )


@pytest.mark.parametrize("seconds", [-26 * 3_600.0, -60.0, 0.0, 60.0, 26 * 3_600.0])
@pytest.mark.parametrize("count", [1, 400])
@pytest.mark.parametrize("warm", [True, False])
async def test_commit_by_process_that_is_mistaken_about_the_time_decides_anew(
    database_url: str, seconds: float, count: int, warm: bool
) -> None:
    """Where no clock of a copied machine shows it, the database refuses the time, by each way to write."""
    machine = Machine()
    async with mistaken_engine(database_url, machine) as running:
        begun = await database_time(database_url)
        await running.create_tenant()
        if warm:
            await running.ask(asked(opening(9_999), Method.OpenAccount, "warm"))
        machine.mistake(max(seconds, -machine.clocks.elapsed() + 1.0) if seconds < 0 else seconds)
        requests = [asked(opening(number), Method.OpenAccount, f"open{number}") for number in range(count)]

        outcomes = await running.ledger.submit(TENANT, requests)

        assert not any(outcome.rejected for outcome in outcomes)
        now = await database_time(database_url)
        times = await running.pool.fetch("SELECT record_time FROM journal WHERE tenant_key = $1", KEY)
        assert all(begun - WINDOW <= row["record_time"] <= now + WINDOW for row in times)


@pytest.mark.parametrize("late", [-26 * 3_600.0, -11.0, 0.0, 5.0, 120.0, 26 * 3_600.0])
@pytest.mark.parametrize("way", ["one statement", "copy", "locked", "new tenant"])
async def test_write_record_time_far_from_the_databases_is_refused(
    database_url: str, way: str, late: float
) -> None:
    """Every statement that moves a head asks the database's clock, and writes nothing if it disagrees."""
    allowed = abs(late) < WINDOW.total_seconds()
    async with engine(database_url, FakeClock(await database_time(database_url))) as running:
        await running.create_tenant()
        moment = await database_time(database_url) + timedelta(seconds=late)
        rows = journal(2, 2 + (300 if way == "copy" else 1), moment)
        refused: type[Exception] | None = None
        async with running.pool.acquire() as connection:
            try:
                if way in ("one statement", "copy"):
                    found = await lane_store.read_head(connection, KEY, lock=False)
                    assert found is not None
                    start = lane_writes.Start(found.sequence, found.chain_hash, found.epoch)
                    await lane_writes.commit_from(connection, KEY, start, rows, {}, window=WINDOW)
                elif way == "locked":
                    async with connection.transaction():
                        await lane_writes.write_locked(connection, KEY, rows, {}, window=WINDOW)
                else:
                    async with connection.transaction():
                        await lane_writes.insert_tenant(
                            connection, tenant_key(TenantId("b")), head("b", moment), window=WINDOW
                        )
            except (HeadMoved, TimeRefused) as error:
                refused = type(error)
                if way == "copy":
                    await connection.execute("ROLLBACK")
            written = await connection.fetchval(
                "SELECT count(*) FROM journal WHERE sequence > 1"
            ) + await connection.fetchval("SELECT count(*) - 1 FROM tenants")
        assert (refused is None, written > 0) == (allowed, allowed)


def journal(first: int, end: int, moment: datetime) -> list[JournalRow]:
    """Return records of no great meaning."""
    rows: list[JournalRow] = []
    for sequence in range(first, end):
        fact = EnforcementChanged(FactKind.TENANT_CREATED, Enforcement.ENFORCED, moment, switch=None)
        record = hashlib.sha256(str(sequence).encode()).digest()
        rows.append(
            JournalRow(sequence, fact, None, None, moment, record, chain(NO_CHAIN_HASH, record), content=b"")
        )
    return rows


def head(tenant_id: str, moment: datetime) -> Head:
    """Return the head of a new tenant."""
    return Head(
        tenant_id=tenant_id,
        sequence=1,
        chain_hash=b"x" * 32,
        record_time=moment,
        enforcement=Enforcement.ENFORCED,
        create_time=moment,
        policy=NO_POLICY,
        adjustment_policy=NO_ADJUSTMENT_POLICY,
        epochs=(),
        epoch="",
        final_time=None,
    )


@pytest.mark.parametrize("ahead", [30.0, DAY])
async def test_post_behind_record_of_the_future_keeps_its_time(database_url: str, ahead: float) -> None:
    """A head that an earlier version left ahead of time stays in force; the tenant's time stands still."""
    future = FakeClock(await database_time(database_url) + timedelta(seconds=ahead))
    async with serving(database_url, clock=future) as damaging:
        ledger = await damaging.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
    async with serving(database_url) as service:
        ledger = service.ledger()
        for number in range(3):
            await ledger.submit(transfer("house", "ann", 1), key=f"later{number}")
        times = [entry.record.record_time.ToDatetime(tzinfo=UTC) for entry in await ledger.entries()]
        assert set(times) == {future.now}
        assert not (await ledger.verify()).HasField("first_difference")
