"""Own the ways in which the embedded PostgreSQL can fail; every message says what to do next."""


class EmbeddedPostgresError(Exception):
    """Say why there is no embedded PostgreSQL; the message is meant for the operator."""


class BinariesNotFound(EmbeddedPostgresError):
    """No usable PostgreSQL binaries are where they were looked for."""


class FolderUnreachable(EmbeddedPostgresError):
    """The account that must run PostgreSQL cannot reach the data folder."""


class FolderInUse(EmbeddedPostgresError):
    """Another live launcher owns the data folder."""


class ServerFailed(EmbeddedPostgresError):
    """A PostgreSQL program ended with an error; the message carries the tail of its log."""
