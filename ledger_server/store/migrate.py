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
                raise SchemaNewer(
                    f"the database is at revision {revision}, which {wanted} does not lead to;"
                    " a schema is never taken back"
                )
        return []

    with EnvironmentContext(config, script, fn=compare):
        script.run_env()


def downgrade(database_url: str, revision: str, *, application_role: str = APPLICATION_ROLE) -> None:
    """Migrate down to a revision; `base` removes everything."""
    command.downgrade(_config(database_url, application_role), revision)


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
