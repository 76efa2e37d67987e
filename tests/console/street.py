"""Own a house on its street: MockPSP tells a real edge, and the edge tells the ledger of the house."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from defter.reconciliation.v1 import reconciliation_pb2
from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceStub

from defter_channel import Proof
from mock_psp.objects import Payment
from mock_psp.server import MockPsp, serve
from tests.console.house import House, open_house
from tests.edge.harness import SECRET, TENANT, Edge, running_edge
from tests.integration.reconciliation.world import PROVIDER, SETTINGS, asking, until
from tests.support.clock import FakeClock
from tests.support.patience import HANG_SECONDS
from tests.support.requests import timestamp
from webhook_edge.gateway import LedgerGateway

_AGO = timedelta(days=2)


@dataclass
class Street:
    """A house with a provider.

    Attributes:
        clock: the provider's, which is behind: what happens there is too old to be called in transit.
    """

    house: House
    psp: MockPsp
    clock: FakeClock

    async def begun(self, reference: str) -> Payment:
        """Wait until the provider has begun the payment of a deposit, and return it."""

        async def made() -> Payment | None:
            found = [each for each in self.psp.state.payments.all.values() if each.reference == reference]
            return found[0] if found else None

        return await until(made)

    async def run(self) -> reconciliation_pb2.Run:
        """Reconcile all that has happened at the provider, and return how it ended."""
        request = reconciliation_pb2.RunReconciliationRequest(
            tenant_id=TENANT,
            provider=PROVIDER,
            from_time=timestamp(self.clock() - timedelta(hours=1)),
            to_time=timestamp(self.clock() + timedelta(hours=1)),
            idempotency_key=self.house.ledger.new_key(),
        )
        run = reconciliation_pb2.Run()
        async for response in ReconciliationServiceStub(self.house.ledger.channel).RunReconciliation(request):
            run = response.run
        return run


@asynccontextmanager
async def open_street(database_url: str, folder: Path) -> AsyncIterator[Street]:
    """Open a house, a provider and the edge between them."""
    clock = FakeClock(datetime.now(UTC).replace(microsecond=0) - _AGO)
    edges: list[Edge] = []

    async def deliver(body: bytes, headers: Mapping[str, str]) -> int:
        return (await edges[0].deliver(body, headers)).status_code

    async with AsyncExitStack() as stack:
        psp = await stack.enter_async_context(
            serve(token="secret", deliver=deliver, webhook_secrets=[SECRET], clock=clock, seed=11)
        )
        psp.knobs.settle_seconds = 0.0
        adapter = await stack.enter_async_context(asking(psp, HANG_SECONDS))
        house = await stack.enter_async_context(
            open_house(database_url, folder, providers={PROVIDER: adapter}, ledger_settings=SETTINGS)
        )
        edge = house.guarded.authority.issue(uris=["spiffe://d/edge"])
        house.guarded.write("edge.key", edge.key_pem)
        house.guarded.write("edge.pem", edge.pem)
        proof = Proof(
            authority_file=folder / "authority.pem",
            certificate_file=folder / "edge.pem",
            key_file=folder / "edge.key",
        )
        gateway = LedgerGateway(f"localhost:{house.service.server.port}", seconds=HANG_SECONDS, proof=proof)
        stack.push_async_callback(gateway.close)
        edges.append(await stack.enter_async_context(running_edge(ledger=gateway, clock=clock)))
        yield Street(house=house, psp=psp, clock=clock)
