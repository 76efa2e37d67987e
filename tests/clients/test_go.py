"""The Go client does what docs/clients.md says, against the servers that all clients are tested with."""

import functools
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest

from defter_client import BlockingLedgerClient
from defter_client import messages as m
from tests.clients.stack import Stack
from tests.support.patience import HANG_SECONDS
from tests.support.tools import ToolUnavailable, go, require

MODULE = Path(__file__).resolve().parents[2] / "clients" / "go"
# The first run on a machine fetches and compiles gRPC; a server that is killed takes its time to come back.
TIMEOUT_SECONDS = 1800


@functools.cache
def go_and_its_modules() -> Path:
    """Return the go command, once what the client needs is there.

    Raises:
        ToolUnavailable: there is no Go, or it could not fetch the modules.
    """
    program = go()
    words = [str(program), "list", "-deps", "-test", "./..."]
    finished = subprocess.run(
        words, check=False, capture_output=True, cwd=MODULE, text=True, timeout=TIMEOUT_SECONDS
    )
    if finished.returncode != 0:
        raise ToolUnavailable(f"the modules of the Go client are not there: {finished.stderr}")
    return program


def run(*words: str, folder: Path = MODULE, environment: Mapping[str, str] | None = None) -> str:
    """Run the go command; return what it prints."""
    finished = subprocess.run(
        [require(go_and_its_modules), *words],
        check=False,
        capture_output=True,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_the_client_passes_its_tests_without_a_race(own_stack: Stack) -> None:
    """Unit tests, the scenario and the killed server pass under the race detector, and none is left out."""
    told = run("test", *_race(), "-count=1", "-timeout=25m", "-v", "./...", environment=own_stack.environment)
    assert "--- SKIP" not in told
    assert "--- PASS: TestScenario" in told
    assert "--- PASS: TestKilledServer" in told


def test_the_readme_posts_a_transaction(client_stack: Stack, tmp_path: Path) -> None:
    """What the README tells, in a module beside a clone that was never built, against a server."""
    text = (MODULE / "README.md").read_text(encoding="utf-8")
    [program] = [
        block for block in re.findall(r"```go\n(.*?)```", text, re.DOTALL) if "package main" in block
    ]
    # The tenant of the README is the scenario's here, which may be created before or after.
    with BlockingLedgerClient(
        client_stack.target, tenant="readme-go", timeout_seconds=HANG_SECONDS
    ) as ledger:
        ledger.tenants.create_tenant(m.CreateTenantRequest())
    program = program.replace("127.0.0.1:50051", client_stack.target).replace('"demo"', '"readme-go"')
    (tmp_path / "main.go").write_text(program, encoding="utf-8")
    run("mod", "init", "example.test/game", folder=tmp_path)
    run("mod", "edit", "-replace", f"defter.example/defter/clients/go={MODULE}", folder=tmp_path)
    run("get", "defter.example/defter/clients/go@v0.0.0", folder=tmp_path)
    run("mod", "tidy", folder=tmp_path)
    for replayed in ("false", "true"):
        transaction_id, *told = run("run", ".", folder=tmp_path).split()
        assert transaction_id.startswith("tx_")
        assert told == ["welcome-eva", replayed]


@pytest.mark.parametrize("script", ["tools.generate_go", "tools.check_go"])
@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_go_nothing_is_done_but_under_ci_it_fails(
    script: str, ci: str, code: int, tmp_path: Path
) -> None:
    """A clone needs no Go; where nothing may be left out the reason is told as a failure."""
    finished = subprocess.run(
        [sys.executable, "-m", script],
        check=False,
        capture_output=True,
        cwd=MODULE.parents[1],
        env={**os.environ, "PATH": str(tmp_path), "CI": ci},
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert finished.returncode == code
    assert "Go is not installed" in finished.stdout


def _race() -> list[str]:
    """The race detector, where there is the C compiler that it needs."""
    if shutil.which("gcc") or shutil.which("clang"):
        return ["-race"]
    if os.environ.get("CI"):
        pytest.fail("CI must have a C compiler, for Go's race detector")
    warnings.warn("there is no C compiler, so Go's tests run without the race detector", stacklevel=2)
    return []
