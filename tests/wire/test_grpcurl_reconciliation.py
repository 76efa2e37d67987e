"""Own the promise that a scheduler needs grpcurl alone: the documented call runs a reconciliation."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.fake_provider import FakeAdapter
from tests.support.service import Service, serving
from tests.support.tools import grpcurl, require
from tests.unit.operator.test_documentation import documented_request
from tests.wire.test_grpcurl import Shell

METHOD = "ReconciliationService/RunReconciliation"


@pytest.fixture(scope="session")
def grpcurl_program() -> Path:
    """The real grpcurl."""
    return require(grpcurl)


@pytest.fixture
async def reconciling(database_url: str, clock: FakeClock) -> AsyncIterator[Service]:
    """A server with the tenant and the provider account of the document."""
    async with serving(database_url, clock=clock, providers={"stripe-eu": FakeAdapter()}) as service:
        await service.new_ledger("casino")
        yield service


async def test_run_reconciliation_by_grpcurl_streams_until_it_has_ended(
    grpcurl_program: Path, reconciling: Service
) -> None:
    """The documented request works as it is written, and said twice it is the same run."""
    shell = Shell(grpcurl_program, reconciling.server.port)
    words = (
        "-d",
        documented_request(METHOD),
        f"127.0.0.1:{reconciling.server.port}",
        f"defter.reconciliation.v1.{METHOD}",
    )

    runs = [last_run(await shell.run(*words)) for _ in range(2)]

    assert runs[0] == runs[1]
    assert runs[0]["state"] == "RUN_STATE_COMPLETE"


def last_run(output: str) -> dict[str, str]:
    """Return the run in the last of several JSON objects."""
    decoder, start, run = json.JSONDecoder(), 0, {}
    text = output.strip()
    while start < len(text):
        message, end = decoder.raw_decode(text, start)
        run = message["run"]
        start = end + len(text[end:]) - len(text[end:].lstrip())
    return run
