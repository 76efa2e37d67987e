"""Owns the migration of a database to a version of the schema."""

from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from ledger_server.store.database import naming_database
from ledger_server.store.revisions import (
    APPLICATION_ROLE,
    SchemaTooOld,
    check_revision,
    known_revisions,
    migrations_folder,
)

# What servers need of it too; a module of its own loads faster.
__all__ = ["APPLICATION_ROLE", "SchemaTooOld", "check_revision", "known_revisions"]

LOCK_TIMEOUT: Final = "4s"
"""A migration that can't get its lock gives up, instead of queueing in front of everybody else."""
STATEMENT_TIMEOUT: Final = "10min"
ADVISORY_LOCK: Final = 0x0DEF7E2
"""Migrations take turns by it. Any number; it must only differ from other programs' in the same database."""


def upgrade(database_url: str, revision: str = "head", *, application_role: str = APPLICATION_ROLE) -> str:
    """Migrate up to a revision, and return it; does nothing if the database has that revision already.

    Args:
        database_url: `postgresql://…` of a user that may create tables, and roles unless the
            application role exists.
        application_role: the role that servers take on; it may append to the journal but not alter it.
    Raises:
        DatabaseUnreachable: no server answers at the URL.
        SchemaNewer: the database is beyond that revision; nothing was changed.
    """
    if not revision.strip():
        raise CommandError("say which version of the schema to migrate up to, or nothing for the newest")
    config = _config(database_url, application_role)
    wanted = ScriptDirectory.from_config(config).as_revision_number(revision)
    if not isinstance(wanted, str):
        raise CommandError(f"{revision!r} is no version to migrate up to")
    with naming_database(database_url):
        _refuse_newer(config, wanted)
        command.upgrade(config, revision)
    return wanted


class SchemaNewer(Exception):
    """The database is beyond the revision that was asked for; `upgrade` never goes back."""


def _refuse_newer(config: Config, wanted: str) -> None:
    """Raise SchemaNewer if the database is beyond the revision."""
    script = ScriptDirectory.from_config(config)

    def compare(found: tuple[str, ...], _: object) -> list[object]:
        reached = {each.revision for each in script.walk_revisions("base", wanted)}
        for revision in found:
            if revision not in reached:
                raise SchemaNewer(_beyond(revision, wanted))
        return []

    with EnvironmentContext(config, script, fn=compare):
        script.run_env()


def _beyond(found: str, wanted: str) -> str:
    return (
        f"the database is at revision {found}, which {wanted} does not lead to; a schema is never taken back"
    )


def downgrade(database_url: str, revision: str, *, application_role: str = APPLICATION_ROLE) -> None:
    """Migrate down to a revision; `base` removes everything."""
    command.downgrade(_config(database_url, application_role), revision)


def steps(found: str | None, wanted: str = "head") -> tuple[str, ...]:
    """Return the revisions that lead from the one that was found to the wanted one, oldest first.

    Args:
        found: None where nothing was ever migrated.
        wanted: a revision that this code knows, or `head`.
    Raises:
        SchemaNewer: the found one is beyond the wanted one, or is unknown here.
        CommandError: the wanted one is unknown.
    """
    known = known_revisions()
    if wanted == "head":
        wanted = known[-1]
    if wanted not in known:
        raise CommandError(f"{wanted!r} is no version to migrate up to")
    up_to_wanted = known[: known.index(wanted) + 1]
    if found is None:
        return up_to_wanted
    if found not in up_to_wanted:
        raise SchemaNewer(_beyond(found, wanted))
    return up_to_wanted[up_to_wanted.index(found) + 1 :]


def migrations(application_role: str) -> tuple[Config, ScriptDirectory]:
    """Return the folder of migrations, and the configuration that they read."""
    config = _config("", application_role)
    return config, ScriptDirectory.from_config(config)


def _config(database_url: str, application_role: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.set_main_option("path_separator", "os")
    config.attributes["database_url"] = database_url
    config.attributes["application_role"] = application_role
    return config
