"""Own one embedded PostgreSQL server: its folder, its start, its stop and its recovery.

Inside the folder, `lock`, `password`, `port` and `defter.conf` belong to the launcher; `data` and
`log` belong to the account that runs the server. Root never writes into the latter two.
"""

import hashlib
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ledger_server.embedded_postgres.account import ServerAccount, server_account
from ledger_server.embedded_postgres.binaries import PostgresBinaries, find_binaries
from ledger_server.embedded_postgres.cluster import (
    DATABASE,
    SUPERUSER,
    check_cluster,
    make_cluster,
    read_password,
)
from ledger_server.embedded_postgres.configuration import PostgresSettings, render_configuration
from ledger_server.embedded_postgres.errors import (
    EmbeddedPostgresError,
    FolderInUse,
    FolderUnreachable,
    ServerFailed,
)
from ledger_server.embedded_postgres.processes import (
    FolderLock,
    cluster_processes,
    kill_processes,
    live_postmaster,
)

HOST = "127.0.0.1"
# Below the range from which systems lend ports to outgoing connections: a port that we keep over
# restarts must not be lent to somebody in between.
PORT_RANGE = range(20_000, 30_000)
PORT_ATTEMPTS = 5
STOP_TIMEOUT_SECONDS = 60
ORPHAN_WAIT_SECONDS = 10
POLL_SECONDS = 0.05
LOG_TAIL_LINES = 20
ROOT_DATA_FOLDER = Path("/var/lib/defter")


