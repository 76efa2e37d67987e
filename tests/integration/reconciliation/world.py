"""Own a small world: MockPSP tells a real edge, the edge a real ledger, and a run compares the two."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from defter.payments.v1 import payment_pb2
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2
from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceStub

from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from mock_psp.listing import Movement
from mock_psp.objects import Payment, Payout
from mock_psp.server import MockPsp, serve
from tests.edge.harness import SECRET, TENANT, Edge, running_edge
from tests.integration.reconciliation.pages import Pages
from tests.support.cashier import Cashier
from tests.support.clock import FakeClock
from tests.support.patience import HANG_SECONDS
from tests.support.providers import CURRENCIES
from tests.support.requests import timestamp
from tests.support.service import Service
from webhook_edge.gateway import LedgerGateway

if TYPE_CHECKING:
    from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceAsyncStub

PROVIDER = "mock"
# A listing that breaks is read again soon, and nothing mends itself by asking what became of a payout.
SETTINGS: Mapping[str, Any] = {
    "listing_pause_seconds": 0.01,
    "provider_poll_seconds": 1e8,
    "dispatch_sweep_seconds": 0.1,
}
FoundT = TypeVar("FoundT")
FindingClass = finding_pb2.FindingClass
State = payment_pb2
UNANSWERED = {State.CALL_STATE_PENDING, State.CALL_STATE_UNDER_WAY}


@dataclass
class World:
    """One tenant, one player, one provider."""

    service: Service
    clock: FakeClock
    psp: MockPsp
    listing: Pages
    cashier: Cashier
    begun: datetime

    @property
    def stub(self) -> ReconciliationServiceAsyncStub:
        """The service over the newest channel."""
        return ReconciliationServiceStub(self.service.channel)

    @property
    def ids(self) -> TenantIds:
        """The ids of the tenant."""
        return TenantIds(tenant_key(TenantId(TENANT)))

    def request(self, **fields: object) -> reconciliation_pb2.RunReconciliationRequest:
        """Return the request for a run over all that has happened, under a new key."""
        request = reconciliation_pb2.RunReconciliationRequest(
            tenant_id=TENANT,
            provider=PROVIDER,
            from_time=timestamp(self.begun - timedelta(hours=1)),
            to_time=timestamp(self.clock()),
            idempotency_key=uuid.uuid4().hex,
        )
        for name, value in fields.items():
            if isinstance(value, str):
                setattr(request, name, value)
            else:
                getattr(request, name).CopyFrom(value)
        return request

    async def run(self, **fields: object) -> reconciliation_pb2.Run:
        """Run to the end and return how it ended."""
        run = reconciliation_pb2.Run()
        async for response in self.stub.RunReconciliation(self.request(**fields)):
            run = response.run
        return run

    async def later(self, *, minutes: int = 1, hours: int = 0) -> None:
        """Let time pass, and everything happen that is under way."""
        await self.psp.settled()
        self.clock.advance(seconds=60 * minutes + 3_600 * hours)
        await self.psp.settled()

    async def deposit(self, amount: int = 1_000) -> payment_pb2.Deposit:
        """Have a deposit made at the provider and captured, as its webhooks tell."""
        return await self.until_deposit(await self.begin(amount), State.DEPOSIT_STATE_CAPTURED)

    async def begin(self, amount: int = 1_000) -> payment_pb2.Deposit:
        """Begin a deposit that the dispatcher makes at the provider."""
        return await self.cashier.initiate(amount, provider=PROVIDER, provider_ref="")

    async def until_deposit(
        self, deposit: payment_pb2.Deposit, state: payment_pb2.DepositState.ValueType
    ) -> payment_pb2.Deposit:
        """Wait until a deposit stands somewhere and calls are answered, which webhooks may overtake."""

        async def there() -> payment_pb2.Deposit | None:
            found = await self.cashier.deposit(deposit.deposit_id)
            calls = {found.call_state, *(refund.call_state for refund in found.refunds)}
            return found if found.state == state and not calls & UNANSWERED else None

        return await until(there)

    async def withdrawal(self, amount: int = 400) -> payment_pb2.Withdrawal:
        """Have a withdrawal paid."""
        asked = await self.cashier.request(amount, provider=PROVIDER)
        await self.cashier.approve(asked.withdrawal_id)

        async def paid() -> payment_pb2.Withdrawal | None:
            found = await self.cashier.withdrawal(asked.withdrawal_id)
            done = found.state == State.WITHDRAWAL_STATE_PAID and found.call_state not in UNANSWERED
            return found if done else None

        return await until(paid)

    async def paid_out(self, reference: str) -> Payout:
        """Wait until the provider has begun the payout of a reference, and return it."""

        async def begun() -> Payout | None:
            made = [each for each in self.psp.state.payouts.all.values() if each.reference == reference]
            return made[0] if made else None

        return await until(begun)

    async def refunded(self, deposit: payment_pb2.Deposit, amount: int) -> payment_pb2.Deposit:
        """Have a part of a deposit refunded."""
        await self.cashier.refund(deposit.deposit_id, amount)
        return await self.until_deposit(deposit, State.DEPOSIT_STATE_PARTIALLY_REFUNDED)

    async def with_fee(self, deposit: payment_pb2.Deposit, amount: int) -> payment_pb2.Deposit:
        """Have a fee kept for a deposit."""
        self.psp.state.payments.fee(deposit.payment_ref, amount_minor=amount)
        await self.psp.settled()
        return await self.cashier.deposit(deposit.deposit_id)

    async def charged(self, reference: str) -> Payment:
        """Wait until the provider has begun the payment of a reference, and return it."""

        async def begun() -> Payment | None:
            made = [each for each in self.psp.state.payments.all.values() if each.reference == reference]
            return made[0] if made else None

        return await until(begun)

    def movement(self, object_id: str) -> Movement:
        """Return the provider's newest movement of an object."""
        return [each for each in self.psp.state.books.movements if each.object_id == object_id][-1]

    def captured(self, deposit: payment_pb2.Deposit) -> Movement:
        """Return the provider's movement of a deposit's capture."""
        return self.movement(self.psp.state.payments.all[deposit.payment_ref].captures[0].id)

    @asynccontextmanager
    async def unheard(self) -> AsyncIterator[None]:
        """Lose the webhooks of what happens meanwhile."""
        self.psp.knobs.lose_webhooks = 1_000
        yield
        await self.psp.settled()
        self.psp.knobs.lose_webhooks = 0

    async def findings(self, *, unresolved: bool = False) -> list[finding_pb2.Finding]:
        """Return all findings, by class."""
        connection = await asyncpg.connect(self.service.database_url)
        try:
            rows = await connection.fetch(
                "SELECT body, state FROM reconciliation_findings ORDER BY class, fingerprint"
            )
        finally:
            await connection.close()
        return [
            finding_pb2.Finding.FromString(row["body"])
            for row in rows
            if not unresolved or row["state"] in {1, 2, 5}
        ]

    async def classes(self, *, unresolved: bool = True) -> list[str]:
        """Return the classes of findings."""
        found = await self.findings(unresolved=unresolved)
        return [FindingClass.Name(each.finding_class).removeprefix("FINDING_CLASS_") for each in found]

    async def row_counts(self) -> dict[str, int]:
        """Return how many rows every table has that a run may write to, its own row left out."""
        connection = await asyncpg.connect(self.service.database_url)
        try:
            return {
                table: await connection.fetchval(f"SELECT count(*) FROM {table}")
                for table in (
                    "journal",
                    "reconciliation_findings",
                    "finding_versions",
                    "finding_sightings",
                    "provider_records",
                )
            }
        finally:
            await connection.close()

    async def assert_verified(self) -> None:
        """Check that VerifyJournal finds nothing."""
        result = await self.cashier.ledger.verify()
        assert not result.HasField("first_difference"), result


