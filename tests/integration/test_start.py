"""Own what a server leaves behind that could not start."""

from __future__ import annotations

import asyncio
import socket

import asyncpg
import pytest

from ledger_server.process.bootstrap import start_server
from ledger_server.process.settings import Settings
from tests.support.tenant_lock import WAIT_SECONDS

SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'defter'"
)


async def test_start_on_taken_port_fails_and_leaves_no_session(database_url: str) -> None:
    """Whoever tries again and again must not use up the database's connections."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(database_url=database_url, host="127.0.0.1", port=taken.getsockname()[1])

        with pytest.raises(RuntimeError, match="bind"):
            await start_server(settings)

    watching = await asyncpg.connect(database_url)
    # PostgreSQL notices the end of a session a moment later.
    async with asyncio.timeout(WAIT_SECONDS):
        while await watching.fetchval(SESSIONS):
            pass
    await watching.close()
