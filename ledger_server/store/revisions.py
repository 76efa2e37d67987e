"""Owns the versions of the schema that this code knows, by the names of its migrations.

A server asks for no more than this: what runs migrations takes longer to load than the rest of the store.
"""

from functools import cache
from pathlib import Path
from typing import Final

APPLICATION_ROLE: Final = "defter_application"

_DIGITS: Final = 4


class SchemaTooOld(Exception):
    """The database is not at the version of the schema that this code was written for."""


def migrations_folder() -> Path:
    """Return the folder of migrations: beside this module in a wheel, else at the top of the checkout."""
    installed = Path(__file__).with_name("migrations")
    # The file and not the folder: a checkout from before the move has a folder of compiled files left.
    return installed if (installed / "env.py").is_file() else Path(__file__).parents[2] / "migrations"


@cache
def known_revisions() -> tuple[str, ...]:
    """Return the revisions that this code knows, oldest first; the name of its file begins with each."""
    files = (migrations_folder() / "versions").glob(f"{'[0-9]' * _DIGITS}_*.py")
    return tuple(sorted(file.name[:_DIGITS] for file in files))


def check_revision(found: str | None) -> None:
    """Refuse a database that still has to be migrated.

    A revision that this code does not know is a newer one: the schema is expanded before new code is
    deployed, so old code goes on running on it.

    Args:
        found: the database's revision; None where nothing was ever migrated.
    Raises:
        SchemaTooOld: says what to do.
    """
    *older, head = known_revisions()
    if found is None or found in older:
        raise SchemaTooOld(
            f"the database is at revision {found or 'none'}, this server needs {head}: run `defter migrate`"
        )