async def until(look: Callable[[], Awaitable[FoundT | None]]) -> FoundT:
    """Wait until a look finds something."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            found = await look()
            if found is not None:
                return found
            await asyncio.sleep(0.01)


@asynccontextmanager
async def asking(psp: MockPsp, patience_seconds: float) -> AsyncIterator[Pages]:
    """Call a provider as the ledger does."""
    adapter = Pages(
        base_address=psp.url, api_key="secret", currencies=CURRENCIES, timeout_seconds=patience_seconds
    )
    try:
        yield adapter
    finally:
        await adapter.close()


@asynccontextmanager
async def world_on(
    database_url: str,
    clock: FakeClock,
    *,
    patience_seconds: float = 2.0,
    quiet: bool = True,
    **settings: Any,
) -> AsyncIterator[World]:
    """Open a world.

    Args:
        patience_seconds: how long the ledger waits for an answer of the provider's.
        quiet: whether there is no other provider account than the one where things happen; otherwise
            there are `other`, where nothing happens, and `foreign`, which is another tenant's.
        settings: the server's.
    """
    async with AsyncExitStack() as stack:
        edges: list[Edge] = []

        async def deliver(body: bytes, headers: Mapping[str, str]) -> int:
            return (await edges[0].deliver(body, headers)).status_code

        psp = await stack.enter_async_context(
            serve(token="secret", deliver=deliver, webhook_secrets=[SECRET], clock=clock, seed=11)
        )
        psp.knobs.settle_seconds = 0.0
        adapter = await stack.enter_async_context(asking(psp, patience_seconds))
        providers = {PROVIDER: adapter}
        if not quiet:
            idle = await stack.enter_async_context(serve(token="secret", clock=clock))
            for name in ("other", "foreign"):
                providers[name] = await stack.enter_async_context(asking(idle, patience_seconds))
        service = Service(
            database_url,
            clock=clock,
            providers=providers,
            provider_tenants={"foreign": frozenset({"another"})},
            **{**SETTINGS, **settings},
        )
        await service.start()
        stack.push_async_callback(service.stop)
        gateway = LedgerGateway(f"127.0.0.1:{service.server.port}", seconds=2)
        stack.push_async_callback(gateway.close)
        edges.append(await stack.enter_async_context(running_edge(ledger=gateway, clock=clock)))
        cashier = Cashier(await service.new_ledger(TENANT))
        yield World(service=service, clock=clock, psp=psp, listing=adapter, cashier=cashier, begun=clock())
