"""Own the running of histories: databases whose clock is simulated, one history after the other."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import logging
import random
import ssl
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import structlog

from tests.simulation.border.loop import SimulatedLoop, simulated_loop
from tests.simulation.border.oracle import faults_of
from tests.simulation.border.plan import Plan, plan_of
from tests.simulation.border.process import Process, clocks_of_processes
from tests.simulation.border.world import DEPOSIT, PAYOUT, REFUND, World
from tests.support.postgres import TEMPLATE, Databases, memory_folder

_SIMULATED_TEMPLATE: Final = "defter_simulated"
# One database serves this many histories, each with a tenant of its own; then a fresh database is used.
_HISTORIES_A_DATABASE: Final = 60
# SECURITY DEFINER: reading a file is a right of the database's owner.
_CLOCK: Final = """
CREATE OR REPLACE FUNCTION defter_now() RETURNS timestamptz LANGUAGE sql VOLATILE SECURITY DEFINER
AS $$ SELECT pg_read_file('{file}')::timestamptz $$
"""
_LIVE_SECONDS: Final = 150.0
# Fifty times what a history takes.
_MOST_TURNS: Final = 200_000
# Leftovers of a history must not be looked at in the next one.
_RETIRE: Final = """
UPDATE outbox SET open = false WHERE open;
UPDATE provider_events SET state = 3 WHERE state = 2;
UPDATE holds SET state = 3 WHERE state = 1;
DELETE FROM tenants;
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a history."""

    plan: Plan
    faults: list[str]


class Lab:
    """Runs histories on a PostgreSQL server."""

    def __init__(self, databases: Databases, loop: SimulatedLoop, clock_file: Path) -> None:
        self._databases = databases
        self._loop = loop
        self._numbers = itertools.count(1)
        self._tenants = itertools.count(1)
        self._database = ""
        self._left = 0
        self._running: list[Process] = []
        self._made: list[str] = []
        self._clock_file = clock_file

    async def close(self) -> None:
        """Leave nothing behind on the server."""
        for process in self._running:
            await process.kill()
        for name in [*self._made, _SIMULATED_TEMPLATE]:
            await self._sql("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def prepare(self) -> None:
        """Make the database that histories copy."""
        await self._sql("postgres", f"DROP DATABASE IF EXISTS {_SIMULATED_TEMPLATE}")
        await self._copy(TEMPLATE, _SIMULATED_TEMPLATE)
        await self._sql(_SIMULATED_TEMPLATE, _CLOCK.format(file=self._clock_file))
        # Servers draw an epoch here as in production, unlike in most tests.
        await self._sql(_SIMULATED_TEMPLATE, "UPDATE history SET epoch = NULL")

    async def run(self, plan: Plan) -> Result:
        """Run one history; an exception in it counts as a fault."""
        random.seed(plan.seed)
        database = await self._database_for(plan)
        world = World(
            self._loop, plan, f"history-{plan.seed}-{next(self._tenants)}", self._databases.url_of(database)
        )
        owner: Any = None
        try:
            await world.start(world.database_url, self._running)
            await self._live(world, database)
            owner = await asyncpg.connect(world.database_url)
            faults = await faults_of(world, owner)
        except asyncio.CancelledError:
            faults = [f"it has no end: after {_MOST_TURNS} turns of the loop it still goes on"]
        except Exception:  # noqa: BLE001  # the next histories are to be run all the same
            faults = [traceback.format_exc()]
        finally:
            world.give_up()
            await world.kill_copy()
            self._running = world.processes
            if owner is not None:
                await owner.execute(_RETIRE)
                await owner.close()
        if faults or plan.copy != "none":
            self._left = 0
        return Result(plan=plan, faults=faults)

    async def _live(self, world: World, database: str) -> None:
        plan = world.plan
        await world.open()
        backup = "" if plan.copy == "none" else await self._back_up(world, database)
        world.arm()
        await _tell_story(world)
        await world.live(_LIVE_SECONDS)
        match plan.copy:
            case "restore":
                await self._restore(world, backup)
                await _tell_story_again(world)
                if not await world.resume_calls():
                    raise AssertionError("a restored database went on calling the provider by itself")
                await world.live(_LIVE_SECONDS)
            case "staging":
                await world.wake_a_copy(self._databases.url_of(backup))
                async with world.at_the_copy():
                    await _tell_story_again(world)
                    if plan.seed % 2 and not await world.resume_calls():
                        raise AssertionError("a copy went on calling the provider by itself")
                    await world.live(_LIVE_SECONDS)
        if plan.review == "late mark":
            await world.mark_all_paid()
        await world.come_to_rest()

    async def _back_up(self, world: World, database: str) -> str:
        """Copy the database as it is; nobody may be connected meanwhile."""
        await world.kill_all()
        backup = f"border_{next(self._numbers)}"
        await self._copy(database, backup)
        self._made.append(backup)
        await world.start(world.database_url)
        return backup

    async def _restore(self, world: World, backup: str) -> None:
        """Lose the database, and go on with the copy."""
        await world.lose_everything()
        await world.start(self._databases.url_of(backup))

    async def _database_for(self, plan: Plan) -> str:
        if self._left == 0 or plan.copy != "none":
            for process in self._running:
                await process.kill()
            self._running = []
            for name in self._made:
                await self._sql("postgres", f"DROP DATABASE {name} WITH (FORCE)")
            self._made = [f"border_{next(self._numbers)}"]
            await self._copy(_SIMULATED_TEMPLATE, self._made[0])
            self._left = 1 if plan.copy != "none" else _HISTORIES_A_DATABASE
        self._left -= 1
        return self._made[0]

    async def _copy(self, source: str, target: str) -> None:
        statement = f"CREATE DATABASE {target} TEMPLATE {source} STRATEGY file_copy"
        await self._sql("postgres", statement)

    async def _sql(self, database: str, statement: str) -> None:
        connection = await asyncpg.connect(self._databases.url_of(database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


async def _tell_story(world: World) -> None:
    """Let people act out the plan."""
    plan = world.plan
    if plan.story in {"payout", "both"}:
        withdrawal_id = await world.withdraw(PAYOUT, "bank:first")
        match plan.review:
            case "approve" | "late mark":
                await world.approve(withdrawal_id)
            case "reject":
                await world.reject(withdrawal_id)
            case "cancel":
                await world.approve(withdrawal_id)
                await world.cancel(withdrawal_id)
            case "mark paid":
                await world.approve(withdrawal_id)
                await world.mark_paid(withdrawal_id)
    if plan.story in {"refund", "both"}:
        await world.refund(await world.funding_deposit(), REFUND)
    if plan.story in {"deposit", "both"}:
        await world.begin_deposit(DEPOSIT)
        world.players_pay()


async def _tell_story_again(world: World) -> None:
    """Let other people do the same in the history that goes on from the older backup."""
    same = world.plan.seed % 3 != 0
    if world.plan.story in {"payout", "both", "refund"}:
        await world.approve(await world.withdraw(PAYOUT if same else PAYOUT - 100, "bank:second"))
    else:
        await world.begin_deposit(DEPOSIT + 100)
        world.players_pay()


@contextlib.contextmanager
def laboratory(databases: Databases) -> Iterator[tuple[SimulatedLoop, Lab]]:
    """Yield a laboratory and its loop."""
    with tempfile.TemporaryDirectory(prefix="defter-clock-", dir=memory_folder()) as folder:
        place = Path(folder)
        place.chmod(0o711)
        with simulated_loop(place / "now") as loop, clocks_of_processes(loop), _quiet():
            lab = Lab(databases, loop, place / "now")
            loop.run_until_complete(lab.prepare())
            yield loop, lab
            loop.run_until_complete(lab.close())


def run(databases: Databases, seeds: Iterable[int]) -> Iterator[Result]:
    """Run the histories of these seeds.

    Raises:
        RuntimeError: one of them can't even be ended; the text names its seed.
    """
    with laboratory(databases) as (loop, lab):
        for seed in seeds:
            task = loop.create_task(lab.run(plan_of(seed)))
            loop.bound(task, _MOST_TURNS)
            try:
                yield loop.run_until_complete(task)
            except RuntimeError as error:
                raise RuntimeError(f"seed {seed}: {error}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log of intended faults, and read certificates only once: no process here needs them."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    make_context: Any = ssl.create_default_context
    ssl.create_default_context = functools.cache(make_context)  # type: ignore[assignment]
    try:
        yield
    finally:
        ssl.create_default_context = make_context
        logging.disable(disabled)
        structlog.configure(**before)
