"""Own the private PostgreSQL that Defter starts when it is given no database.

POSIX only: on Windows, name a database instead.
"""

from ledger_server.embedded_postgres.binaries import PostgresBinaries, find_binaries
from ledger_server.embedded_postgres.configuration import PostgresSettings
from ledger_server.embedded_postgres.errors import (
    BinariesNotFound,
    EmbeddedPostgresError,
    FolderInUse,
    FolderUnreachable,
    ServerFailed,
)
from ledger_server.embedded_postgres.server import EmbeddedPostgres, default_data_directory

__all__ = [
    "BinariesNotFound",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "FolderInUse",
    "FolderUnreachable",
    "PostgresBinaries",
    "PostgresSettings",
    "ServerFailed",
    "default_data_directory",
    "find_binaries",
]
