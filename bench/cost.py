"""Own what the processes cost: CPU time of process trees, resident memory, time stolen from us."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import psutil

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU seconds by whom they were spent; None where nobody of that kind takes part.

    Attributes:
        stolen: CPU seconds that the machine owed us and gave to somebody else.
    """

    server: float | None = None
    database: float | None = None
    client: float | None = None
    stolen: float | None = None

    def __sub__(self, before: "Cost") -> "Cost":
        return Cost(
            server=_less(self.server, before.server),
            database=_less(self.database, before.database),
            client=_less(self.client, before.client),
            stolen=_less(self.stolen, before.stolen),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters:
    """The process trees that one line is charged for, by the id of their root.

    Attributes:
        database: the postmaster; None when it is not on this machine.
        clients: load generators beside this process.
    """

    server: int | None = None
    database: int | None = None
    clients: tuple[int, ...] = ()

    def read(self) -> Cost:
        """Return what everybody has spent since they were started."""
        own = psutil.Process(os.getpid()).cpu_times()
        return Cost(
            server=None if self.server is None else tree_cpu_seconds(self.server),
            database=None if self.database is None else tree_cpu_seconds(self.database),
            # Children that we have reaped are servers that were stopped, not load.
            client=own.user + own.system + sum(map(tree_cpu_seconds, self.clients)),
            stolen=getattr(psutil.cpu_times(), "steal", None),
        )


def tree_cpu_seconds(root: int) -> float:
    """Return CPU seconds of a process and all its descendants, those that have ended included.

    A backend that ends is reaped by the postmaster, whose own account then carries it.
    """
    total = 0.0
    try:
        process = psutil.Process(root)
        members = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return total
    for member in members:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def tree_resident_mib(root: int) -> float:
    """Return the resident memory of a process and its descendants, in MiB."""
    process = psutil.Process(root)
    members = [process, *process.children(recursive=True)]
    return float(sum(member.memory_info().rss for member in members)) / MEBIBYTE


def parent_of_backend(backend: int, *, expected: Callable[[str], bool]) -> int | None:
    """Return the parent of a process on this machine, None when it is not the program expected."""
    try:
        process = psutil.Process(backend)
        parent = process.parent()
        if parent is None or not expected(process.name()):
            return None
    except psutil.Error:
        return None
    return int(parent.pid)


def _less(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before
