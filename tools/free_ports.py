"""Own the choice of ports for servers that tests and benchmarks start as processes of their own."""

import os
import re
import secrets
import socket
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

HOST = "127.0.0.1"
# Ports below are likely to be a service of the machine.
FIRST_PORT = 10_000
# The kernel gives ports from here on to outgoing connections, also one that was free a moment ago.
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST_EPHEMERAL_PORT = 32_768
# Each worker of a test run has a part of the ports for itself.
PARTS = 8


def free_port() -> int:
    """Return a port of this machine that nobody listens on, and that stays so until somebody means to.

    No port is returned twice by a process, nor by two workers of one test run: whoever starts a server again
    finds its port as it was.
    """
    return next(_own_ports)


def free_among(ports: Iterable[int]) -> Iterator[int]:
    """Yield those of the ports that nobody listens on."""
    return filter(_is_free, ports)


def ports_of(worker: str, first_ephemeral: int) -> range:
    """Return the ports of one worker of a test run, as `gw2`; any other name is that of everybody else."""
    number = re.fullmatch(r"gw(\d+)", worker)
    part = int(number[1]) % (PARTS - 1) if number else PARTS - 1
    size = (first_ephemeral - FIRST_PORT) // PARTS
    return range(FIRST_PORT + part * size, FIRST_PORT + (part + 1) * size)


def _each_once() -> Iterator[int]:
    ports = ports_of(os.environ.get("PYTEST_XDIST_WORKER", ""), _first_ephemeral_port())
    # Two test runs on one machine begin at different places.
    begin = secrets.randbelow(len(ports))
    for step in count(begin):
        yield ports[step % len(ports)]


def _first_ephemeral_port() -> int:
    try:
        return int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
    except FileNotFoundError:
        return FIRST_EPHEMERAL_PORT


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


_own_ports = free_among(_each_once())
