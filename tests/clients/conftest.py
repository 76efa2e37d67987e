"""Own the fixtures of clients: a stack that the tests of a worker share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.stack import Stack, stack
from tests.support.postgres import Databases


@pytest.fixture(scope="session")
def client_stack(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers for a client, and the address of what breaks them."""
    with stack(databases, tmp_path_factory.mktemp("stack")) as found:
        yield found


@pytest.fixture
def own_stack(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of the test's own: the scenario creates its one tenant."""
    with stack(databases, tmp_path_factory.mktemp("stack")) as found:
        yield found
