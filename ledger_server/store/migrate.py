"""Owns the migration of a database to a version of the schema."""

from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from ledger_server.store.database import naming_database

APPLICATION_ROLE: Final = "defter_application"
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


def known_revisions() -> tuple[str, ...]:
    """Return the revisions that this code knows, oldest first."""
    _, script = migrations(APPLICATION_ROLE)
    return tuple(revision.revision for revision in script.walk_revisions())[::-1]


def migrations(application_role: str) -> tuple[Config, ScriptDirectory]:
    """Return the folder of migrations, and the configuration that they read."""
    config = _config("", application_role)
    return config, ScriptDirectory.from_config(config)


class SchemaTooOld(Exception):
    """The database is not at the version of the schema that this code was written for."""


def check_revision(found: str | None) -> None:
    """Refuse a database that still has to be migrated.

    A revision that this code does not know is a newer one: the schema is expanded before new code is
    deployed, so old code goes on running on it.

    Args:
        found: the database's revision; None where nothing was ever migrated.
    Raises:
        SchemaTooOld: says what to do.
    """
    head, older = _revisions()
    if found is None or found in older:
        raise SchemaTooOld(
            f"the database is at revision {found or 'none'}, this server needs {head}: run `defter migrate`"
        )


@cache
def _revisions() -> tuple[str | None, frozenset[str]]:
    """Return the newest revision that this code knows, and the older ones."""
    script = ScriptDirectory.from_config(_config("", APPLICATION_ROLE))
    head = script.get_current_head()
    return head, frozenset(revision.revision for revision in script.walk_revisions()) - {head}


def _folder() -> Path:
    """Return the folder of migrations: beside this module in a wheel, else at the top of the checkout."""
    installed = Path(__file__).with_name("migrations")
    # The file and not the folder: a checkout from before the move has a folder of compiled files left.
    return installed if (installed / "env.py").is_file() else Path(__file__).parents[2] / "migrations"


def _config(database_url: str, application_role: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_folder()))
    config.set_main_option("path_separator", "os")
    config.attributes["database_url"] = database_url
    config.attributes["application_role"] = application_role
    return config
