"""Own that an installed wheel can migrate: it has the migrations that a checkout keeps at its top."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.migration.test_schema import schema_of
from tests.support.postgres import Databases

CHECKOUT = Path(__file__).parents[2]
IN_WHEEL = "ledger_server/store/migrations/"


def ran(*words: str | Path, folder: Path, **environment: str) -> str:
    """Run a program in a folder, without what this process has been told to find; return what it has said."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DEFTER_"))
    }
    found = subprocess.run(
        words, cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheels of the server and of its client."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps")
    for source in (CHECKOUT, CHECKOUT / "clients" / "python"):
        ran(*pip, "--no-build-isolation", "--no-index", "--wheel-dir", folder, source, folder=folder)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which the wheels are, beside the locked packages of this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    programs = folder / "bin"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", programs / "python")
    ran(*pip, "install", "--quiet", "--no-deps", "--no-index", *wheels, folder=folder)
    [packages] = folder.glob("lib/python*/site-packages")
    # A path in a path file is only looked into: the checkout that is installed there is not found by it.
    (packages / "locked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def test_wheel_has_each_migration_of_the_checkout(wheels: list[Path]) -> None:
    """What is at the top of the checkout is beside the module that runs it, and nothing else is."""
    [wheel] = [each for each in wheels if each.name.startswith("defter-")]
    packed = {
        name.removeprefix(IN_WHEEL) for name in zipfile.ZipFile(wheel).namelist() if name.startswith(IN_WHEEL)
    }
    top = CHECKOUT / "migrations"
    kept = {str(path.relative_to(top)) for path in top.rglob("*") if path.suffix in {".py", ".mako"}}

    assert "env.py" in kept
    assert packed == kept


def test_installed_wheel_migrates_an_empty_database(
    databases: Databases, installed: Path, tmp_path: Path, database_url: str
) -> None:
    """`pip install` and `defter migrate` are all it takes; the code is the wheel's."""
    where = ran(
        installed / "python", "-c", "import ledger_server; print(ledger_server.__file__)", folder=tmp_path
    )
    assert Path(where.strip()).is_relative_to(installed.parent)
    with databases.empty() as url:
        said = ran(installed / "defter", "migrate", folder=tmp_path, DEFTER_DATABASE_URL=url)

        assert "the database is at" in said
        assert schema_of(url) == schema_of(database_url)
