"""Own the npm packages of the TypeScript client: those of its lock file, installed once for each."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CLIENT: Final = REPOSITORY / "clients" / "typescript"
INSTALL_TIMEOUT_SECONDS: Final = 600
_OLDEST_NODE: Final = 20
_STAMP: Final = ".locked"


class NodeUnavailable(Exception):
    """Node.js or its packages are not here and can't be fetched; the message says why."""


def installed_client() -> Path:
    """Return the folder of the client, with its locked packages in `node_modules`.

    Raises:
        NodeUnavailable: there is no npm or too old a Node.js, or npm could not fetch the packages.
    """
    _check_node()
    stamp = CLIENT / "node_modules" / _STAMP
    locked = hashlib.sha256((CLIENT / "package-lock.json").read_bytes()).hexdigest()
    cache = REPOSITORY / ".cache"
    cache.mkdir(exist_ok=True)
    # Of several processes one installs while the others wait.
    with (cache / "typescript.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text(encoding="ascii") != locked:
            # No package of the lock needs its install script, and a script could do anything.
            run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            stamp.write_text(locked, encoding="ascii")
    return CLIENT


def run(command: list[str]) -> str:
    """Run a program in the client's folder; return what it printed.

    Raises:
        NodeUnavailable: it can't be run, takes too long or fails.
    """
    try:
        finished = subprocess.run(
            command,
            check=False,
            capture_output=True,
            cwd=CLIENT,
            text=True,
            timeout=INSTALL_TIMEOUT_SECONDS,
            env={**os.environ, "npm_config_update_notifier": "false"},
        )
    except FileNotFoundError as error:
        raise NodeUnavailable(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise NodeUnavailable(f"{' '.join(command)} took too long") from error
    if finished.returncode != 0:
        last_words = finished.stderr.strip().splitlines()[-3:]
        raise NodeUnavailable(f"{' '.join(command)} failed: {' | '.join(last_words)}")
    return finished.stdout


def _check_node() -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NodeUnavailable(f"{program} is not installed")
    version = run(["node", "--version"]).strip()
    if int(version.removeprefix("v").split(".")[0]) < _OLDEST_NODE:
        raise NodeUnavailable(f"Node.js {version} is older than {_OLDEST_NODE}")
