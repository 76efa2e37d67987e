"""Own the view of PostgreSQL's processes: which ones run on a data folder, and who owns the folder."""

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PROCESS_NAME = "postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmaster:
    """What `postmaster.pid` says of the server that wrote it.

    Attributes:
        process_id: of the server's main process.
        state: "starting", "ready", "stopping" and the like; empty while it is not written yet.
    """

    process_id: int
    state: str


def read_postmaster(cluster: Path) -> Postmaster | None:
    """Return what the cluster's process file says, or None where there is none (or half of one)."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    if not lines or not lines[0].strip().lstrip("-").isdigit():
        return None
    # Line 8 is the state; the file grows while the server starts.
    state = lines[7].strip() if len(lines) > 7 else ""
    return Postmaster(process_id=abs(int(lines[0])), state=state)


def live_postmaster(cluster: Path) -> Postmaster | None:
    """Return the postmaster of this cluster if its process lives and is really its postmaster.

    After a reboot, above all in containers, another process soon has the recorded process id; PostgreSQL
    would then refuse to start.
    """
    postmaster = read_postmaster(cluster)
    if postmaster is None:
        return None
    try:
        process = psutil.Process(postmaster.process_id)
    except psutil.NoSuchProcess:
        return None
    return postmaster if _serves(process, cluster) else None


def cluster_processes(cluster: Path) -> list[psutil.Process]:
    """Return every live process of the cluster, the postmaster and its children alike."""
    return [process for process in psutil.process_iter() if _serves(process, cluster)]


def kill_processes(cluster: Path) -> None:
    """Kill the postmaster, then all its children, as a crash of the machine would.

    Does not wait for them to be gone.
    """
    postmaster = live_postmaster(cluster)
    processes = cluster_processes(cluster)
    # The postmaster is killed first: it would answer the death of a child with a restart.
    processes.sort(key=lambda process: postmaster is None or process.pid != postmaster.process_id)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _serves(process: psutil.Process, cluster: Path) -> bool:
    # Every PostgreSQL process works in the data folder of its cluster.
    try:
        return (
            process.name() == PROCESS_NAME
            and process.status() != psutil.STATUS_ZOMBIE
            and process.cwd() == str(cluster)
        )
    except psutil.Error:
        return False


class FolderLock:
    """The right to run a server on a folder, held until released or until the process ends.

    The kernel gives the lock back whatever the process dies of, so it is never stale.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> "FolderLock | None":
        """Take the lock, or return None where a live launcher holds it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return cls(descriptor)

    @staticmethod
    def holder(path: Path) -> str:
        """Return the process id of who took the lock last, for a message."""
        return path.read_text(encoding="ascii").strip() or "unknown"

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)
