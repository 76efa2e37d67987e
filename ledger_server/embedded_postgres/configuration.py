"""Own the configuration of the embedded PostgreSQL: what differs from its defaults, and why."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MEBIBYTE = 1 << 20
SHARED_BUFFERS_MIB_MIN = 128
SHARED_BUFFERS_MIB_MAX = 2048
# Container runtimes limit memory here (version 2, then version 1 of control groups).
MEMORY_LIMIT_FILES = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """What a caller may choose about the embedded PostgreSQL.

    Attributes:
        port: TCP port on 127.0.0.1; None takes a free one and keeps it over restarts.
        max_connections: connections the server accepts.
        shared_buffers_mib: page cache in MiB; None takes an eighth of the memory, within 128 and
            2048.
        start_timeout_seconds: how long a start may take; recovery after a crash replays up to
            `max_wal_size` of log.
        overrides: further settings by their PostgreSQL names; they win over ours.
    """

    port: int | None = None
    max_connections: int = 200
    shared_buffers_mib: int | None = None
    start_timeout_seconds: int = 300
    overrides: Mapping[str, str] = field(default_factory=dict)


def render_configuration(settings: PostgresSettings, *, port: int) -> str:
    """Return the text of the configuration file for one start of the server."""
    shared_buffers_mib = settings.shared_buffers_mib or default_shared_buffers_mib()
    chosen = {
        # One way in: TCP on the loopback with a password. A socket would need a path of at most
        # 107 bytes that both accounts can reach, to save some 15 µs per round trip.
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": str(settings.max_connections),
        "shared_buffers": f"{shared_buffers_mib}MB",
        # Few, spread-out checkpoints: each makes the next change of every page log the whole page.
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "wal_compression": "on",
        # Our statements are short; compiling them costs more than it gains.
        "jit": "off",
        # A week of logs, one file a weekday, each overwritten a week later.
        "logging_collector": "on",
        "log_directory": "../log",
        "log_filename": "postgres-%a.log",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_truncate_on_rotation": "on",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **settings.overrides,
    }
    lines = (f"{name} = {_quote(value)}" for name, value in chosen.items())
    return "# Written at every start; put your own settings into postgresql.conf.\n" + "".join(
        f"{line}\n" for line in lines
    )


def default_shared_buffers_mib() -> int:
    """Return an eighth of the memory we may use, within sensible bounds, in MiB."""
    usable = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in MEMORY_LIMIT_FILES:
        if path.is_file() and (text := path.read_text(encoding="ascii").strip()).isdigit():
            usable = min(usable, int(text))
    wanted = usable // 8 // MEBIBYTE
    return max(SHARED_BUFFERS_MIB_MIN, min(SHARED_BUFFERS_MIB_MAX, wanted))


def _quote(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
