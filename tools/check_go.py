"""Own the checks of the Go client that `make lint` makes: form, dependencies, `go vet` and staticcheck.

A clone needs no Go: without it this says so and does nothing. Under CI, where nothing may be left out, it
fails then.
"""

import os
import shutil
import subprocess
import sys
from typing import Final

from tools.generate_go import MODULE_ROOT, TOOLS_FOLDER, install_tools

CHECKS: Final = (
    ("gofmt", "-l", "defter"),
    ("go", "mod", "tidy", "-diff"),
    ("go", "vet", "./..."),
    (str(TOOLS_FOLDER / "staticcheck"), "./defter/..."),
)


def main() -> int:
    """Make all checks; return how many found something."""
    if shutil.which("go") is None:
        print("go: Go is not installed, so the Go client is not checked")
        return 1 if os.environ.get("CI") else 0
    install_tools()
    return sum(not _is_clean(check) for check in CHECKS)


def _is_clean(check: tuple[str, ...]) -> bool:
    finished = subprocess.run(check, check=False, capture_output=True, cwd=MODULE_ROOT, text=True)
    # gofmt names the files that are not formatted, and does not fail.
    is_clean = finished.returncode == 0 and not finished.stdout
    if not is_clean:
        print(f"go: {' '.join(check)}\n{finished.stdout}{finished.stderr}")
    return is_clean


if __name__ == "__main__":
    sys.exit(main())
