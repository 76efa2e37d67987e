"""Own the making of a database cluster in the launcher's folder, and the check of an old one."""

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from ledger_server.embedded_postgres.account import ServerAccount
from ledger_server.embedded_postgres.binaries import PostgresBinaries
from ledger_server.embedded_postgres.errors import FolderUnreachable, ServerFailed

SUPERUSER = "postgres"
DATABASE = "defter"


def make_cluster(folder: Path, *, account: ServerAccount, binaries: PostgresBinaries) -> None:
    """Make `folder`/data with the database `defter`, a superuser and a random password.

    It is made aside and renamed when complete, so that a crash never leaves half a cluster.

    Raises:
        ServerFailed: a program failed; the message carries what it said.
    """
    partial = folder / "data.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for path in (partial, folder / "log"):
        path.mkdir(mode=0o700, exist_ok=True)
        account.give(path)
    _initialise(folder, partial, account=account, binaries=binaries)
    # Appended by the server's account: root must not follow paths that another account owns.
    _run(
        account,
        ["/bin/sh", "-c", 'cat >> "$1"', "sh", partial / "postgresql.conf"],
        folder=folder,
        text_input="\n# Defter's settings; what you write below these lines wins.\n"
        "include_if_exists = '../defter.conf'\n",
    )
    # The single-user server needs neither port nor password.
    _run(
        account,
        [binaries.program("postgres"), "--single", "-j", "-D", partial, "postgres"],
        folder=folder,
        text_input=f"CREATE DATABASE {DATABASE};\n\n",
    )
    partial.rename(folder / "data")
    # Otherwise a power cut could undo the rename, and the next start would delete the data.
    _flush_folder(folder)


def check_cluster(folder: Path, *, account: ServerAccount, major: int) -> None:
    """Refuse a cluster that this account or these binaries cannot run.

    Raises:
        FolderUnreachable: another account made the cluster.
        ServerFailed: another major version of PostgreSQL made it.
    """
    cluster = folder / "data"
    made_by_account = cluster.stat().st_uid
    if made_by_account != account.user_id:
        raise FolderUnreachable(
            f"{cluster} belongs to account {made_by_account}, but the server would run as "
            f"{account.user_id}; run Defter as the account that made it"
        )
    made_by = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    if made_by != str(major):
        raise ServerFailed(
            f"{cluster} was made by PostgreSQL {made_by} and these binaries are {major}; "
            f"use binaries of version {made_by}, or dump and restore into a new data folder"
        )


def read_password(folder: Path) -> str:
    """Return the superuser's password.

    Raises:
        FileNotFoundError: no cluster has ever been made here.
    """
    return (folder / "password").read_text(encoding="ascii").strip()


def _initialise(folder: Path, partial: Path, *, account: ServerAccount, binaries: PostgresBinaries) -> None:
    password = folder / "password"
    if not password.exists():
        fresh = folder / "password.new"
        _write_secret(fresh, secrets.token_urlsafe(32))
        fresh.rename(password)
    # The server's account must not own the launcher's file, so it is lent a copy.
    lent = folder / "password.partial"
    _write_secret(lent, read_password(folder))
    account.give(lent)
    try:
        _run(
            account,
            [
                binaries.program("initdb"),
                f"--pgdata={partial}",
                "--encoding=UTF8",
                "--no-locale",
                "--data-checksums",
                f"--username={SUPERUSER}",
                "--auth=scram-sha-256",
                f"--pwfile={lent}",
            ],
            folder=folder,
        )
    finally:
        lent.unlink()


def _run(
    account: ServerAccount,
    command: Sequence[str | Path],
    *,
    folder: Path,
    text_input: str | None = None,
) -> None:
    finished = account.run(command, folder=folder, text_input=text_input)
    # The single-user server reports a failed statement only by its output, not by its exit code.
    failed = "ERROR:" in finished.stderr or "FATAL:" in finished.stderr
    if finished.returncode != 0 or failed:
        raise ServerFailed(f"{command[0]} failed in {folder}:\n{finished.stdout}{finished.stderr}")


def _write_secret(path: Path, text: str) -> None:
    # A leftover file of a crash may belong to another account by now, so the secret goes into a new file.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(descriptor)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
