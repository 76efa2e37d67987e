"""Readiness says whether calls should be sent here now; liveness still says that the process takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2
from prometheus_client import REGISTRY

from ledger_server.process.readiness import READY, Readiness
from ledger_server.store.connections import Connections
from ledger_server.store.migrate import APPLICATION_ROLE, known_revisions
from tests.support.database_proxy import DatabaseProxy
from tests.support.health import health
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import alter
from tests.support.service import serving

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ANSWER_SECONDS = 0.5

Change = Callable[[str, DatabaseProxy], Awaitable[None]]


async def fall_silent(_: str, proxy: DatabaseProxy) -> None:
    """Freeze the database, as far as anybody can see."""
    proxy.fall_silent()


async def speak(_: str, proxy: DatabaseProxy) -> None:
    """Let it answer again."""
    proxy.speak()


def settings(statement: str) -> Change:
    """Change the database, and end its sessions, so that new ones come."""

    async def change(database_url: str, _: DatabaseProxy) -> None:
        name = urlsplit(database_url).path.lstrip("/")
        elsewhere = urlsplit(database_url)._replace(path="/postgres").geturl()
        await alter(elsewhere, statement.format(name=name))
        await alter(
            elsewhere, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )

    return change


def revision(number: str) -> Change:
    """Have the schema be of another version."""

    async def change(database_url: str, _: DatabaseProxy) -> None:
        await alter(database_url, f"UPDATE alembic_version SET version_num = '{number}'")

    return change


HEAD = known_revisions()[-1]
WAYS: dict[str, tuple[Change, Change]] = {
    "frozen": (fall_silent, speak),
    "gone": (
        settings('ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'),
        settings('ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'),
    ),
    "schema too old": (revision("0011"), revision(HEAD)),
}


@asynccontextmanager
async def looked_at(
    database_url: str,
) -> AsyncIterator[tuple[Readiness, grpc_health.aio.HealthServicer, DatabaseProxy]]:
    """Have readiness looked at over a proxy, by hand."""
    proxy = DatabaseProxy(database_url)
    await proxy.open()
    pool = await Connections(proxy.url, role=APPLICATION_ROLE).open_pool(size=2, tells=False)
    shown = grpc_health.aio.HealthServicer()
    try:
        yield (
            Readiness(pool, shown, asyncio.Event(), look_seconds=HANG_SECONDS, answer_seconds=ANSWER_SECONDS),
            shown,
            proxy,
        )
    finally:
        pool.terminate()
        await proxy.close()


async def state_of(shown: grpc_health.aio.HealthServicer) -> tuple[object, object]:
    """Return what the health service says of readiness, and the metric."""
    context: Any = None  # which it does not use for a service that it knows
    answer = await shown.Check(health_pb2.HealthCheckRequest(service=READY), context)
    return answer.status, REGISTRY.get_sample_value("defter_ready")


@pytest.mark.parametrize("way", WAYS)
async def test_database_that_nothing_can_be_decided_on_makes_process_not_ready_until_it_is_back(
    database_url: str, way: str
) -> None:
    """A database that is frozen, gone or older takes the process out of service, and back."""
    begin, end = WAYS[way]
    async with looked_at(database_url) as (readiness, shown, proxy):
        await readiness.look()
        assert await state_of(shown) == (SERVING, 1)

        await begin(database_url, proxy)
        await readiness.look()
        assert await state_of(shown) == (NOT_SERVING, 0)

        await end(database_url, proxy)
        async with asyncio.timeout(HANG_SECONDS):
            while await state_of(shown) != (SERVING, 1):
                await readiness.look()


async def test_newer_schema_is_no_reason_to_be_not_ready(database_url: str) -> None:
    """The schema is expanded before new code comes; a server of the version before goes on."""
    async with looked_at(database_url) as (readiness, shown, proxy):
        await revision("9999")(database_url, proxy)
        await readiness.look()

        assert await state_of(shown) == (SERVING, 1)


async def test_sessions_that_ended_meanwhile_are_no_reason_to_be_not_ready(database_url: str) -> None:
    """A database that was restarted, or a network that dropped idle connections, is back already."""
    async with looked_at(database_url) as (readiness, shown, proxy):
        await readiness.look()
        await settings("SELECT '{name}'")(database_url, proxy)
        await readiness.look()

        assert await state_of(shown) == (SERVING, 1)


async def test_clock_and_history_and_drain_make_process_not_ready(database_url: str) -> None:
    """Each of them keeps the process from deciding, whatever the database says."""
    async with looked_at(database_url) as (readiness, shown, _):
        await readiness.astray(True)
        assert await state_of(shown) == (NOT_SERVING, 0)
        await readiness.astray(False)
        await readiness.look()
        assert await state_of(shown) == (SERVING, 1)

        readiness._another_history.set()
        await readiness.look()
        assert await state_of(shown) == (NOT_SERVING, 0)
        readiness._another_history.clear()
        await readiness.look()
        assert await state_of(shown) == (SERVING, 1)

        readiness.drain()
        await readiness.look()
        assert REGISTRY.get_sample_value("defter_ready") == 0


async def test_watch_of_readiness_is_told_of_each_change_and_liveness_of_none(database_url: str) -> None:
    """A load balancer sends calls elsewhere; nobody restarts a process for its database."""
    begin, end = WAYS["schema too old"]
    async with serving(database_url, drain_seconds=HANG_SECONDS) as service, asyncio.timeout(HANG_SECONDS):
        stub = health(service.channel)
        watch = aiter(stub.Watch(health_pb2.HealthCheckRequest(service=READY)))
        assert (await anext(watch)).status == SERVING

        await begin(database_url, DatabaseProxy(database_url))
        assert (await anext(watch)).status == NOT_SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING

        await end(database_url, DatabaseProxy(database_url))
        assert (await anext(watch)).status == SERVING

        await service.server.drain()
        assert (await anext(watch)).status == NOT_SERVING
