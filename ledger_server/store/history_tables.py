"""Owns the table of a database's own history: one row, of no tenant."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, PrimaryKeyConstraint, SmallInteger, Table

from ledger_server.store.columns import bytewise, metadata, time

# The one table without a tenant, beside alembic's: a database has one history for all its tenants.
# In a distributed database every node has a copy of this table.
history: Final = Table(
    "history",
    metadata,
    Column("history_key", SmallInteger, nullable=False, autoincrement=False),
    # None until a server has opened the database for the first time.
    bytewise("epoch", nullable=True),
    # The epochs before it, separated by blanks.
    bytewise("past_epochs"),
    # The database's identity when a server last saw it; NULL before the first time.
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
    # The newest record that the database had when its epoch began; NULL in the first epoch.
    time("known_until", nullable=True),
    # The database transaction that wrote this row; if another one has really written it, it came from a dump.
    Column("row_transaction", BigInteger),
    # Counts changes, so that of two processes with the same change only one makes it.
    Column("version", BigInteger, nullable=False),
    # By whose call the row got this version: another version has another caller, or none.
    bytewise("caller_identity", nullable=True),
    bytewise("caller_person", nullable=True),
    Column("caller_version", BigInteger),
    PrimaryKeyConstraint("history_key"),
    CheckConstraint("history_key = 1", name="one_row"),
)
