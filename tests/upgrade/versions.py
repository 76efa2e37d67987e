"""Own which server belongs to a revision of the schema: the last one whose migrations end with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Final

from ledger_server.store import migrate
from tests.support.released import Released, git

EPOCHS: Final = "0011"
"""The revision that gave databases epochs (decision 19)."""


def earlier_revisions() -> list[str]:
    """Return all revisions of the schema but the newest one, oldest first."""
    return list(migrate.steps(None))[:-1]


def servers(revisions: Iterable[str]) -> dict[str, Released]:
    """Return the server for each revision: the last version whose migrations are those up to it.

    A revision that was the newest one in no version has the server of the revision before it.

    Raises:
        SystemExit: this clone has too little of the history.
    """
    newest: dict[tuple[str, ...], str] = {}
    for commit in git("rev-list", "--topo-order", "HEAD").split():
        newest.setdefault(_migrations_at(commit), commit)
    found: dict[str, Released] = {}
    before: Released | None = None
    chain = list(migrate.steps(None))
    for number, revision in enumerate(chain[:-1], 1):
        if own := newest.get(tuple(chain[:number])):
            before = Released(own, revision, knows_epochs=revision >= EPOCHS)
        if before is None:
            raise SystemExit("no version of the first revision is in this clone: fetch all of its history")
        found[revision] = before
    return {revision: found[revision] for revision in revisions}


def _migrations_at(commit: str) -> tuple[str, ...]:
    files = map(PurePath, git("ls-tree", "-r", "--name-only", commit).split())
    return tuple(
        sorted(
            file.name.partition("_")[0]
            for file in files
            if file.parent.name == "versions" and file.name[:1].isdigit()
        )
    )
