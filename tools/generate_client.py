"""Own the generated part of the Python client: what follows from the contract, and the blocking twin.

Run by `make gen` after the stubs; with --check it changes nothing and fails when what is committed is stale.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tools.clients import python
from tools.generate_stubs import REPOSITORY, STUB_ROOT, generators_python

PACKAGE: Final = STUB_ROOT / "defter_client"
ASYNC: Final = "_async"
BLOCKING: Final = "_blocking"
_GENERATED: Final = {
    Path(ASYNC) / "services.py": python.services,
    Path("reasons.py"): python.reason_classes,
    Path("messages.py"): python.message_names,
    Path("currencies.py"): python.currencies,
}
_TWIN: Final = REPOSITORY / "tools" / "generators" / "blocking.py"


def main() -> int:
    """Write the modules, or compare them with a fresh generation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when what is committed differs")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory(prefix="defter-client-") as folder:
        fresh = Path(folder) / "defter_client"
        _generate(fresh)
        stale = [each for each in _files(fresh) if _text(fresh / each) != _text(PACKAGE / each)]
        gone = [each for each in _files(PACKAGE, BLOCKING) if not (fresh / each).exists()]
        if check:
            return _report(fresh, [*stale, *gone])
        for each in stale:
            (PACKAGE / each).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fresh / each, PACKAGE / each)
        for each in gone:
            (PACKAGE / each).unlink()
    print(f"gen: {len(stale) + len(gone)} file(s) changed under {PACKAGE.relative_to(REPOSITORY)}")
    return 0


def _generate(fresh: Path) -> None:
    """Write what is generated, and nothing else, into a folder."""
    shutil.copytree(PACKAGE / ASYNC, fresh / ASYNC, ignore=shutil.ignore_patterns("__pycache__"))
    for path, generated in _GENERATED.items():
        (fresh / path).write_text(generated(), encoding="utf-8")
    _tidy(*(fresh / path for path in _GENERATED))
    subprocess.run([generators_python(), _TWIN, fresh / ASYNC, fresh / BLOCKING], check=True)
    _tidy(fresh / BLOCKING)
    for path in _files(fresh, ASYNC):
        if path not in _GENERATED:
            (fresh / path).unlink()


def _tidy(*paths: Path) -> None:
    """Order the imports and format: names that were put in are of any length, and in any order."""
    ruff = Path(sys.executable).with_name("ruff")
    for verb in (("check", "--select", "I", "--fix"), ("format",)):
        command = [ruff, *verb, "--quiet", "--config", REPOSITORY / "pyproject.toml", *paths]
        subprocess.run(command, check=True)


def _report(fresh: Path, stale: list[Path]) -> int:
    for each in stale:
        committed, wanted = _text(PACKAGE / each), _text(fresh / each)
        sys.stdout.writelines(
            difflib.unified_diff(
                committed.splitlines(keepends=True),
                wanted.splitlines(keepends=True),
                f"committed/{each}",
                f"fresh/{each}",
            )
        )
    if stale:
        print(f"gen: {len(stale)} stale file(s) under {PACKAGE}: run `make gen` and commit them")
        return 1
    print("gen: the committed client is what the contract generates")
    return 0


def _files(root: Path, folder: str = "") -> list[Path]:
    return sorted(path.relative_to(root) for path in (root / folder).rglob("*.py"))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
