"""Own the databases of the tests: one server, one migrated template, a fresh copy for each test."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from ledger_server.embedded_postgres import EmbeddedPostgres, PostgresBinaries, PostgresSettings
from ledger_server.embedded_postgres.account import ServerAccount
from ledger_server.store import migrate

TEMPLATE = "defter_template"
# Tests may lose their database in a power cut; only the crash tests keep durability on.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_AS_ACCOUNT = """
import os, sys
user, group, *words = sys.argv[1:]
os.setgroups([])
os.setgid(int(group))
os.setuid(int(user))
os.execv(words[0], words)
"""
# More than all test workers together have been seen to need, with the largest test among them.
ROOM_BYTES = 2 << 30


class Databases:
    """Makes and drops databases on one PostgreSQL server.

    As a context manager it does so over one connection that it keeps, and drops a database while the next
    test is at work already. The server must then live as long as the context does.
    """

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        self._kept: _KeptConnection | None = None

    def __enter__(self) -> Self:
        """Keep a connection."""
        self._kept = _KeptConnection(self.server.url)
        return self

    def __exit__(self, *_: object) -> None:
        """Close it, once every database is dropped."""
        assert self._kept is not None
        self._kept.close()
        self._kept = None

    def url_of(self, name: str) -> str:
        """Return the URL of a database on this server."""
        return urlunsplit(urlsplit(self.server.url)._replace(path=f"/{name}"))

    def make_template(self) -> None:
        """Make the migrated database that `fresh` copies."""
        self.create(TEMPLATE)
        migrate.upgrade(self.url_of(TEMPLATE))
        # Ids stay plain, as in an older database, since most tests predict ids. Tests of histories let a
        # server draw an epoch.
        run_sql(self.url_of(TEMPLATE), "UPDATE history SET epoch = ''")

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Yield the URL of a new copy of the template."""
        with self.empty(template=TEMPLATE) as url:
            yield url

    @contextmanager
    def empty(self, *, template: str = "template0") -> Iterator[str]:
        """Yield the URL of a new database without any table."""
        name = f"test_{next(self._numbers)}"
        self.create(name, template=template)
        yield self.url_of(name)
        dropping = f"DROP DATABASE {name} WITH (FORCE)"
        if self._kept is None:
            run_sql(self.server.url, dropping)
        else:
            self._kept.begin(dropping)

    def create(self, name: str, *, template: str = "template0") -> None:
        """Make a database as a copy of another one."""
        creating = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"
        if self._kept is None:
            run_sql(self.server.url, creating)
        else:
            self._kept.run(creating)


class _KeptConnection:
    """A connection in a thread and an event loop of its own, which runs one statement after the other."""

    def __init__(self, database_url: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._runner = asyncio.Runner()
        self._begun: Future[str] | None = None
        self._connection = self._thread.submit(self._runner.run, asyncpg.connect(database_url)).result()

    def begin(self, statement: str) -> None:
        """Begin a statement; whether it fails is known when the next one begins."""
        if self._begun is not None:
            self._begun.result()
        self._begun = self._thread.submit(self._runner.run, self._connection.execute(statement))

    def run(self, statement: str) -> None:
        """Run a statement."""
        self.begin(statement)
        assert self._begun is not None
        self._begun.result()

    def close(self) -> None:
        """Close the connection when nothing is under way any more."""
        try:
            if self._begun is not None:
                self._begun.result()
        finally:
            self._thread.submit(self._runner.run, self._connection.close()).result()
            self._thread.submit(self._runner.close).result()
            self._thread.shutdown()


@contextmanager
def running_postgres(
    *, durable: bool = False, binaries: PostgresBinaries | None = None
) -> Iterator[EmbeddedPostgres]:
    """Yield a PostgreSQL of its own in a folder of its own; both are gone afterwards."""
    # Not a folder of pytest's, which the account that runs PostgreSQL for root can't enter. In memory a
    # durable one too: what a killed server has written survives there as well.
    folder = Path(tempfile.mkdtemp(prefix="defter-test-", dir=memory_folder()))
    folder.chmod(0o711)
    settings = PostgresSettings(
        shared_buffers_mib=128, overrides={} if durable else FAST, max_connections=300
    )
    server = EmbeddedPostgres(folder / "postgres", binaries=binaries, settings=settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def run_as(
    account: ServerAccount, command: Sequence[str | Path], *, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a program as the account of PostgreSQL, also beside gRPC.

    Changing the account takes a fork, and beside gRPC's threads a fork now and then ends the child. So a new
    Python changes it, which takes none.
    """
    change = [] if account.is_ours else [sys.executable, "-c", _AS_ACCOUNT]
    who = [] if account.is_ours else [str(account.user_id), str(account.group_id)]
    return subprocess.run(  # the programs are PostgreSQL's own, or of our documents
        [*change, *who, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
    )


def memory_folder() -> Path | None:
    """Return a folder in memory with room for databases, where the machine has one: copies take a sixth."""
    folder = Path("/dev/shm")  # what is made in it gets a name of its own
    roomy = folder.is_dir() and shutil.disk_usage(folder).free >= ROOM_BYTES
    return folder if roomy and os.access(folder, os.W_OK | os.X_OK) else None


def run_sql(database_url: str, statement: str) -> None:
    """Run one statement, from within an event loop too: it gets a thread and a loop of its own."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, alter(database_url, statement)).result()


async def alter(database_url: str, statement: str) -> None:
    """Run one statement beside a server in this process, whose queries must be able to end meanwhile."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
