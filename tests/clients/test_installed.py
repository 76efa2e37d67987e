"""The Python client installs alone, beside the oldest and newest of what it needs, and its README works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.clients.stack import Stack

CHECKOUT = Path(__file__).parents[2]
CLIENT = CHECKOUT / "clients" / "python"
README = (CLIENT / "README.md").read_text(encoding="utf-8")
# The lower bounds of clients/python/pyproject.toml, and whatever is newest.
OLDEST = ("protobuf==6.33.0", "grpcio==1.80.0", "grpcio-status==1.80.0")
NEWEST = ("protobuf>=7",)
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def ran(*words: str | Path, folder: Path) -> str:
    """Run a program, without what this process has been told to find; return what it has said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DEFTER_"))}
    found = subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def programs() -> list[str]:
    """Return the two programs of the README: its first blocks."""
    return re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[:2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    build = "import hatchling.build as b, sys; b.build_sdist(sys.argv[1]); b.build_wheel(sys.argv[1])"
    ran(sys.executable, "-c", build, folder, folder=CLIENT)
    return folder


def test_distributions_have_the_client_and_nothing_of_the_server(built: Path) -> None:
    """Both have the same modules, with the marker that says they are typed."""
    [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}

    assert packed <= sources
    assert {name.partition("/")[0] for name in packed} == {
        *("defter", "defter_channel", "defter_client", "defter_retrying", "defter_tracing")
    }
    assert {"defter_client/py.typed", "defter_client/_blocking/client.py", "defter/py.typed"} <= packed


@pytest.mark.parametrize("beside", [OLDEST, NEWEST], ids=["oldest", "newest"])
def test_readme_works_where_the_wheel_is_installed(
    built: Path, beside: tuple[str, ...], tmp_path: Path, client_stack: Stack
) -> None:
    """In an environment of its own, by the package index; the second time nothing is moved again."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    [wheel] = built.glob("*.whl")
    ran(*PIP, "--python", python, "install", wheel, *beside, folder=tmp_path)
    first, second = (
        text.replace("127.0.0.1:50051", client_stack.target).replace("shop", f"shop-{beside[0][10]}")
        for text in programs()
    )

    warnings = ("-W", "error", "-c")
    posted, again = (ran(python, *warnings, first, folder=tmp_path).split() for _ in range(2))
    assert posted[1:] == ["invoice-17", "False"]
    assert again == [posted[0], "invoice-17", "True"]
    assert ran(python, *warnings, second, folder=tmp_path).strip() == "1050"
    assert not ran(
        python, "-c", "import sys, defter_client; assert 'ledger_server' not in sys.modules", folder=tmp_path
    )
