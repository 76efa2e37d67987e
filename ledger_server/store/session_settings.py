"""Owns the settings of a session: what every connection asks for, and the check that they are in force.

A pooler between the server and PostgreSQL may silently drop the settings that a client asks for. So every new
connection reads the settings in force, and a connection that lacks one the server relies on is refused.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = Any

# Every table is reached by an index that begins with the tenant. Plans are made while tables may
# still be empty and are kept; without these settings such a plan would scan a table for ever.
_PLANNER: Final = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}

# An acknowledged commit is on disk, and every statement sees all earlier commits, whatever the defaults of
# the database or of the user are.
_PROMISES: Final = {
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    # Only a warning of PostgreSQL says that a commit is not on the synchronous standby.
    "client_min_messages": "notice",
}

# The statements carry bytes and arrays as text.
_TEXT: Final = {"standard_conforming_strings": "on", "array_nulls": "on"}

# A process that stalls while it holds a tenant's head must not stop the tenant: the database ends
# its transaction, and the next process goes on.
_TIME_OUTS: Final = {
    "lock_timeout": "5s",
    "statement_timeout": "20s",
    "idle_in_transaction_session_timeout": "5s",
}

# The same for a host that is gone, or that the network no longer reaches. These settings are asked for but
# not required: behind a pooler, or over a Unix socket, PostgreSQL does not talk to this host.
_NETWORK: Final = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}

_REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    **{name: frozenset({value}) for name, value in {**_PLANNER, **_PROMISES, **_TEXT, **_TIME_OUTS}.items()},
    # Stronger values serve as well.
    "synchronous_commit": frozenset({"on", "remote_apply"}),
    "client_min_messages": frozenset({"notice", "warning"}),
    # Only a superuser may set this. With `replica` no trigger guards the append-only tables.
    "session_replication_role": frozenset({"origin"}),
}

_READ: Final = """
SELECT ARRAY(
        SELECT current_setting(asked.name, true) FROM unnest($1::text[]) WITH ORDINALITY AS asked(name, place)
        ORDER BY asked.place
    ) AS in_force,
    current_user::text AS acting, pg_backend_pid() AS backend, pg_postmaster_start_time() AS start_time,
    to_regclass('tenants')::oid::bigint AS tenants
"""
_READ_SECONDS: Final = 5.0

REMEDY: Final = (
    "a pooler may have dropped what Defter asks for when it connects. PgBouncer works with pool_mode ="
    " session, these parameters in ignore_startup_parameters, and their values set by ALTER ROLE … SET for"
    " the user who logs in (docs/operations/runbook.md, Poolers)"
)


SHARED_SESSION: Final = (
    "a database connection can't be used: it shares a session of PostgreSQL with another one that is open, so"
    " a pooler gives sessions out by the transaction or by the statement; PgBouncer works with pool_mode ="
    " session (docs/operations/runbook.md, Poolers)"
)


class SettingsNotInForce(OSError):
    """A connection lacks a setting that the server relies on. Retrying helps once that is mended."""


class Session(NamedTuple):
    """What a new connection tells of its session.

    Attributes:
        backend: the process of PostgreSQL that serves it, behind whatever pooler.
        start_time: when that PostgreSQL was started.
        tenants: the table that the name `tenants` stands for; None if there is none yet.
    """

    backend: int
    start_time: datetime
    tenants: int | None


def asked_for(role: str) -> dict[str, str]:
    """Return the parameters that a connection is opened with."""
    return {
        "role": role,
        "application_name": "defter",
        **_PLANNER,
        **_PROMISES,
        **_TEXT,
        **_TIME_OUTS,
        **_NETWORK,
    }


async def check_settings(connection: Connection, role: str) -> Session:
    """Check what is in force in a new session.

    Raises:
        SettingsNotInForce: names each setting that is not in force, with the value that it must have.
    """
    row = await connection.fetchrow(_READ, list(_REQUIRED), timeout=_READ_SECONDS)
    assert row is not None, "the statement returns one row"
    wrong = [
        f"{name} is {found or 'unknown'} and has to be {' or '.join(sorted(wanted))}"
        for (name, wanted), found in zip(_REQUIRED.items(), row["in_force"], strict=True)
        if found not in wanted
    ]
    if row["acting"] != role:
        wrong.insert(0, f"role is {row['acting']} and has to be {role}")
    if wrong:
        raise SettingsNotInForce(f"a database connection can't be used: {', '.join(wrong)}; {REMEDY}")
    return Session(row["backend"], row["start_time"], row["tenants"])
