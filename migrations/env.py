"""Owns the running of migrations: one at a time, and never waiting long for a lock that traffic holds."""

import asyncio
import time

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from ledger_server.store.hosts import Hosts
from ledger_server.store.migrate import ADVISORY_LOCK, LOCK_TIMEOUT, STATEMENT_TIMEOUT
from ledger_server.store.tables import TABLES

_PAUSE_SECONDS = 0.1


def run(connection: Connection) -> None:
    """Run the wanted migrations on a connection, alone."""
    # It asks again and again: a statement that waits has a snapshot, and an index that another migration
    # builds CONCURRENTLY waits for every older snapshot, so that each would wait for the other one.
    while not connection.scalar(text(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})")):
        connection.rollback()
        time.sleep(_PAUSE_SECONDS)
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
    connection.commit()
    try:
        context.configure(connection=connection, target_metadata=TABLES, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})"))
        connection.commit()


async def main() -> None:
    """Connect as the configuration says and run."""
    # The driver reads the URL itself, so that migrations and servers understand the same ones.
    url = context.config.attributes["database_url"]
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=Hosts(url).connect,
        poolclass=pool.NullPool,
    )
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(main())
