"""Owns the running of migrations: one at a time, and never waiting long for a lock that traffic holds."""

import asyncio

import asyncpg
from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from ledger_server.store.tables import TABLES

# A migration that can't get its lock gives up, instead of queueing in front of everybody else.
_LOCK_TIMEOUT = "4s"
_STATEMENT_TIMEOUT = "10min"
# Any number; it must only differ from other programs' advisory locks in the same database.
_ADVISORY_LOCK = 0x0DEF7E2


def run(connection: Connection) -> None:
    """Run the wanted migrations on a connection, alone."""
    # Waiting for another migration is fine, so the lock time-out is set only afterwards.
    connection.execute(text(f"SELECT pg_advisory_lock({_ADVISORY_LOCK})"))
    connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET statement_timeout = '{_STATEMENT_TIMEOUT}'"))
    connection.commit()
    try:
        context.configure(connection=connection, target_metadata=TABLES, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock({_ADVISORY_LOCK})"))
        connection.commit()


async def main() -> None:
    """Connect as the configuration says and run."""
    # The driver reads the URL itself, so that migrations and servers understand the same ones.
    url = context.config.attributes["database_url"]
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(url),
        poolclass=pool.NullPool,
    )
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(main())
