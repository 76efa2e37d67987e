"""The quick start is run from its own text, against a real `defter up` and a real `defter serve`."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path
from typing import Final

import pytest

from tests.integration.test_up import program
from tests.support.pages import OPERATIONS, commands
from tests.support.patience import HANG_SECONDS
from tests.support.service import DEFTER
from tests.support.up import running
from tools.free_ports import free_port

__all__ = ["program"]

PAGE: Final = OPERATIONS / "quick-start.md"
OPENING: Final = "shopt -s expand_aliases\nset -e -o pipefail\n"


def parts() -> tuple[list[str], list[str], list[str]]:
    """Return what is typed beside `make up`, what starts a server of one's own, and what is typed then."""
    lines = list(commands(PAGE))
    up, own, serve = (
        next(at for at, line in enumerate(lines) if line.startswith(word))
        for word in ("make up", "export DEFTER_DATABASE_URL", ".venv/bin/defter serve")
    )
    return lines[up + 1 : own], lines[own : serve + 1], lines[serve + 1 :]


async def shell(lines: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Type lines one after the other; each has to succeed."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        OPENING + "\n".join(lines),
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(HANG_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_page_is_run_from_beginning_to_end(database_url: str, tmp_path: Path, program: Path) -> None:
    """What a newcomer types is accepted, line by line, and the ledger proves the outcome."""
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "defter").symlink_to(DEFTER)
    (bin_folder / "grpcurl").symlink_to(program)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEFTER_")}
    environment["PATH"] = f"{bin_folder}{os.pathsep}{environment['PATH']}"
    beside, starting, then = parts()
    begun = beside[:2]

    async with running(database_url, tmp_path) as up:
        token_target = up.told("callers: ").rpartition(" ")[2]
        typed = [
            line.replace("127.0.0.1:50051", up.target).replace("127.0.0.1:50052", token_target)
            for line in beside
        ]
        first = await shell(typed, tmp_path, environment)

    target = f"127.0.0.1:{free_port()}"
    url = "postgresql://defter:password@127.0.0.1:5432/defter"
    exports = [line.replace(url, shlex.quote(database_url)) for line in starting[:-2]]
    port = f"export DEFTER_PORT={target.rpartition(':')[2]}"
    migrated = await shell([*exports, starting[-2]], tmp_path, environment)
    server = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        "\n".join([OPENING, *exports, port, f"exec {starting[-1]}"]),
        cwd=tmp_path,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert server.stdout is not None
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while b"serving" not in (line := await server.stdout.readline()):
                assert line, "the server has ended"
        here = [*begun, f"export DEFTER_SERVER={target}"]
        second = await shell(
            [*here, *(line.replace("127.0.0.1:50051", target) for line in then)], tmp_path, environment
        )
    finally:
        server.terminate()
        await server.communicate()

    assert first.count("no difference") == second.count("no difference") == 1
    assert "wd_" in first
    assert "the database is at" in migrated
    assert "1000.00" in second


@pytest.mark.parametrize("at", [0, 1, 2])
def test_page_has_its_three_parts(at: int) -> None:
    """Else the test above would run nothing."""
    assert len(parts()[at]) > 3
