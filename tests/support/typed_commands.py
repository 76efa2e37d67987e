"""Own a process that runs many command lines of ours, one after the other: each costs no start of its own.

As a program it reads the words of a command line from its standard input, a line of JSON each, and answers
each with the exit code and the output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from ledger_server.cli.verbs import app
from tests.support.patience import HANG_SECONDS

_MOST_BYTES = 16 * 1024 * 1024


class Answer(NamedTuple):
    """What a command has answered."""

    code: int
    output: str
    errors: str


class Typist:
    """Types command lines of ours into a running process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def type(self, words: Sequence[str]) -> Answer:
        """Run a command, given the words behind `defter`, to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(list(words))}\n".encode())
        async with asyncio.timeout(HANG_SECONDS):
            line = await self._process.stdout.readline()
        assert line, "the process has ended"
        return Answer(*json.loads(line))


@asynccontextmanager
async def typist(environment: Mapping[str, str], folder: Path) -> AsyncIterator[Typist]:
    """Start the process, in a folder, and end it with the context."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.typed_commands",
        str(folder),
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_MOST_BYTES,
    )
    try:
        yield Typist(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def main() -> None:
    """Answer line by line."""
    os.chdir(sys.argv[1])
    runner = CliRunner()
    for line in sys.stdin:
        result = runner.invoke(app, json.loads(line))
        sys.stdout.write(f"{json.dumps([result.exit_code, result.stdout, result.stderr])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
