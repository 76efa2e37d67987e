"""Owns the release of a tenant's head from a process that stands still in the middle of its commit.

The sessions of most such processes are ended by the database's time-outs (see `database.py`). But while
PostgreSQL waits for the rows of a COPY, neither the statement time-out nor the time-out of idle database
transactions acts.
"""

from typing import Final

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

# The xmax of a row is the database transaction that has changed it and is not done. As long as that
# transaction lives, it locks its own number.
_HOLDER: Final = """
SELECT l.pid FROM tenants t
JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = t.xmax
WHERE t.tenant_key = $1
"""
# A healthy process sends the rows of a commit within milliseconds.
_END: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = $1 AND state = 'active' AND wait_event = 'ClientRead' AND query_start < now() - interval '4 s'
"""


async def end_stalled_writer(connection: AnyConnection, key: TenantKey) -> bool:
    """End the session that holds a tenant's head if it has waited for its client for seconds.

    Returns whether there was such a session. Its writes are undone, and its process decides again when it
    wakes up.
    """
    holder = await connection.fetchval(_HOLDER, key)
    if holder is None:
        return False
    async with connection.transaction():
        # The application's role may not look at sessions or end them; the login user may do so with its own
        # sessions.
        await connection.execute("SET LOCAL ROLE NONE")
        return bool(await connection.fetchval(_END, holder))
