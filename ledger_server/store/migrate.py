"""Owns how a database is brought to a version of the schema."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config

APPLICATION_ROLE: Final = "defter_application"


def upgrade(database_url: str, revision: str = "head", *, application_role: str = APPLICATION_ROLE) -> None:
    """Migrate up to a revision; does nothing where the database is there already.

    Args:
        database_url: `postgresql://…` of a user that may create tables, and roles unless the
            application role exists.
        application_role: the role that servers take on; it may append to the journal but not alter it.
    """
    command.upgrade(_config(database_url, application_role), revision)


def downgrade(database_url: str, revision: str, *, application_role: str = APPLICATION_ROLE) -> None:
    """Migrate down to a revision; `base` removes everything."""
    command.downgrade(_config(database_url, application_role), revision)


def _config(database_url: str, application_role: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["database_url"] = database_url
    config.attributes["application_role"] = application_role
    return config
