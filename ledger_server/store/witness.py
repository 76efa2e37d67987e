"""Owns the witness: what this process, and a file that is not restored together with the database, saw of it.

Snapshots and copied files have everything that the database knows of itself. That they are older than what
was there before only somebody outside can tell.
"""

import asyncio
import os
from pathlib import Path

from msgspec import ValidationError, json
from msgspec.structs import replace

from ledger_server.domain.history import Witness


class WitnessKeeper:
    """Remembers the newest that was seen, for the life of the process and in a file, if there is one.

    Several processes may share the file. Each writes what it saw last; none of it is ever untrue.
    """

    def __init__(self, file: Path | None = None) -> None:
        """Begin with what the file says.

        Raises:
            ValueError: there is a file, and it is no witness.
            OSError: it can't be read.
        """
        self._file = file
        self._seen = self._written = None if file is None else _read(file)

    @property
    def seen(self) -> Witness | None:
        """What was seen last."""
        return self._seen

    def see(self, now: Witness) -> None:
        """Remember what is seen now; of the same history only if it is newer."""
        before = self._seen
        if before is not None and (before.epoch, before.identity) == (now.epoch, now.identity):
            now = replace(now, position=max(now.position, before.position), loss=before.loss)
        self._seen = now

    def lose(self, why: str) -> None:
        """Remember that a commit is gone, also if the process ends before another epoch has begun.

        Raises:
            OSError: it can't be written; then this process alone knows.
        """
        if self._seen is not None:
            self._seen = replace(self._seen, loss=why)
            if self._file is not None:
                _write(self._file, self._seen)

    async def write(self) -> None:
        """Have what was seen outlive the process.

        Raises:
            OSError: it can't be written.
        """
        seen = self._seen
        if self._file is not None and seen is not None and seen != self._written:
            await asyncio.to_thread(_write, self._file, seen)
            self._written = seen


def _read(file: Path) -> Witness | None:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return json.decode(content, type=Witness)
    except (ValidationError, ValueError) as error:
        raise ValueError(
            f"DEFTER_WITNESS_FILE: {file} does not say what was seen of a database: {error}"
        ) from error


def _write(file: Path, seen: Witness) -> None:
    """Replace the file whole, so that a crash leaves the old one or the new one."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    with partial.open("wb") as opened:
        opened.write(json.encode(seen))
        opened.flush()
        os.fsync(opened.fileno())
    partial.replace(file)
