"""Own the databases that tests may kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger_server.embedded_postgres import EmbeddedPostgres
from tests.support.postgres import Databases, running_postgres


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A durable PostgreSQL that a test may kill."""
    with running_postgres(durable=True) as server:
        yield server


@pytest.fixture
def own_database_url(own_postgres: EmbeddedPostgres) -> Iterator[str]:
    """A migrated database on it."""
    databases = Databases(own_postgres)
    databases.make_template()
    with databases.fresh() as url:
        yield url
