"""Owns the database transaction of reports: one snapshot for long reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ledger_server.store.database import AnyConnection

REPORT_SECONDS: Final = 600

# A report reads most of a tenant, so the settings for short look-ups do not fit.
_SETTINGS: Final = f"""
SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on;
SET LOCAL enable_bitmapscan = on; SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL statement_timeout = '{REPORT_SECONDS}s'
"""


@asynccontextmanager
async def report_snapshot(connection: AnyConnection) -> AsyncIterator[None]:
    """Run long reads in one read-only snapshot.

    Keep it as short as possible: while it lasts, VACUUM can't remove old versions of the tenants' heads.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_SETTINGS)
        yield