class EmbeddedPostgres:
    """A PostgreSQL server that lives in one folder and is owned by one launcher at a time.

    Every method blocks; call them from a thread inside an event loop. As a context manager it
    starts on entry and stops on exit.
    """

    def __init__(
        self,
        data_directory: Path,
        *,
        binaries: PostgresBinaries | None = None,
        settings: PostgresSettings | None = None,
    ) -> None:
        """Describe a server; nothing is touched before `start`.

        Args:
            data_directory: made when missing; holds everything the server needs.
            binaries: default, PostgreSQL 18 from the wheel.
            settings: default, sized to this machine.
        """
        self._folder = data_directory.absolute()
        self._wanted_binaries = binaries
        self._settings = settings or PostgresSettings()
        self._lock: FolderLock | None = None
        self._binaries: PostgresBinaries | None = None

    @property
    def is_running(self) -> bool:
        """Whether a server of this folder is up and accepts connections, whoever started it."""
        postmaster = live_postmaster(self._cluster)
        return postmaster is not None and postmaster.state == "ready"

    @property
    def url(self) -> str:
        """The database URL with the superuser's password: a secret.

        Raises:
            ServerFailed: the folder has never held a server.
        """
        try:
            password = read_password(self._folder)
            port = (self._folder / "port").read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            raise ServerFailed(f"{self._folder} has never held a server") from error
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{port}/{DATABASE}"

    def start(self, *, reuse_running: bool = False) -> str:
        """Start the server, making its cluster first when there is none; return the database URL.

        A server left behind by a launcher that died is restarted, so that it runs with these
        settings. Starting twice is the same as starting once.

        Args:
            reuse_running: where another live launcher owns the folder, use its server instead of
                refusing; `stop` then leaves it alone.
        Raises:
            FolderInUse: another live launcher owns the folder.
            FolderUnreachable: the account that must run the server cannot enter the folder.
            BinariesNotFound: there are no usable binaries.
            ServerFailed: a PostgreSQL program failed; the message ends with its log.
        """
        if self._lock is not None and self.is_running:
            return self.url
        account = server_account()
        self._make_folder(account)
        if self._lock is None:
            self._lock = self._take_lock()
        if self._lock is None:
            if not reuse_running:
                holder = FolderLock.holder(self._folder / "lock")
                raise FolderInUse(
                    f"process {holder} already runs the PostgreSQL in {self._folder}; "
                    f"stop it, or choose another data folder"
                )
            if not _wait(lambda: self.is_running, self._settings.start_timeout_seconds):
                raise ServerFailed(f"the PostgreSQL that we were to reuse in {self._folder} is not up")
            return self.url
        try:
            self._start_owned(account)
        except BaseException:
            # Even when interrupted, leave no server behind that nobody owns.
            with suppress(EmbeddedPostgresError):
                self._stop_server(account)
            self._release()
            raise
        return self.url

    def stop(self) -> None:
        """Stop the server and give up the folder; committed work stays.

        Does nothing where this object does not own a server.

        Raises:
            ServerFailed: the server would not stop in time; it still runs and is still owned.
        """
        if self._lock is None:
            return
        self._stop_server(server_account())
        self._release()

    def kill(self) -> None:
        """Kill every process of the server, as a power cut would; for crash tests.

        The folder stays owned: `start` on the same object recovers.

        Raises:
            FolderInUse: this object does not own the server.
        """
        if self._lock is None:
            raise FolderInUse(f"the PostgreSQL in {self._folder} is not ours to kill")
        kill_processes(self._cluster)
        # Waited for by looking at the folder: a container's first process may leave zombies.
        _wait(lambda: not cluster_processes(self._cluster), ORPHAN_WAIT_SECONDS)

    def log_tail(self) -> str:
        """Return the last lines of what the server logged, at its start and since."""
        logs = sorted((self._folder / "log").glob("postgres-*.log"), key=lambda path: path.stat().st_mtime)
        return "\n".join(_tail(path) for path in (self._start_log, *logs[-1:]))

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    def _cluster(self) -> Path:
        # Resolved, because processes report their working folder without symbolic links.
        return self._folder.resolve() / "data"

    @property
    def _start_log(self) -> Path:
        return self._folder / "log" / "start.log"

    def _start_owned(self, account: ServerAccount) -> None:
        binaries = (self._wanted_binaries or find_binaries()).reachable_by(account)
        major = binaries.major_version(account)
        self._binaries = binaries
        if self._cluster.is_dir():
            check_cluster(self._folder, account=account, major=major)
        else:
            make_cluster(self._folder, account=account, binaries=binaries)
        self._clear_the_way(account)
        self._launch(account, binaries)

    def _make_folder(self, account: ServerAccount) -> None:
        blocking = account.blocking_folder(self._folder)
        if blocking is not None:
            raise FolderUnreachable(
                f"PostgreSQL does not run as root, and '{account.name}', who runs it instead, "
                f"cannot enter {blocking}; choose a data folder that every account can reach, "
                f"or start Defter as an ordinary user"
            )
        missing = [path for path in (self._folder, *self._folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            # Only folders made here get a mode: enterable, not readable, by another account.
            path.chmod(0o700 if account.is_ours else 0o711)

    def _take_lock(self) -> FolderLock | None:
        try:
            return FolderLock.take(self._folder / "lock")
        except PermissionError as error:
            raise FolderUnreachable(
                f"{self._folder} belongs to another account; run Defter as that account, "
                f"or choose another data folder"
            ) from error

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _clear_the_way(self, account: ServerAccount) -> None:
        """Leave no process and no stale process file of an earlier server on the cluster."""
        if live_postmaster(self._cluster) is not None:
            self._stop_server(account)
        # Children outlive a killed postmaster by a moment, and PostgreSQL refuses to start beside
        # them.
        if not _wait(lambda: not cluster_processes(self._cluster), ORPHAN_WAIT_SECONDS):
            identities = ", ".join(str(process.pid) for process in cluster_processes(self._cluster))
            raise ServerFailed(f"processes of an earlier server still run on {self._cluster}: {identities}")
        # Nobody runs here and nobody else may, so a process file is stale, whoever has its id now.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self, account: ServerAccount, binaries: PostgresBinaries) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            port = self._choose_port()
            _write_whole(self._folder / "port", f"{port}\n", mode=0o600)
            _write_whole(
                self._folder / "defter.conf",
                render_configuration(self._settings, port=port),
                mode=0o644,
            )
            self._start_log.unlink(missing_ok=True)
            finished = account.run(
                [
                    binaries.program("pg_ctl"),
                    "start",
                    f"--pgdata={self._cluster}",
                    f"--log={self._start_log}",
                    "--wait",
                    f"--timeout={self._settings.start_timeout_seconds}",
                ],
                folder=self._folder,
            )
            if finished.returncode == 0:
                return
            # The server's last words reach its log a moment after it has ended.
            _wait(lambda: not cluster_processes(self._cluster), ORPHAN_WAIT_SECONDS)
            # Somebody may take the port between our look and the server's; a fixed port is fixed.
            port_was_taken = "could not bind" in self.log_tail()
            if not port_was_taken or self._settings.port is not None or attempt == PORT_ATTEMPTS:
                raise ServerFailed(
                    f"PostgreSQL did not start in {self._folder}: "
                    f"{finished.stderr.strip() or finished.stdout.strip()}\n{self.log_tail()}"
                )

    def _stop_server(self, account: ServerAccount) -> None:
        if live_postmaster(self._cluster) is None:
            return
        binaries = self._binaries or (self._wanted_binaries or find_binaries())
        finished = account.run(
            [
                binaries.program("pg_ctl"),
                "stop",
                f"--pgdata={self._cluster}",
                "--mode=fast",
                "--wait",
                f"--timeout={STOP_TIMEOUT_SECONDS}",
            ],
            folder=self._folder,
        )
        # A server that ended by itself in between is as good as one that we stopped.
        if finished.returncode != 0 and live_postmaster(self._cluster) is not None:
            raise ServerFailed(
                f"PostgreSQL did not stop in {self._folder}: {finished.stderr.strip()}\n{self.log_tail()}"
            )

    def _choose_port(self) -> int:
        if self._settings.port is not None:
            return self._settings.port
        stored = self._folder / "port"
        if stored.exists():
            kept = int(stored.read_text(encoding="ascii"))
            if _is_free(kept):
                return kept
        while not _is_free(port := secrets.choice(PORT_RANGE)):
            pass
        return port


def default_data_directory(base: Path | None = None) -> Path:
    """Return where the embedded PostgreSQL of a working folder lives.

    That is `.defter/postgres` in the folder itself, as one expects of a checkout. Root cannot have
    it there when `nobody` cannot enter the folder; it then gets a place of its own, one for each
    working folder, under /var/lib/defter.

    Args:
        base: the working folder; default, the current one.
    """
    base = (base or Path.cwd()).resolve()
    if server_account().blocking_folder(base / ".defter" / "postgres") is None:
        return base / ".defter" / "postgres"
    name = hashlib.sha256(os.fsencode(base)).hexdigest()[:12]
    return ROOT_DATA_FOLDER / f"{base.name}-{name}" / "postgres"


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As PostgreSQL does, so that connections that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _write_whole(path: Path, text: str, *, mode: int) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.chmod(mode)
    partial.replace(path)


def _tail(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, LOG_TAIL_LINES)).strip()
    except FileNotFoundError:
        return ""
