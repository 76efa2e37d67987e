"""Own the fixtures that most tests share: a database, a clock, a server and a ledger."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

# Read when gRPC is imported: nothing here forks after that, and gRPC need not warn about it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# The databases of the tests speak no TLS: asking each of them costs every connection a certificate store.
os.environ.setdefault("PGSSLMODE", "disable")

from tests.support.cashier import Cashier
from tests.support.clock import FakeClock
from tests.support.fake_provider import fake_providers
from tests.support.ledger import Ledger
from tests.support.postgres import Databases, running_postgres
from tests.support.randomness import SEED, SEED_VARIABLE
from tests.support.service import Service, serving

# How long a machine takes is no property of the code: a slow one fails nothing.
settings.register_profile("defter", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("defter")


def pytest_report_header() -> str:
    """Say how to run the same random choices again."""
    return f"random choices: {SEED_VARIABLE}={SEED}"


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """One PostgreSQL with a migrated template, for the whole run of this worker."""
    with running_postgres() as server, Databases(server) as found:
        found.make_template()
        yield found


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A fresh, migrated database."""
    with databases.fresh() as url:
        yield url


@pytest.fixture
def clock() -> FakeClock:
    """The time of the server; it stands still until a test moves it."""
    return FakeClock()


@pytest.fixture
async def server(database_url: str, clock: FakeClock) -> AsyncIterator[Service]:
    """A server in this process on a free port, with the fake clock and two fake providers."""
    async with serving(database_url, clock=clock, providers=fake_providers()) as service:
        yield service


@pytest.fixture
async def ledger(server: Service) -> Ledger:
    """A new tenant in ENFORCED mode, with an asset account `house` in EUR."""
    created = await server.new_ledger()
    await created.open_house()
    return created


@pytest.fixture
def cashier(ledger: Ledger) -> Cashier:
    """The payments of that tenant."""
    return Cashier(ledger)
