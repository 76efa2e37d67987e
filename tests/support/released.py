"""Own the code of earlier versions: taken from this repository's history, run in today's environment."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# What a version needs in order to run: its packages, and the name of its command's entry point.
PARTS = ("ledger_server", "webhook_edge", "mock_psp", "clients/python", "migrations", "pyproject.toml")


class Released(NamedTuple):
    """A version that may still run somewhere.

    Attributes:
        commit: where its code stands; a tag once there are any.
        schema: the newest revision that it knows.
        knows_epochs: whether it writes and calls under ids that carry an epoch (decision 19).
    """

    commit: str
    schema: str
    knows_epochs: bool


# One version on either side of each change of what servers may do beside one another; add the last release
# whenever a migration comes behind it.
RELEASED: Final = {
    "before one clock": Released("4e03f9984e4e5256680cc45df52bb6aa584db1d4", "0003", knows_epochs=False),
    "before epochs": Released("e9b7db1118f4b202483e1ca5b4e522b74680ea5e", "0010", knows_epochs=False),
    "before final times": Released("0ecad9537858a014bd3f35e25da3fa9b127c5569", "0011", knows_epochs=True),
    "of schema 0012": Released("01f3d1d3756247df30fb6e0ac79624a8b8421aa2", "0012", knows_epochs=True),
}


class Unpacked(NamedTuple):
    """The code of a version, ready to run."""

    program: tuple[str, ...]
    environment: Mapping[str, str]


def unpack(released: Released, folder: Path) -> Unpacked:
    """Unpack a version's code into a folder, and return its command with the environment that it needs.

    The test is skipped in a shallow clone that has not got the commit, except in CI, whose clone is whole.
    """
    # Some versions have not all of them: the migrations once stood within the server.
    parts = git("ls-tree", "--name-only", released.commit, *PARTS).split()
    archive = subprocess.run(
        ["git", "archive", "--format=tar", released.commit, *parts],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        shallow = git("rev-parse", "--is-shallow-repository") != "false"
        if shallow and not os.environ.get("CI"):
            pytest.skip(f"this clone has no commit {released.commit[:7]}: fetch more of its history")
        pytest.fail(f"commit {released.commit[:7]} is not in this clone: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as content:
        content.extractall(folder, filter="data")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["defter"].partition(":")
    # Before the installed packages of today, which have the same names.
    path = os.pathsep.join([str(folder), str(folder / "clients" / "python")])
    # `-P`: not the working directory's packages either.
    program = (sys.executable, "-P", "-c", f"from {module} import {function}; {function}()")
    return Unpacked(program, {"PYTHONPATH": path})


def git(*arguments: str) -> str:
    """Return what git prints, and nothing where it refuses: this is no clone at all."""
    finished = subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return finished.stdout.strip()
