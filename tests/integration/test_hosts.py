"""Test that the primary is found among several hosts, whatever the others do with a connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from ledger_server.store.hosts import Hosts, NoPrimary
from ledger_server.store.migrate import APPLICATION_ROLE, known_revisions, upgrade
from ledger_server.store.schema_revision import read_revision
from tests.support.patience import HANG_SECONDS
from tests.support.service import run_defter, serving
from tools.free_ports import free_port


@asynccontextmanager
async def silent_host() -> AsyncIterator[str]:
    """A host that takes connections and says nothing, as one that stands still does."""
    held = []

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in held:
            writer.close()


def with_hosts(database_url: str, *before: str) -> str:
    """Return a URL with more hosts, before the real one."""
    parts = urlsplit(database_url)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}@{','.join((*before, host))}").geturl()


async def test_serve_with_silent_and_dead_hosts_first_uses_the_primary(database_url: str) -> None:
    """All pools, the clock's among them, and migrations go where the primary is."""
    async with silent_host() as silent:
        url = with_hosts(database_url, silent, f"127.0.0.1:{free_port()}")
        async with asyncio.timeout(HANG_SECONDS), serving(url) as service:
            ledger = await service.new_ledger()
            await ledger.open_house()
            await ledger.open("ann")
            await ledger.fund("ann", 5)
            assert await ledger.posted("ann") == 5
        newest = known_revisions()[-1]
        assert await read_revision(url, application_role=APPLICATION_ROLE) == newest
        assert await asyncio.to_thread(upgrade, url) == newest


async def test_hosts_without_a_primary_are_told_one_by_one(database_url: str) -> None:
    """Nobody is used who was replaced, though it takes writes; a command's error is one line."""
    dead = f"127.0.0.1:{free_port()}"
    url = with_hosts(database_url, dead)
    found = await Hosts(url).look()
    later = {found.system_identifier: found.timeline + 1}

    with pytest.raises(
        NoPrimary, match=f"{dead}: .*a primary that was replaced: its timeline is 1, 2 was seen"
    ):
        await Hosts(url, newest=later).connect()
    ran = await run_defter("serve", DEFTER_DATABASE_URL=with_hosts(f"postgresql://u@{dead}/d", dead))
    assert ran.returncode == 1
    assert ran.stderr.startswith("can't start: the database at")
    assert "Traceback" not in ran.stderr


async def test_new_primary_is_noticed_while_the_old_one_lives_on(database_url: str) -> None:
    """A server that is connected to a primary which was replaced starts anew; before, nothing happens."""
    hosts, changed = Hosts(with_hosts(database_url, f"127.0.0.1:{free_port()}")), asyncio.Event()
    timeline = (await hosts.look()).timeline
    watching = asyncio.create_task(hosts.watch(timeline, changed, seconds=0.0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(changed.wait(), 0.5)  # many looks, of which none may be the one
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    await asyncio.wait_for(hosts.watch(timeline - 1, changed, seconds=0.0), HANG_SECONDS)
    assert changed.is_set()


async def test_session_that_turns_read_only_is_thrown_out_of_the_pool(database_url: str) -> None:
    """Behind a pooler a session may come to lead to a standby; the next call gets another one."""
    async with serving(database_url, write_connections=1) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        pool = service.server._pools[0]
        async with pool.unproven() as connection:
            await connection.execute("SET default_transaction_read_only = on")
        await ledger.fund("ann", 5)
        assert await ledger.posted("ann") == 5
