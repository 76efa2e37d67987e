"""Own the proof that the TypeScript client does what docs/clients.md says, against servers."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.stack import Stack
from tests.support.tools import ToolUnavailable, require
from tools.clients.node import REPOSITORY, NodeUnavailable, installed_client

# A busy machine compiles and kills slowly.
_RUN_SECONDS = 600


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    # Both tests build into the same folder.
    (REPOSITORY / ".cache").mkdir(exist_ok=True)
    with (REPOSITORY / ".cache" / "typescript-build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_npm_test_against_servers_passes(own_stack: Stack) -> None:
    """The client builds, type-checks, and passes its tests, the scenario and the kills among them."""
    client = require(_installed)
    printed = _run(["npm", "test"], client, own_stack.environment)
    # Where the servers are, no test is left out.
    assert "\nℹ skipped 0\n" in printed, printed[-2_000:]


def test_package_installs_alone_and_is_loaded_in_both_forms(tmp_path: Path) -> None:
    """Publint and attw find nothing, and a folder that has nothing but the package can use it."""
    client = require(_installed)
    _run(["npm", "run", "check-package"], client)
    (package,) = (client / ".build").glob("*.tgz")
    (tmp_path / "package.json").write_text('{"private": true}', encoding="utf-8")
    _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", str(package)], tmp_path)
    assert _run(["node", "--eval", _USE.format('require("@defter/client")')], tmp_path) == "1250\n"
    module = _USE.format('await import("@defter/client")')
    assert _run(["node", "--input-type=module", "--eval", module], tmp_path) == "1250\n"


_USE = 'const {{ money }} = {}; console.log(String(money("12.50", "EUR").amountMinor));'


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    finished = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_RUN_SECONDS,
    )
    assert finished.returncode == 0, finished.stdout[-20_000:]
    return finished.stdout


def _installed() -> Path:
    try:
        return installed_client()
    except NodeUnavailable as error:
        raise ToolUnavailable(str(error)) from error
