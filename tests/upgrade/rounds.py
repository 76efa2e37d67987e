"""Own one upgrade under traffic: migrate, start the new server, end the old one, and prove it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import grpc
from grpc_health.v1 import health_pb2

from ledger_server.process.readiness import READY
from ledger_server.store import migrate
from tests.support.health import health
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.released import Released
from tests.support.service import run_defter
from tests.support.wire import open_channel
from tests.upgrade.books import Books
from tests.upgrade.databases import Place
from tests.upgrade.filling import TENANT, Tell
from tests.upgrade.traffic import Target, Traffic

BEFORE, MIGRATING, MIGRATED, BOTH, AFTER = PHASES = ("before", "migrating", "migrated", "both", "after")
_PAYMENTS: Final = "0002"
_LOOK_SECONDS: Final = 0.005
# What `defter migrate` says where an operator runs it again (docs/operations/upgrade.md).
_AGAIN: Final = ("lock timeout", "deadlock detected")
_WHERE_IT_IS: Final = """
SELECT (SELECT version_num FROM alembic_version), EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND (classid::bigint << 32) + objid::bigint = $1 AND objsubid = 1
)
"""


@dataclass
class Round:
    """How an upgrade went.

    Attributes:
        record_count: of the journal when traffic began.
        migrations: seconds of each migration, or of some that were too quick to be told apart.
        lock_seconds: the longest wait for a lock on a table; 0 if PostgreSQL has seen none worth telling.
        migrate_count: how often `defter migrate` was run: more than once where it got no lock in time.
        traffic: what callers have heard.
        wrong: what must not be; empty for a good round.
    """

    revision: str
    record_count: int = 0
    migrations: dict[str, float] = field(default_factory=dict)
    lock_seconds: float = 0.0
    migrate_count: int = 0
    verify_seconds: float | None = None
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def wrong(self) -> list[str]:
        """What must not be."""
        return self.traffic.wrong


async def run_round(
    place: Place, revision: str, server: Released, *, seconds: float, verify: bool, tell: Tell
) -> Round:
    """Upgrade a copy of the filled database from a revision to the newest one.

    Args:
        seconds: how long each of the phases but that of the migration lasts.
        verify: whether `defter verify` runs at the end.
    """
    done = Round(revision)
    traffic = done.traffic
    async with place.copy(revision, tell) as url, AsyncExitStack() as running:
        tell(f"copied; the server of {server.commit[:7]} (schema {server.schema}) starts")
        old = await running.enter_async_context(place.serving(url, revision, log=f"{revision}-old"))
        channel = await running.enter_async_context(open_channel(old.port))
        ledger = Ledger(channel, TENANT)
        done.record_count, books = await ledger.head(), await Books.of(ledger)
        traffic.route = [Target(channel, refuses_whole=not server.knows_epochs)]
        traffic.phase = BEFORE
        async with traffic.going_on(payments=revision >= _PAYMENTS):
            await asyncio.sleep(seconds)
            traffic.phase = MIGRATING
            place.longest_wait()
            await _migrate(url, done, tell)
            done.lock_seconds = place.longest_wait()
            traffic.phase = MIGRATED
            await asyncio.sleep(seconds)
            traffic.phase = BOTH
            new = await running.enter_async_context(place.serving(url, None, log=f"{revision}-new"))
            today = Ledger(await running.enter_async_context(open_channel(new.port)), TENANT)
            await _until_ready(today.channel)
            newest = Target(today.channel, refuses_whole=False)
            # A server from before epochs can't write beside it (CONTRIBUTING.md).
            traffic.route = [*traffic.route, newest] if server.knows_epochs else [newest]
            await asyncio.sleep(seconds)
            traffic.phase = AFTER
            old.terminate()
            if code := await old.wait():
                traffic.wrong.append(f"the old server ended with {code}")
            traffic.route = [newest]
            await asyncio.sleep(seconds)
        tell(f"{traffic.call_count:,} calls were answered")
        await traffic.check(today, after_sequence=done.record_count)
        # After some of it was asked again.
        if (found := await Books.of(today)) != books + traffic.sent:
            traffic.wrong.append(f"the trial balance is {found}, not {books + traffic.sent}")
        if verify:
            begun = time.monotonic()
            verified = await run_defter("verify", "--all", "--server", f"127.0.0.1:{new.port}")
            done.verify_seconds = time.monotonic() - begun
            tell(verified.stdout.strip())
            if verified.returncode:
                traffic.wrong.append(f"defter verify ends with {verified.returncode}: {verified.stderr}")
    return done


async def _migrate(url: str, done: Round, tell: Tell) -> None:
    """Run `defter migrate` as an operator does: again where a lock was not to be had."""
    environment = {"DEFTER_DATABASE_URL": url}
    looking = asyncio.create_task(_look(url, done.migrations))
    while True:
        done.migrate_count += 1
        migrated = await run_defter("migrate", **environment)
        if migrated.returncode == 0:
            break
        text = migrated.stdout + migrated.stderr
        if not any(each in text for each in _AGAIN):
            done.wrong.append(f"defter migrate: {text}")
            break
        tell("defter migrate got no lock in time, and runs again")
    await asyncio.sleep(2 * _LOOK_SECONDS)
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking
    checked = await run_defter("migrate", "--check", **environment)
    if checked.returncode:
        done.wrong.append(f"defter migrate --check: {checked.stdout}")
    tell(", ".join(f"{revision}: {seconds:.2f} s" for revision, seconds in done.migrations.items()))


async def _look(url: str, migrations: dict[str, float]) -> None:
    """Note how long each migration takes, from the one before it or the lock that `defter migrate` takes."""
    connection = await asyncpg.connect(url)
    try:
        [(revision, _)] = await connection.fetch(_WHERE_IT_IS, migrate.ADVISORY_LOCK)
        begun: float | None = None
        while True:
            [(found, locked)] = await connection.fetch(_WHERE_IT_IS, migrate.ADVISORY_LOCK)
            now = time.monotonic()
            if found != revision:
                # More than one where the machine was too busy to see each.
                steps = "+".join(migrate.steps(revision, found))
                migrations[steps] = 0.0 if begun is None else now - begun
                revision = found
                begun = now
            elif begun is None or not locked:
                begun = now if locked else None
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await connection.close()


async def _until_ready(channel: grpc.aio.Channel) -> None:
    request = health_pb2.HealthCheckRequest(service=READY)
    async with asyncio.timeout(HANG_SECONDS):
        while (await health(channel).Check(request)).status != health_pb2.HealthCheckResponse.SERVING:
            pass  # every look is a round trip, in which all other work goes on
