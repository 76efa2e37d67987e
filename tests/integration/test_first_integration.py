"""The page of the first integration is run from its own text, and shows the code that there is."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import Final

import pytest

from ledger_server.identity.caller import Caller
from ledger_server.identity.policy import Policy
from tests.integration.test_quick_start import shell
from tests.integration.test_up import program
from tests.support.pages import OPERATIONS, REPOSITORY, commands
from tests.support.patience import HANG_SECONDS
from tests.support.service import DEFTER
from tests.support.up import running
from tools.clients.contract import rpcs
from tools.clients.python import attribute_of

__all__ = ["program"]

PAGE: Final = REPOSITORY / "docs" / "first-integration.md"
SOURCE: Final = REPOSITORY / "examples" / "game_service" / "rounds.py"
GAMES: Final = "http://127.0.0.1:8090"


def answers() -> list[str]:
    """Return what the page says that the service answers, in order."""
    return re.findall(r'^\{"state".*$', PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_page_shows_the_code_that_there_is() -> None:
    """Each excerpt stands in the source as it is."""
    shown = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    source = SOURCE.read_text(encoding="utf-8")
    assert len(shown) == 5
    for excerpt in shown:
        assert excerpt in source


def test_role_of_games_may_do_what_the_service_does() -> None:
    """A game service needs no more than the role that the policy's example has for it."""
    policy = Policy((OPERATIONS / "policy.example.toml").read_bytes())
    made = re.findall(r"self\._ledger\.(\w+)\.(\w+)\(", SOURCE.read_text(encoding="utf-8"))
    names = {(attribute_of(rpc.service), rpc.name.lower()): rpc.path[1:] for rpc in rpcs()}
    methods = {names[service, method.replace("_", "")] for service, method in made}
    assert len(methods) == 4
    for method in methods:
        assert policy.allows(Caller("spiffe://defter.example/game"), method, "casino")
        assert not policy.allows(Caller("spiffe://defter.example/edge"), method, "casino")


async def test_page_is_run_from_beginning_to_end(database_url: str, tmp_path: Path, program: Path) -> None:
    """What a newcomer types is answered as the page says, and the ledger proves the outcome."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    for name in (DEFTER.name, "python"):
        (bin_folder / name).symlink_to(DEFTER.with_name(name))
    (bin_folder / "grpcurl").symlink_to(program)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEFTER_")}
    environment |= {"PATH": f"{bin_folder}{os.pathsep}{environment['PATH']}", "GAME_PORT": "0"}
    lines = list(commands(PAGE))
    service = next(at for at, line in enumerate(lines) if line.endswith("-m examples.game_service"))
    begun = lines[:2]

    async with running(database_url, tmp_path) as up:
        first = [line.replace("127.0.0.1:50051", up.target) for line in lines[:service]]
        await shell(first, tmp_path, environment)
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            f"{begun[0]}; exec {DEFTER.with_name('python')} -m examples.game_service",
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(HANG_SECONDS):
                address = (await process.stdout.readline()).decode().removeprefix("games: ").strip()
            rest = [f"{line.replace(GAMES, address)}; echo" for line in lines[service + 1 :]]
            output = await shell([*begun, *rest], tmp_path, environment)
        finally:
            process.kill()
            await process.communicate()

    assert [line for line in output.splitlines() if line.startswith('{"state"')] == answers()
    assert len(answers()) == 10
    assert "no difference" in output
