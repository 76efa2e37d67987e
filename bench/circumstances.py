"""Own what a reader must know to compare one run with another: machine, versions, settings."""

import os
import platform
from importlib.metadata import version

import psutil

from bench.rounds import Plan, Windows
from bench.stack import MEASURED_WITH, connected, server_environment

# Settings that decide what a commit costs.
POSTGRES_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_compression",
    "shared_buffers",
    "max_wal_size",
)
PACKAGES = ("defter", "grpcio", "protobuf", "asyncpg", "uvloop")


async def circumstances(server_url: str, plan: Plan, windows: Windows) -> dict[str, str]:
    """Describe the run."""
    async with connected(server_url) as connection:
        postgres = await connection.fetchval("SHOW server_version")
        settings = [
            f"{name}={await connection.fetchval('SELECT current_setting($1)', name)}"
            for name in POSTGRES_SETTINGS
        ]
    memory_gib = psutil.virtual_memory().total / (1 << 30)
    return {
        "machine": f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.machine()}; client, server and database share it",
        "CPU time stolen by other machines": _stolen(windows),
        "versions": ", ".join(
            [
                f"Python {platform.python_version()}",
                *(f"{package} {version(package)}" for package in PACKAGES),
            ]
        ),
        "PostgreSQL": f"{postgres}; {', '.join(settings)}",
        "ledger": ", ".join(f"{name}={server_environment({})[name]}" for name in MEASURED_WITH),
        "windows": f"{plan.seconds:g} s a line in {plan.rounds} round(s)",
    }


def _stolen(windows: Windows) -> str:
    every = [window for line in windows.values() for window in line]
    stolen = [window.cost.stolen for window in every if window.cost.stolen is not None]
    owed = sum(window.seconds for window in every) * (os.cpu_count() or 1)
    return f"{sum(stolen) / owed:.1%} of the measured time" if stolen and owed else "unknown"
