"""A server that drains lets go of runs: its own are given up, and nobody follows others' through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest
from defter.reconciliation.v1 import reconciliation_pb2 as pb
from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceStub

from ledger_server.providers.adapter import ProviderRecordPage
from tests.support.clock import START, FakeClock
from tests.support.fake_provider import PROVIDER, FakeAdapter
from tests.support.requests import timestamp
from tests.support.service import Service, serving
from tests.support.tenant_lock import WAIT_SECONDS
from tests.support.wire import read_refusal


class _Gated(FakeAdapter):
    """Lists nothing, and not before its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def list_provider_records(self, *_: object) -> ProviderRecordPage:
        """Wait for the gate."""
        await self.gate.wait()
        return ProviderRecordPage(records=[], next_cursor="")


@pytest.fixture
def adapter() -> _Gated:
    """The provider of both servers."""
    return _Gated()


@pytest.fixture
async def both(
    database_url: str, clock: FakeClock, adapter: _Gated
) -> AsyncIterator[tuple[Service, Service]]:
    """Two servers on one database that take their time to drain."""
    providers = {PROVIDER: adapter}
    async with (
        serving(database_url, clock=clock, providers=providers, drain_seconds=3600) as one,
        serving(database_url, clock=clock, providers=providers, drain_seconds=3600) as other,
    ):
        await one.new_ledger()
        yield one, other
        adapter.gate.set()


def request(key: str = "key") -> pb.RunReconciliationRequest:
    """Return a request for the hour before START."""
    return pb.RunReconciliationRequest(
        tenant_id="casino",
        provider=PROVIDER,
        from_time=timestamp(START - timedelta(hours=1)),
        to_time=timestamp(START),
        idempotency_key=key,
    )


async def test_drain_while_other_process_runs_tells_follower_to_come_again(
    both: tuple[Service, Service], adapter: _Gated
) -> None:
    """The one that drains ends the stream by name; the run goes on where it is worked on."""
    working, draining = both
    worked = aiter(ReconciliationServiceStub(working.channel).RunReconciliation(request()))
    await anext(worked)
    followed = aiter(ReconciliationServiceStub(draining.channel).RunReconciliation(request()))
    await anext(followed)

    async with asyncio.timeout(WAIT_SECONDS):
        await draining.server.drain()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(followed)
    adapter.gate.set()
    states = [response.run.state async for response in worked]

    assert read_refusal(caught.value).reason == "SHUTTING_DOWN"
    assert states[-1] == pb.RUN_STATE_COMPLETE


async def test_drain_own_run_interrupts_it_and_takes_no_other_on(both: tuple[Service, Service]) -> None:
    """What is asked for once the runs were given up would be lost with the process."""
    other, draining = both
    stub = ReconciliationServiceStub(draining.channel)
    followed = aiter(stub.RunReconciliation(request()))
    await anext(followed)

    reconciler = draining.server._jobs[-1]
    await reconciler.stop()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RunReconciliation(request("another")).read()
    states = [response.run.state async for response in followed]
    listed = await ReconciliationServiceStub(other.channel).ListRuns(pb.ListRunsRequest(tenant_id="casino"))

    assert read_refusal(caught.value).reason == "SHUTTING_DOWN"
    assert states[-1] == pb.RUN_STATE_INTERRUPTED
    assert [run.idempotency_key for run in listed.runs] == ["key"]
