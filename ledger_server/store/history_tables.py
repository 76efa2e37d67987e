"""Owns the shape of what a database knows of its own history: one row, of no tenant."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, PrimaryKeyConstraint, SmallInteger, Table

from ledger_server.store.columns import bytewise, metadata, time

# The one table without a tenant, beside alembic's: a database has one history for all its tenants.
# Where tables are distributed this is one that every node has a copy of.
history: Final = Table(
    "history",
    metadata,
    Column("history_key", SmallInteger, nullable=False, autoincrement=False),
    # None until a server has opened the database for the first time.
    bytewise("epoch", nullable=True),
    # Those before it, with blanks between them.
    bytewise("past_epochs"),
    # What the database was when a server saw it last; none before the first time.
    bytewise("system_identifier", nullable=True),
    Column("database_oid", BigInteger),
    Column("timeline", BigInteger),
    # Whether no call to a provider may be made, and why.
    Column("outbound_stopped", Boolean, nullable=False),
    bytewise("note"),
    bytewise("actor"),
    time("change_time", nullable=True),
    # When the epoch began.
    time("begin_time", nullable=True),
    # The newest record that the database had when its epoch began; none of the first one.
    time("known_until", nullable=True),
    # The transaction that wrote this row, by its own word: another one has read it in from a dump.
    Column("row_transaction", BigInteger),
    # Counts changes, so that two processes that see the same one make it once.
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("history_key"),
    CheckConstraint("history_key = 1", name="one_row"),
)
