"""Own what the tests of the command line share: a MockPSP, a real server before it, and the command line."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ledger_server.providers.adapter import Adapter, ProviderRecordPage
from ledger_server.providers.mock import MockAdapter
from mock_psp.knobs import Knobs
from mock_psp.server import MockPsp, serve
from tests.support.clock import FakeClock
from tests.support.preloaded import preloaded_defter
from tests.support.providers import CURRENCIES
from tests.support.service import DEFTER, Service, serving

PROVIDER = "mock"
TENANT = "casino"
TOKEN = "mock-token"
# What happens at START lies in this window, and is old enough to be missed once the clock has moved.
WINDOW = ("--from", "2030-01-01T00:00Z", "--to", "2030-01-01T14:00Z")
LATER_SECONDS = 3 * 3600


class GatedAdapter:
    """Lists nothing before its gate is open; the rest is the adapter behind it."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        """Be the adapter behind it."""
        return getattr(self._adapter, name)

    async def list_provider_records(
        self, from_time: datetime, to_time: datetime, cursor: str, limit: int
    ) -> ProviderRecordPage:
        """Wait for the gate, then list."""
        self.asked.set()
        await self.gate.wait()
        return await self._adapter.list_provider_records(from_time, to_time, cursor, limit)


class CommandLine:
    """Runs `defter` against one server.

    Attributes:
        program: the words that run a command.
    """

    program: ClassVar[Sequence[str | Path]] = (DEFTER,)

    def __init__(self, port: int) -> None:
        self.server = f"127.0.0.1:{port}"
        self.environment = {**os.environ, "DEFTER_SERVER": self.server, "DEFTER_TENANT": TENANT}

    async def begin(self, *words: str, **environment: str) -> asyncio.subprocess.Process:
        """Start a command and return its process."""
        # What is said to Python itself is heard by a new one alone.
        anew = any(name.startswith("PYTHON") for name in environment)
        return await asyncio.create_subprocess_exec(
            *((DEFTER,) if anew else self.program),
            *words,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def run(self, *words: str, **environment: str) -> Ran:
        """Run a command to its end."""
        return await ended(await self.begin(*words, **environment))

    async def reconcile(self, *words: str) -> Ran:
        """Reconcile the test's window."""
        return await self.run("reconcile", "--provider", PROVIDER, *WINDOW, *words)


class Ran:
    """What a command has said, and its exit code."""

    def __init__(self, code: int, output: str, errors: str) -> None:
        self.code = code
        self.output = output
        self.errors = errors

    def __repr__(self) -> str:
        """Show all of it where a test fails."""
        return f"exit {self.code}\n--- output\n{self.output}\n--- errors\n{self.errors}"

    @property
    def json(self) -> Any:
        """The one object that it has printed."""
        return json.loads(self.output)

    @property
    def lines(self) -> list[Any]:
        """The objects that it has printed, one a line."""
        return [json.loads(line) for line in self.output.splitlines()]


async def ended(process: asyncio.subprocess.Process) -> Ran:
    """Wait for a command's end."""
    output, errors = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, output.decode(), errors.decode())


@pytest.fixture
async def psp(clock: FakeClock) -> AsyncIterator[MockPsp]:
    """A MockPSP where nothing happens by itself."""
    async with serve(token=TOKEN, knobs=Knobs(auto_complete=False), clock=clock, seed=1) as running:
        yield running


@pytest.fixture
async def adapter(psp: MockPsp) -> AsyncIterator[GatedAdapter]:
    """What calls the MockPSP, with a gate before its listings."""
    real = MockAdapter(base_address=psp.url, api_key=TOKEN, currencies=CURRENCIES, timeout_seconds=30.0)
    gated = GatedAdapter(real)
    yield gated
    gated.gate.set()
    await real.close()


@pytest.fixture
async def reconciling(
    database_url: str, clock: FakeClock, psp: MockPsp, adapter: GatedAdapter
) -> AsyncIterator[Service]:
    """A real server before the MockPSP, with a tenant."""
    async with serving(database_url, clock=clock, providers={PROVIDER: adapter}) as service:
        await service.new_ledger(TENANT)
        yield service


@pytest.fixture(scope="session", autouse=True)
def preloaded() -> Iterator[None]:
    """Load the code of the commands once for all that these tests run."""
    with preloaded_defter() as words:
        CommandLine.program = words
        yield
        CommandLine.program = (DEFTER,)


@pytest.fixture
def cli(reconciling: Service) -> CommandLine:
    """The command line of that server."""
    return CommandLine(reconciling.server.port)
