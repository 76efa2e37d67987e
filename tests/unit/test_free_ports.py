"""Servers of tests: no two are given one port, and none a port that an outgoing connection may take."""

import itertools
import socket

from hypothesis import given
from hypothesis import strategies as st

from tools.free_ports import FIRST_PORT, HOST, free_among, free_port, ports_of


@given(first_ephemeral=st.integers(11_000, 60_000), workers=st.integers(1, 7))
def test_parts_do_not_overlap(first_ephemeral: int, workers: int) -> None:
    """Every worker and everybody else have ports of their own, below those of outgoing connections."""
    names = ["", *(f"gw{number}" for number in range(workers))]
    parts = [ports_of(name, first_ephemeral) for name in names]
    assert all(part and part[0] >= FIRST_PORT and part[-1] < first_ephemeral for part in parts)
    for one, other in itertools.combinations(parts, 2):
        assert not set(one) & set(other)


def test_each_port_once() -> None:
    """A port that was returned is not returned again."""
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == len(ports)


def test_listened_on_is_not_free() -> None:
    """A port with a server is passed over."""
    with socket.create_server((HOST, 0)) as listening:
        taken = listening.getsockname()[1]
        assert list(free_among([taken])) == []
