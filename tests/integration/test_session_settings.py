"""Own the proof that a connection which lacks what the server relies on serves nobody.

A proxy that drops what clients ask for when they connect stands for PgBouncer and its
`ignore_startup_parameters`.
"""

from __future__ import annotations

import grpc
import pytest

from ledger_server.store.database import is_outage, open_pool
from ledger_server.store.migrate import APPLICATION_ROLE
from ledger_server.store.session_settings import SettingsNotInForce, asked_for
from tests.support.database_proxy import proxied
from tests.support.postgres import alter
from tests.support.service import Service, serving
from tests.support.tenant_lock import cut_connections

ASKED = asked_for(APPLICATION_ROLE)
NOT_REQUIRED = {"application_name", *(name for name in ASKED if name.startswith("tcp_"))}
# What each setting is when somebody, or PostgreSQL itself, has decided otherwise.
OTHERWISE = {
    "enable_seqscan": "on",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
    "enable_bitmapscan": "on",
    "plan_cache_mode": "auto",
    "jit": "on",
    "synchronous_commit": "local",
    "default_transaction_isolation": "repeatable read",
    "default_transaction_read_only": "on",
    "client_min_messages": "error",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "1h",
}


async def set_default(database_url: str, name: str, value: str) -> None:
    """Set what sessions of this database have unless they ask for something else."""
    database = database_url.rpartition("/")[2]
    await alter(database_url, f"ALTER DATABASE {database} SET {name} = '{value}'")


def test_every_setting_has_a_case() -> None:
    """Whoever has the server ask for more says here what less is."""
    assert {"role", *OTHERWISE} == set(ASKED) - NOT_REQUIRED


@pytest.mark.parametrize(("name", "value"), [*OTHERWISE.items(), ("role", "")])
async def test_connection_without_a_setting_is_refused_by_its_name(
    database_url: str, name: str, value: str
) -> None:
    """The error names the setting, what it has to be, and what works; with the setting all is well."""
    if value:
        await set_default(database_url, name, value)
    async with proxied(database_url) as proxy:
        pool = await open_pool(proxy.url, role=APPLICATION_ROLE, size=1)
        pool.terminate()
        proxy.dropped = {name}

        with pytest.raises(SettingsNotInForce) as refused:
            await open_pool(proxy.url, role=APPLICATION_ROLE, size=1)

        assert f"{name} is " in str(refused.value)
        assert ASKED[name] in str(refused.value)
        assert "pool_mode" in str(refused.value)
        assert is_outage(refused.value)


async def test_replication_role_that_turns_triggers_off_is_refused(database_url: str) -> None:
    """Nobody asks for it, since only superusers may; it has to be right all the same."""
    await set_default(database_url, "session_replication_role", "replica")

    with pytest.raises(SettingsNotInForce, match="session_replication_role is replica"):
        await open_pool(database_url, role=APPLICATION_ROLE, size=1)


@pytest.mark.parametrize(
    ("name", "value"), [("synchronous_commit", "remote_apply"), ("search_path", "public")]
)
async def test_stronger_or_equal_setting_serves(database_url: str, name: str, value: str) -> None:
    """What promises more than is needed is no reason to refuse."""
    await set_default(database_url, name, value)
    async with proxied(database_url) as proxy:
        proxy.dropped = {name}
        pool = await open_pool(proxy.url, role=APPLICATION_ROLE, size=1)
        pool.terminate()


async def test_server_does_not_start_with_less(database_url: str) -> None:
    """The error of the start says the same."""
    async with proxied(database_url) as proxy:
        proxy.dropped = {"role"}
        service = Service(proxy.url)

        with pytest.raises(SettingsNotInForce, match=f"role is postgres and has to be {APPLICATION_ROLE}"):
            await service.start()


async def test_settings_of_the_user_serve_where_a_pooler_drops_all(database_url: str) -> None:
    """That is what the runbook tells operators to do."""
    wanted = [name for name in ASKED if name not in NOT_REQUIRED]
    for name in sorted(wanted, key="role".__eq__):  # the role last, which may set nothing
        await set_default(database_url, name, ASKED[name])
    async with proxied(database_url) as proxy:
        proxy.dropped = set(ASKED)
        async with serving(proxy.url) as service:
            ledger = await service.new_ledger()
            await ledger.open_house()


async def test_connections_that_share_a_session_are_refused(database_url: str) -> None:
    """Sessions given out by the transaction: the one that was looked at is not the one that serves."""
    await alter(database_url, "CREATE FUNCTION public.pg_backend_pid() RETURNS integer RETURN 42")
    await set_default(database_url, "search_path", "public', 'pg_catalog")
    pool = await open_pool(database_url, role=APPLICATION_ROLE, size=2, tells=False)

    async with pool.acquire():
        with pytest.raises(SettingsNotInForce, match="it shares a session of PostgreSQL"):
            await pool.acquire()

    await pool.close()
    again = await open_pool(database_url, role=APPLICATION_ROLE, size=2)
    await again.close()


async def test_connection_that_is_made_later_is_checked_too(database_url: str) -> None:
    """A running server that gets worse connections has no database, until it gets better ones."""
    async with proxied(database_url) as proxy, serving(proxy.url, store_patience_seconds=0.5) as service:
        ledger = await service.new_ledger()
        proxy.dropped = {"role", "statement_timeout"}
        await cut_connections(database_url)

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ledger.open_house()

        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        proxy.dropped = ()
        await ledger.open_house()
