"""Own two PostgreSQLs that take turns: one is the primary, the other one its synchronous standby."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import psutil

from ledger_server.embedded_postgres import PostgresSettings, find_binaries
from ledger_server.embedded_postgres.account import server_account
from ledger_server.embedded_postgres.cluster import DATABASE, SUPERUSER, make_cluster, read_password
from ledger_server.embedded_postgres.configuration import render_configuration
from ledger_server.embedded_postgres.processes import cluster_processes, kill_processes, live_postmaster
from ledger_server.store import migrate
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import FAST, run_as
from tools.free_ports import free_port

# Killed servers keep what they have written; only a power cut would not.
_SETTINGS: Final = {**FAST, "synchronous_commit": "on", "max_wal_size": "256MB", "wal_keep_size": "64MB"}
_HANG: Final = int(HANG_SECONDS)


class Host:
    """One of the two."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        # Found here, since it takes many programs that run as another account (see `run_as`).
        self._account = server_account()
        self._binaries = find_binaries().reachable_by(self._account)

    @property
    def data(self) -> Path:
        """The files of the cluster."""
        return self.folder / "data"

    @property
    def url(self) -> str:
        """The database there, for its owner."""
        password = read_password(self.folder)
        return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def make(self) -> None:
        """Make the cluster and start it."""
        self._make_folder()
        make_cluster(self.folder, account=self._account, binaries=self._binaries)
        self.start()

    def program(self, name: str, *words: str | Path) -> None:
        """Run one of PostgreSQL's programs as the account of the server.

        Raises:
            AssertionError: it failed.
        """
        finished = run_as(self._account, [self._binaries.program(name), *words], folder=Path("/"))
        assert finished.returncode == 0, (name, words, finished.stdout, finished.stderr)

    def ask(self, statement: str) -> str:
        """Return the one value that a statement brings."""

        async def ask() -> str:
            connection = await asyncpg.connect(self.url)
            try:
                return str(await connection.fetchval(statement))
            finally:
                await connection.close()

        while True:
            # What a standby replays may end a statement there; each of these may be said twice.
            with suppress(asyncpg.SerializationError):
                return asyncio.run(ask())

    def start(self) -> None:
        """Start on the files that are there."""
        settings = PostgresSettings(shared_buffers_mib=128, max_connections=100, overrides=_SETTINGS)
        (self.folder / "defter.conf").write_text(render_configuration(settings, port=self.port))
        self.program(
            "pg_ctl", "start", "-D", self.data, "-l", self.data / "start.log", "-w", f"--timeout={_HANG}"
        )

    def kill(self) -> None:
        """Kill all processes at once."""
        cluster = self.data.resolve()
        kill_processes(cluster)
        until(lambda: not cluster_processes(cluster), "it lives on")
        (cluster / "postmaster.pid").unlink(missing_ok=True)

    def follow(self, primary: Host) -> None:
        """Become a standby of a primary, from a new base backup of it."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._make_folder()
        self.data.mkdir(mode=0o700)
        self._account.give(self.data)
        (self.folder / "log").mkdir(mode=0o700)
        self._account.give(self.folder / "log")
        shutil.copy2(primary.folder / "password", self.folder / "password")
        backup = ("-D", self.data, "--checkpoint=fast", "--write-recovery-conf", "--wal-method=stream")
        self.program("pg_basebackup", "-d", primary.url, *backup)
        self.start()
        # The backup has this setting of the primary's. It would have the standby, once promoted, wait for one
        # that is not there.
        self.ask("ALTER SYSTEM RESET synchronous_standby_names")
        self.ask("SELECT pg_reload_conf()")

    def wait_for_standby(self) -> None:
        """Have commits wait for the standby, once it follows."""
        self.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.ask("SELECT pg_reload_conf()")
        sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
        until(lambda: self.ask(sync) == "1", "the standby does not follow")

    def promote(self) -> None:
        """Become the primary."""
        assert self.ask("SELECT pg_promote(false)") == "True"
        until(lambda: self.ask("SELECT pg_is_in_recovery()") == "False", "it is not promoted")

    def stand_still(self) -> None:
        """Stop all processes where they are, as a machine that is suspended does."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _make_folder(self) -> None:
        self.folder.mkdir()
        self.folder.chmod(0o711)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes, the first of which makes the others."""
        postmaster = live_postmaster(self.data.resolve())
        assert postmaster is not None, "it runs"
        os.kill(postmaster.process_id, number)
        for process in cluster_processes(self.data.resolve()):
            with suppress(psutil.NoSuchProcess):  # sessions come and go
                process.send_signal(number)


class Pair:
    """The two hosts; `primary` and `standby` change places."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o711)
        self._hosts = Host(folder / "a"), Host(folder / "b")
        self.primary, self.standby = self._hosts

    def start(self) -> None:
        """Make the primary with a migrated database, and its standby."""
        self.primary.make()
        migrate.upgrade(self.primary.url)
        self.standby.follow(self.primary)
        self.primary.wait_for_standby()

    @property
    def url(self) -> str:
        """The URL that servers get: both hosts, always in the same order."""
        one = urlsplit(self.primary.url)
        user = one.netloc.rpartition("@")[0]
        places = ",".join(f"127.0.0.1:{host.port}" for host in self._hosts)
        return f"postgresql://{user}@{places}{one.path}?target_session_attrs=read-write"

    def promote(self) -> float:
        """Promote the standby, and return when that was asked for; nobody is the standby then."""
        begun = time.monotonic()
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        return begun

    def rebuild(self) -> None:
        """Have the primary that was replaced follow the new one."""
        self.standby.follow(self.primary)
        self.primary.wait_for_standby()

    def stop(self) -> None:
        """End both."""
        for host in self._hosts:
            host.kill()


def until(done: Callable[[], bool], text: str) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it never is.
    """
    deadline = time.monotonic() + _HANG
    while not done():
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
