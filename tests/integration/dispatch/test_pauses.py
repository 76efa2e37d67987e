"""A process stands still at each of its awaits, for days, while others go on: nothing is made twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from ledger_server.jobs.calling import Calling, DispatchContext
from ledger_server.jobs.dispatcher import Dispatcher, DispatchLimits
from ledger_server.jobs.proof import Instant, open_gate
from ledger_server.providers.adapter import Adapter, ProviderCallKind
from ledger_server.store import outbox_store
from tests.integration.dispatch.engine_cashier import EngineCashier
from tests.integration.dispatch.pausing import StandingStill
from tests.support.clock import FakeClock
from tests.support.providers import NAMES, PATIENT_SECONDS, ProviderUnderTest, running

LIMITS = DispatchLimits(call_seconds=30.0, lease_seconds=90.0, proof_seconds=5.0)
PAST_THE_LEASE = timedelta(minutes=10)
PAST_THE_MEMORY = timedelta(days=10)
FEWEST_AWAITS = 20


class Standing:
    """One process that stands still, one that takes over, a provider, and a time that passes for all."""

    def __init__(self, cashier: EngineCashier, provider: ProviderUnderTest, clock: FakeClock) -> None:
        self.cashier = cashier
        self.provider = provider
        self.clock = clock
        self.boot = 0.0
        self.others = self.adapter()
        self.other = Dispatcher(cashier.ledger, cashier.pool, clock, {"mock": self.others}, LIMITS)

    def adapter(self) -> Adapter:
        """Make an adapter that has no connection yet."""
        return self.provider.make_adapter(timeout_seconds=PATIENT_SECONDS, right_key=True, address=None)

    def pass_time(self, passed: timedelta) -> None:
        """Let time pass on every clock there is."""
        self.provider.pass_time(passed.total_seconds())
        self.boot += passed.total_seconds()
        if passed >= PAST_THE_MEMORY:
            self.provider.forget_keys()

    def present(self) -> Instant:
        """Return the moment by the clocks of the process that stands still."""
        return Instant(self.boot, self.boot)

    async def try_once(self, adapter: Adapter) -> None:
        """Claim what is due, and take it a step further, as a lane does."""
        shared = DispatchContext(
            self.cashier.ledger,
            self.cashier.pool,
            self.clock,
            LIMITS,
            gate=open_gate,
            instants=self.present,
        )
        pool = self.cashier.pool
        lease = timedelta(seconds=LIMITS.lease_seconds)
        for due in await outbox_store.due(pool, "mock", self.clock(), full=[], tenants=None, limit=1):
            call = await outbox_store.claim(pool, due.key, due.number, self.clock(), lease=lease)
            if call is not None:
                await Calling(shared, due, call, adapter).step()

    async def take_over(self, first: timedelta) -> None:
        """Let another process find and make what is owed, and then the provider forget."""
        self.pass_time(first)
        await self.other.dispatch()
        self.pass_time(PAST_THE_MEMORY)

    async def ask(self, kind: ProviderCallKind, deposit: int) -> str:
        """Let a call be owed; return our id of it."""
        match kind:
            case ProviderCallKind.CREATE_PAYMENT:
                return self.cashier.ids.deposit_id(await self.cashier.asked_deposit(100))
            case ProviderCallKind.CREATE_PAYOUT:
                return self.cashier.ids.withdrawal_id(await self.cashier.approved_withdrawal(100))
            case ProviderCallKind.REFUND:
                return self.cashier.ids.refund_id(await self.cashier.asked_refund(deposit, 100))


@asynccontextmanager
async def standing(cashier: EngineCashier, name: str) -> AsyncIterator[Standing]:
    """Run a provider and two processes."""
    clock = FakeClock()
    async with running(name, clock) as provider:
        world = Standing(cashier, provider, clock)
        yield world
        await world.others.close()


@pytest.mark.parametrize("kind", list(ProviderCallKind))
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("first", [PAST_THE_LEASE, PAST_THE_MEMORY], ids=["lease", "memory"])
async def test_stand_still_at_each_await_executes_at_most_once(
    cashier: EngineCashier, name: str, kind: ProviderCallKind, first: timedelta
) -> None:
    """Wherever it stands, whoever took over and whatever the provider has forgotten: one execution."""
    async with standing(cashier, name) as world:
        deposit = await cashier.captured_deposit(world.provider.payment_ref, 50_000)
        at, held, our_id = 0, True, ""
        while held:
            our_id = await world.ask(kind, deposit)
            adapter = world.adapter()
            paused = StandingStill(world.try_once(adapter), at, lambda: world.take_over(first))
            await paused
            held = paused.held
            await adapter.close()
            await settle(world)
            assert world.provider.executions(our_id) <= 1, f"it stood still at await {at}"
            at += 1
        assert at > FEWEST_AWAITS, "a call has more awaits than that"
        assert world.provider.executions(our_id) == 1, "who did not stand still made it"


async def settle(world: Standing) -> None:
    """Let everything that is owed come to its end, or rest for as long as it may."""
    for _ in range(2):
        world.pass_time(timedelta(days=1))
        await world.other.dispatch()
    await world.cashier.pool.execute("UPDATE outbox SET open = false")
