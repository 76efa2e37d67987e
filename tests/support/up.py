"""Own a running `defter up`, whose output was read until it waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.patience import HANG_SECONDS
from tests.support.service import DEFTER

LAST = "Ctrl-C stops everything"


class Running:
    """A running `defter up`, whose output was read until it waits."""

    def __init__(self, folder: Path, lines: list[str], environment: dict[str, str]) -> None:
        self.folder = folder
        self.lines = lines
        self._environment = environment

    def told(self, beginning: str) -> str:
        """Return what a line tells behind its beginning."""
        return next(line.removeprefix(beginning) for line in self.lines if line.startswith(beginning))

    @property
    def target(self) -> str:
        """Where certificates are wanted."""
        return self.told("ledger: gRPC on ").split(",")[0]

    async def shell(self, command: str, *, ends: bool = True) -> tuple[int | None, str]:
        """Run a line of a shell; return exit code and output, or the first line of one that goes on."""
        process = await asyncio.create_subprocess_shell(
            command if ends else f"exec {command}",  # so that the program itself is what is killed
            cwd=self.folder,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        async with asyncio.timeout(HANG_SECONDS):
            if ends:
                output, _ = await process.communicate()
                return process.returncode, output.decode()
            first = await process.stdout.readline()
        process.kill()
        await process.communicate()
        return None, first.decode()


@contextlib.asynccontextmanager
async def running(database_url: str, folder: Path, *words: str) -> AsyncIterator[Running]:
    """Run `defter up` in a folder until the context ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEFTER_")}
    log_file = folder / "up.log"
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            DEFTER,
            "up",
            *words,
            cwd=folder,
            env={**environment, "DEFTER_DATABASE_URL": database_url, "DEFTER_PORT": "0"},
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while not lines or not lines[-1].startswith(LAST):
                line = await process.stdout.readline()
                assert line, log_file.read_text(encoding="utf-8")
                lines.append(line.decode().strip())
        yield Running(folder, lines, environment)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()
    assert process.returncode == 0
