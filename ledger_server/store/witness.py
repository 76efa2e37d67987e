"""Owns the witness: what this process, and a file outside the database's backups, have seen of the database.

A snapshot or a copy has everything that the database knows of itself. Only an observer outside the database
can tell that it is older than what was there before.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

from msgspec import json
from msgspec.structs import replace

from ledger_server.domain.history import Identity, SeenRecord, Witness, same_place

SETTING: Final = "DEFTER_WITNESS_FILE"


class WitnessKeeper:
    """Remembers the newest state seen of each database: in the process, and in a file if there is one.

    Several processes, also of several databases, may share the file. Each writes what it saw last of its own
    database, and everything in the file stays true.
    """

    def __init__(self, file: Path | None = None) -> None:
        """Begin with what the file says.

        Raises:
            ValueError: the file exists and is not a witness.
            OSError: it can't be read.
        """
        self._file = file
        self._all = () if file is None else _read(file)
        self._written: Witness | None = None
        self._seen: Witness | None = None

    def of(self, identity: Identity) -> Witness | None:
        """Return what was seen last of a database."""
        if self._seen is not None and same_place(self._seen.identity, identity):
            return self._seen
        return next((each for each in self._all if same_place(each.identity, identity)), None)

    def newest_timelines(self) -> dict[str, int]:
        """Return the newest timeline that was seen of each cluster, by its system identifier."""
        newest: dict[str, int] = {}
        for each in (*self._all, *(() if self._seen is None else (self._seen,))):
            name = each.identity.system_identifier
            newest[name] = max(each.identity.timeline, newest.get(name, 0))
        return newest

    def see(self, now: Witness) -> None:
        """Remember what is seen now; within the same history only if it is newer."""
        before = self.of(now.identity)
        if before is not None and (before.epoch, before.identity) == (now.epoch, now.identity):
            now = replace(
                now,
                position=max(now.position, before.position),
                loss=before.loss,
                record=now.record or before.record,
            )
        self._seen = now

    def commit(self, record: SeenRecord) -> None:
        """Remember the newest record that was committed."""
        if self._seen is not None:
            self._seen = replace(self._seen, record=record)

    def lose(self, why: str) -> None:
        """Remember that a commit is gone, even beyond the process, until another epoch has begun.

        Raises:
            OSError: the file can't be written; then only this process knows.
        """
        if self._seen is not None:
            self._seen = replace(self._seen, loss=why)
            if self._file is not None:
                _write(self._file, self._seen)

    async def write(self) -> None:
        """Write what was seen to the file.

        Raises:
            OSError: it can't be written.
        """
        seen = self._seen
        if self._file is not None and seen is not None and seen != self._written:
            await asyncio.to_thread(_write, self._file, seen)
            self._written = seen


def _read(file: Path) -> tuple[Witness, ...]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise OSError(f"{SETTING}: {error}") from error
    try:
        return json.decode(content, type=tuple[Witness, ...])
    except ValueError as error:  # msgspec's are
        raise ValueError(f"{SETTING}: {file} does not say what was seen of databases: {error}") from error


def _write(file: Path, seen: Witness) -> None:
    """Replace the file whole, so that a crash leaves the old one or the new one."""
    others = [each for each in _read(file) if not same_place(each.identity, seen.identity)]
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as opened:
            opened.write(json.encode([*others, seen]))
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(file)
    except OSError as error:
        raise OSError(f"{SETTING}: {error}") from error
