"""Owns the database transaction in which reports run: one moment, much to read, some time to do it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ledger_server.store.database import AnyConnection

REPORT_SECONDS: Final = 600

# A report reads most of a tenant, for which the settings of short look-ups are the wrong ones.
_SETTINGS: Final = f"""
SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on;
SET LOCAL enable_bitmapscan = on; SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL statement_timeout = '{REPORT_SECONDS}s'
"""


@asynccontextmanager
async def report_snapshot(connection: AnyConnection) -> AsyncIterator[None]:
    """Run what may take long and read much in one read-only snapshot.

    Keep it short all the same: while it lasts, PostgreSQL can't tidy up behind the tenants' heads.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_SETTINGS)
        yield
