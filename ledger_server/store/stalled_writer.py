"""Owns the way to free a tenant's head from a process that stands still in the middle of its commit.

Most such processes are ended by the database's time-outs (see `database.py`). But while it waits for the
rows of a COPY, neither the statement's time-out acts, nor the one for idle database transactions.
"""

from typing import Final

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

# Who has changed a row and is not done stands in its xmax. For as long as he lives he locks his own number.
_HOLDER: Final = """
SELECT l.pid FROM tenants t
JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = t.xmax
WHERE t.tenant_key = $1
"""
# A process that works hands over the rows of a commit within milliseconds.
_END: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = $1 AND state = 'active' AND wait_event = 'ClientRead' AND query_start < now() - interval '4 s'
"""


async def end_stalled_writer(connection: AnyConnection, key: TenantKey) -> bool:
    """End the session that holds a tenant's head if it has waited for its client for seconds.

    Returns whether there was one. What it had written is undone, and its process decides again when it
    wakes up.
    """
    holder = await connection.fetchval(_HOLDER, key)
    if holder is None:
        return False
    async with connection.transaction():
        # The application's role may not look at sessions, or end them; the user who logged in may, his own.
        await connection.execute("SET LOCAL ROLE NONE")
        return bool(await connection.fetchval(_END, holder))
