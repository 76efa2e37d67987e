"""Owns the files of heads and keys: what is written is there whole after a crash, or not at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ledger_server.operator.connection import Exit, Stopped

_SECRET_MODE: Final = 0o600
_MODE: Final = 0o644


@contextmanager
def told_of(file: Path) -> Iterator[None]:
    """Turn an error of the operating system into a sentence about a file. Raises Stopped."""
    try:
        yield
    except OSError as error:
        raise Stopped(f"{file}: {error.strerror or error}") from None


@contextmanager
def alone_with(file: Path) -> Iterator[None]:
    """Keep other publishers away from a file, by a lock beside it that ends with the process.

    Raises:
        Stopped: another one is at work on the file.
    """
    lock = file.with_name(f"{file.name}.lock")
    with told_of(lock):
        opened = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise Stopped(f"{file}: another `defter head publish` is at work on it", Exit.UNDER_WAY) from None
    try:
        yield
    finally:
        os.close(opened)


def read(file: Path) -> bytes:
    """Return what a file has. Raises Stopped: it can't be read."""
    with told_of(file):
        return file.read_bytes()


def read_if_there(file: Path) -> bytes:
    """Return what a file has, nothing if there is none. Raises Stopped: it can't be read."""
    return read(file) if file.exists() else b""


def replace(file: Path, content: bytes) -> None:
    """Give a file other content, durably: a crash leaves the old content or the new one.

    Raises:
        Stopped: it can't be written, and has its old content.
    """
    # A link stays a link: what it leads to is replaced.
    file = file.resolve()
    new = file.with_name(f"{file.name}.new")
    with told_of(file):
        # A publisher that died may have left one.
        new.unlink(missing_ok=True)
        opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        if file.exists():
            os.fchmod(opened, file.stat().st_mode & 0o777)
        _write(opened, content)
        new.replace(file)
        _sync_folder(file)


def write_pair(secret: tuple[Path, bytes], public: tuple[Path, bytes]) -> None:
    """Write a secret file, which its owner alone may read, and a public one; both or neither.

    Raises:
        Stopped: one of them exists or can't be written; nothing is overwritten.
    """
    written: list[Path] = []
    try:
        for (file, content), mode in ((secret, _SECRET_MODE), (public, _MODE)):
            with told_of(file):
                opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                written.append(file)
                _write(opened, content)
                _sync_folder(file)
    except Stopped:
        for file in written:
            with suppress(OSError):
                file.unlink()
        raise


def _write(opened: int, content: bytes) -> None:
    with os.fdopen(opened, "wb") as writing:
        writing.write(content)
        writing.flush()
        os.fsync(writing.fileno())


def _sync_folder(file: Path) -> None:
    """Make a file's name durable."""
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
