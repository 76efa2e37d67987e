"""Owns the question whether the database can be written to as this server needs it."""

from typing import Final

from ledger_server.store.database import Pool
from ledger_server.store.revisions import SchemaTooOld, check_revision

_LOOK: Final = """
SELECT (SELECT version_num FROM alembic_version) AS revision,
    pg_is_in_recovery() AS standby
"""


async def why_not_ready(pool: Pool) -> str:
    """Return why nothing can be decided on the database; empty if it can.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does not say.
    """
    # The result is told to nobody as something recorded, so it need not be proven durable.
    async with pool.unproven() as connection:
        found = await connection.fetchrow(_LOOK)
    assert found is not None
    if found["standby"]:
        return "the database is a standby"
    try:
        check_revision(found["revision"])
    except SchemaTooOld as error:
        return str(error)
    return ""
