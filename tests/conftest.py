"""Own the fixtures that most tests share: a database, a clock, a server and a ledger."""

from __future__ import annotations

import gc
import inspect
import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

# Read when gRPC is imported: nothing here forks after that, and gRPC need not warn about it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# A shell starts what runs in its background deaf to Ctrl-C, and so would be what tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The databases of the tests speak no TLS: asking each of them costs every connection a certificate store.
os.environ.setdefault("PGSSLMODE", "disable")

from tests.support.cashier import Cashier
from tests.support.clock import START, FakeClock
from tests.support.fake_provider import fake_providers
from tests.support.ledger import Ledger
from tests.support.postgres import Databases, running_postgres
from tests.support.randomness import SEED, SEED_VARIABLE
from tests.support.service import Service, serving

# How long a machine takes is no property of the code: a slow one fails nothing.
settings.register_profile("defter", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("defter")
# Half a minute each, and more: begun last, such a test would leave all workers but one with nothing to do.
LONGEST = (
    "tests/simulation/border/",
    "tests/simulation/test_state_machine.py",
    "tests/clients/test_go.py::test_the_client_passes_its_tests_without_a_race",
    "tests/clients/test_typescript.py::test_npm_test_against_servers_passes",
    "tests/integration/edge/test_deliveries.py::test_stop_ledger_while_webhooks_come",
    "tests/integration/reconciliation/test_seeded_faults.py",
    "tests/simulation/payments/test_every_order.py",
    "tests/clients/test_python.py::test_server_is_killed_ten_times",
    "tests/integration/test_roll_out.py",
)
# Whoever has one of these needs a server that no other test uses.
OF_ONE_SERVER = frozenset({"server", "database_url"})


def shares_server(test: pytest.Item) -> bool:
    """Return whether a test has to do with a tenant and the time alone, and so with any server."""
    assert isinstance(test, pytest.Function)
    parameters = test.callspec.params if hasattr(test, "callspec") else {}  # which may have the name too
    names = frozenset(test.fixturenames) - parameters.keys()
    if "ledger" not in names or not OF_ONE_SERVER.isdisjoint(names):
        return False
    known = test._fixtureinfo.name2fixturedefs
    fixtures = [known[name][-1].func for name in names if name in known]
    # What else is made of the ledger must be made in the event loop of its server.
    return all(getattr(each, "_loop_scope", None) == "session" for each in fixtures if is_async(each))


def is_async(function: object) -> bool:
    """Return whether a fixture needs an event loop."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run those tests in the event loop of the server that they share, and begin with the longest of all."""
    for test in items:
        if isinstance(test, pytest.Function) and shares_server(test):
            test.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
    items.sort(key=lambda test: not test.nodeid.startswith(LONGEST))


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over what lives as long as the run: modules, and thousands of tests."""
    gc.collect()
    gc.freeze()


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
def clock(request: pytest.FixtureRequest) -> FakeClock:
    """The time of the server; it stands still until a test moves it."""
    if isinstance(request.node, pytest.Function) and shares_server(request.node):
        found = request.getfixturevalue("shared_clock")
        assert isinstance(found, FakeClock)
        return found
    return FakeClock()


@pytest.fixture
async def server(database_url: str, clock: FakeClock) -> AsyncIterator[Service]:
    """A server in this process on a free port, with the fake clock and two fake providers."""
    async with serving(database_url, clock=clock, providers=fake_providers()) as service:
        yield service


@pytest.fixture(scope="session")
def shared_clock() -> FakeClock:
    """The time of the shared server; every test begins at its start."""
    return FakeClock()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_server(databases: Databases, shared_clock: FakeClock) -> AsyncIterator[Service]:
    """A server as `server` is, for all tests of this worker that do no more to it than call it."""
    with databases.fresh() as url:
        async with serving(url, clock=shared_clock, providers=fake_providers()) as service:
            yield service


@pytest.fixture(scope="session")
def tenant_numbers() -> Iterator[int]:
    """What tells the tenants of the shared server apart."""
    return itertools.count(1)


@pytest_asyncio.fixture(loop_scope="session")
async def shared_ledger(
    shared_server: Service, shared_clock: FakeClock, tenant_numbers: Iterator[int]
) -> Ledger:
    """A new tenant of the shared server, as `ledger` is."""
    shared_clock.now = START
    created = await shared_server.new_ledger(f"casino-{next(tenant_numbers)}")
    await created.open_house()
    return created


@pytest.fixture
async def own_ledger(server: Service) -> Ledger:
    """The one tenant of `server`, as `ledger` is."""
    created = await server.new_ledger()
    await created.open_house()
    return created


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """A new tenant in ENFORCED mode, with an asset account `house` in EUR.

    It has a server of its own where the test does something with the server or its database.
    """
    found = request.getfixturevalue("shared_ledger" if shares_server(request.node) else "own_ledger")
    assert isinstance(found, Ledger)
    return found


@pytest.fixture
def cashier(ledger: Ledger) -> Cashier:
    """The payments of that tenant."""
    return Cashier(ledger)
