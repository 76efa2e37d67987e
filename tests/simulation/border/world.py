"""Own the world around the ledger: processes that stop and start, people, and a provider's events."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Final

from defter.ledger.v1 import tenant_pb2
from defter.payments.v1 import deposit_pb2, outbound_pb2, payment_pb2, provider_event_pb2, withdrawal_pb2
from google.protobuf.message import Message

from ledger_server.providers.adapter import Adapter
from tests.simulation.border.dialect import Dialect
from tests.simulation.border.dialects import DIALECTS
from tests.simulation.border.http import HttpWire
from tests.simulation.border.loop import START, SimulatedLoop
from tests.simulation.border.plan import HOUR, Plan, Stop
from tests.simulation.border.process import CURRENCIES, Process, RefusedByRule, Unanswered
from tests.simulation.border.provider import Provider, Thing

PLAYER: Final = "ann"
FUNDS: Final = 10_000
PAYOUT: Final = 2_500
REFUND: Final = 1_500
DEPOSIT: Final = 2_000
_PROCESSES: Final = 2
_RESTART_SECONDS: Final = 20.0
_AGAIN_SECONDS: Final = 30.0
_TURNS_AT_ONCE: Final = 20
_CLOCK_SET_SECONDS: Final = 20.0
_DELIVERY_AGAIN_SECONDS: Final = 300.0
_GIVE_UP: Final = 20_000
_MOST_LEAPS: Final = 100
_LEAP_SECONDS: Final = 8 * HOUR
_LOOK_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 5.0


def adapters(clock: Callable[[], datetime]) -> Mapping[str, Adapter]:
    """Return the ledger's adapters of all vendors, made for one process."""
    return {name: dialect.make_adapter(CURRENCIES, clock) for name, dialect in DIALECTS.items()}


class Stuck(AssertionError):
    """Something that must come to an end does not."""


class World:
    """One tenant, one player, one provider account, two processes on one database.

    Attributes:
        by_hand: withdrawals that an operator has marked as paid.
        lost: objects of the provider that were made for a history which a restore has undone.
    """

    def __init__(self, loop: SimulatedLoop, plan: Plan, tenant_id: str, database_url: str) -> None:
        self.plan = plan
        self.tenant_id = tenant_id
        self.database_url = database_url
        self.by_hand: set[str] = set()
        self.lost: list[Thing] = []
        self.funding: Thing | None = None
        self.processes: list[Process] = []
        self._loop = loop
        self._random = Random(plan.seed)
        self._keys = itertools.count(1)
        self._event_numbers = itertools.count(1)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._repairs: set[asyncio.Task[None]] = set()
        self._paying: set[str] = set()
        self._staging: Process | None = None
        # Who takes webhooks while people talk to the copy: the provider knows no address of the copy.
        self._behind_edge: list[Process] | None = None
        self._awake = asyncio.Event()
        self._awake.set()
        self.provider = Provider("sim", self._random, loop.time, self._later)
        self.provider.treatments = list(plan.treatments)
        self.provider.fates = list(plan.fates)
        self.provider.lies = plan.lies
        self.provider.second = plan.second
        self.provider.tell = self._tell
        self.dialect: Dialect = DIALECTS[plan.dialect](self.provider, self._later, _stamp)
        loop.connect[self.dialect.address] = lambda: HttpWire(self.dialect.answer)

    # Processes.

    async def start(self, database_url: str, running: Sequence[Process] = ()) -> None:
        """Start two processes on a database, or go on with those that run there."""
        self.database_url = database_url
        self.processes = list(running)
        while len(self.processes) < _PROCESSES:
            fresh = Process(self._loop, f"p{len(self.processes)}", database_url, adapters)
            self.processes.append(fresh)
            await fresh.start()

    async def kill_all(self) -> None:
        """Let every process die."""
        for process in self.processes:
            await process.kill()

    async def kill_copy(self) -> None:
        """Let the process on the copy die."""
        if self._staging is not None:
            await self._staging.kill()

    def arm(self) -> None:
        """Set the clocks off, and arm the plan's blows, counted from now."""
        for process, off in zip(self.processes, self.plan.off, strict=True):
            process.wall.off_seconds = off
            process.body.steps = 0
        for stop in self.plan.stops:
            process = self.processes[stop.process]
            process.body.at_step[stop.step] = partial(self._strike, stop, process)

    def _strike(self, stop: Stop, process: Process) -> None:
        """Stop or kill a process; called in the middle of its work, so the consequences run outside of it."""
        process.body.stop()
        process.wall.off_seconds += stop.wall
        if stop.blow == "freeze":
            process.body.cut_off()

        async def follow() -> None:
            if stop.blow == "kill":
                await process.kill()
                await asyncio.sleep(_RESTART_SECONDS)
                with suppress(OSError):
                    await self._restart(process)
            else:
                await asyncio.sleep(stop.seconds)
                if stop.blow == "freeze":
                    process.body.frozen_seconds += stop.seconds
                    process.wall.off_seconds -= stop.seconds
                process.body.go_on()
                if stop.blow == "freeze":
                    # An operator sets its clock as soon as one looks.
                    await asyncio.sleep(_CLOCK_SET_SECONDS)
                    process.wall.off_seconds += stop.seconds

        self._loop.outside.run(self._background, follow(), self._repairs)

    async def _restart(self, process: Process) -> None:
        if process not in self.processes:
            return
        fresh = Process(self._loop, process.body.name, process.database_url, adapters)
        self.processes[self.processes.index(process)] = fresh
        await fresh.start()

    async def anyone(self, request: Message) -> Any:
        """Ask whichever process answers, again and again with the same key."""
        for turn in range(_GIVE_UP):
            process = self.processes[turn % len(self.processes)]
            try:
                return await process.ask(request)
            except Unanswered:
                if turn >= _TURNS_AT_ONCE:
                    # Health says NOT_SERVING, so an operator sets its clock.
                    process.wall.off_seconds = 0.0
                # A caller that was often told to come back comes back later.
                await (asyncio.sleep(_AGAIN_SECONDS) if turn < _TURNS_AT_ONCE else self.pass_time(HOUR))
        raise Stuck(f"{request.DESCRIPTOR.name} is never answered")

    # Time.

    async def pass_time(self, seconds: float) -> None:
        """Let a long time pass: everybody sleeps for most of it, and works in between."""
        until = self._loop.time() + seconds
        while (left := until - self._loop.time()) > 0:
            self._awake.clear()
            everyone = [*self.processes, *([self._staging] if self._staging else [])]
            asleep = [process for process in everyone if process.is_well]
            for process in asleep:
                process.body.stop()
            # A process that comes back finds the others awake.
            await self._until_somebody_comes_back(min(left, _LEAP_SECONDS))
            for process in asleep:
                process.body.go_on()
            self._awake.set()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _until_somebody_comes_back(self, seconds: float) -> None:
        if self._repairs:
            await asyncio.wait(self._repairs, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)

    async def come_to_rest(self) -> None:
        """Heal everything that is broken, and let everything come to its end."""
        for _ in range(_MOST_LEAPS):
            if self._repairs:
                await self.pass_time(_LEAP_SECONDS)
        if self._repairs:
            raise Stuck("a process that was stopped or killed never comes back")
        for process in self.processes:
            process.wall.off_seconds = 0.0
            process.body.at_step.clear()
        self.provider.heal()
        for _ in range(4):
            await self.pass_time(2 * _LEAP_SECONDS)
            self._let_players_pay()
        for _ in range(_MOST_LEAPS):
            if not self._deliveries:
                return
            await self.pass_time(_LEAP_SECONDS)
        raise Stuck("an event is never taken in")

    # People.

    async def open(self) -> None:
        """Create the tenant, and give the player money by a deposit that was paid."""
        await self.anyone(
            tenant_pb2.CreateTenantRequest(tenant_id=self.tenant_id, idempotency_key="create"),
        )
        await self.anyone(
            withdrawal_pb2.SetWithdrawalPolicyRequest(
                tenant_id=self.tenant_id,
                idempotency_key=self._key(),
                policy=payment_pb2.WithdrawalPolicy(player_may_cancel=True),
            ),
        )
        self.funding = self.provider.make("payment", our_id="", amount=FUNDS, currency="EUR")
        await self.begin_deposit(FUNDS, self.funding.id)
        self.provider.capture(self.funding, FUNDS)
        # Polled in simulated time, as a cashier's page does.
        while await self.funded() < FUNDS:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)

    async def begin_deposit(self, amount: int, provider_ref: str = "") -> payment_pb2.Deposit:
        """Begin a deposit; without a ref the provider is asked for a payment."""
        request = deposit_pb2.InitiateDepositRequest(
            tenant_id=self.tenant_id,
            idempotency_key=self._key(),
            player_id=PLAYER,
            provider=self.plan.dialect,
            amount_minor=amount,
            currency_code="EUR",
            provider_ref=provider_ref,
        )
        found: payment_pb2.Deposit = (await self.anyone(request)).deposit
        return found

    async def refund(self, deposit_id: str, amount: int) -> None:
        """Ask for a refund."""
        request = deposit_pb2.RefundDepositRequest(
            tenant_id=self.tenant_id,
            idempotency_key=self._key(),
            deposit_id=deposit_id,
            amount_minor=amount,
        )
        await self.anyone(request)

    async def withdraw(self, amount: int, destination: str) -> str:
        """Ask for a withdrawal; return its id."""
        request = withdrawal_pb2.RequestWithdrawalRequest(
            tenant_id=self.tenant_id,
            idempotency_key=self._key(),
            player_id=PLAYER,
            provider=self.plan.dialect,
            amount_minor=amount,
            currency_code="EUR",
            destination=destination,
        )
        found: str = (await self.anyone(request)).withdrawal.withdrawal_id
        return found

    async def approve(self, withdrawal_id: str) -> None:
        """Let a withdrawal pass."""
        request = withdrawal_pb2.ApproveWithdrawalRequest(
            tenant_id=self.tenant_id,
            idempotency_key=self._key(),
            withdrawal_id=withdrawal_id,
            reviewer="eve",
        )
        await self.anyone(request)

    async def reject(self, withdrawal_id: str) -> None:
        """Refuse a withdrawal."""
        request = withdrawal_pb2.RejectWithdrawalRequest(
            tenant_id=self.tenant_id,
            idempotency_key=self._key(),
            withdrawal_id=withdrawal_id,
            reviewer="eve",
        )
        await self.anyone(request)

    async def cancel(self, withdrawal_id: str) -> None:
        """Take a withdrawal back."""
        request = withdrawal_pb2.CancelWithdrawalRequest(
            tenant_id=self.tenant_id, idempotency_key=self._key(), withdrawal_id=withdrawal_id
        )
        with suppress(RefusedByRule):  # the withdrawal may be on its way already
            await self.anyone(request)

    async def mark_paid(self, withdrawal_id: str) -> None:
        """Say that a withdrawal was paid by hand, if the ledger lets an operator say so."""
        request = withdrawal_pb2.MarkWithdrawalPaidRequest(
            tenant_id=self.tenant_id,
            idempotency_key=self._key(),
            withdrawal_id=withdrawal_id,
            provider_ref="bank-transfer-77",
            reviewer="eve",
        )
        with suppress(RefusedByRule):
            await self.anyone(request)
            self.by_hand.add(withdrawal_id)

    # The provider's side.

    def _let_players_pay(self) -> None:
        """Pay every payment that the ledger has asked for, as often as the plan says."""
        for thing in self.provider.things:
            if thing.kind != "payment" or thing.id in self._paying or not thing.our_id:
                continue
            self._paying.add(thing.id)
            for attempt in range(self.plan.attempts):
                self._later(5.0 * (1 + attempt), partial(self.provider.fail_attempt, thing))
            last = len(self.plan.captures) - 1
            for position, amount in enumerate(self.plan.captures):
                self._later(
                    30.0 * (1 + position),
                    partial(self.provider.capture, thing, amount, final=position == last),
                )

    def players_pay(self) -> None:
        """Let players soon pay everything that has been asked for by then."""
        for after in (20.0, 100.0, 400.0):
            self._later(after, self._let_players_pay)

    def _tell(self, thing: Thing, type_: str, amount: int, ref: str) -> None:
        number = next(self._event_numbers)
        events = self.dialect.webhook(number, thing, type_, amount, ref, self._loop.now)
        # The very first event gives the player money, without which nothing can be tested.
        delays = (0.0,) if number == 1 else self.plan.delays[number % len(self.plan.delays)]
        for delay in delays:
            self._background(self._deliver(events, delay), self._deliveries)

    async def _deliver(self, events: list[payment_pb2.ProviderEvent], delay: float) -> None:
        """Deliver an event, and again until a process has taken it, as providers do for days."""
        await asyncio.sleep(delay)
        request = provider_event_pb2.IngestProviderEventsRequest(tenant_id=self.tenant_id, events=events)
        for _ in range(_GIVE_UP):
            await self._awake.wait()
            process = self._random.choice(self._behind_edge or self.processes)
            try:
                await process.ask(request)
            except Unanswered:
                await asyncio.sleep(_DELIVERY_AGAIN_SECONDS if process.is_well else _AGAIN_SECONDS)
            else:
                return
        raise Stuck("an event is never taken in")

    async def live(self, seconds: float) -> None:
        """Let time pass at its ordinary pace."""
        await asyncio.sleep(seconds)

    async def funded(self) -> int:
        """Return what has come in for the player's first deposit."""
        listed = await self.anyone(
            deposit_pb2.ListDepositsRequest(tenant_id=self.tenant_id, page_size=1),
        )
        found: int = listed.deposits[0].captured_minor
        return found

    async def funding_deposit(self) -> str:
        """Return the id of the deposit that the player's money came by."""
        listed = await self.anyone(
            deposit_pb2.ListDepositsRequest(tenant_id=self.tenant_id, page_size=1),
        )
        found: str = listed.deposits[0].deposit_id
        return found

    async def mark_all_paid(self) -> None:
        """Say of every withdrawal that it was paid by hand."""
        listed = await self.anyone(
            withdrawal_pb2.ListWithdrawalsRequest(tenant_id=self.tenant_id, page_size=100)
        )
        for withdrawal in listed.withdrawals:
            await self.mark_paid(withdrawal.withdrawal_id)

    async def lose_everything(self) -> None:
        """Lose the database and every process; the provider keeps its objects."""
        for task in [*self._repairs]:
            task.cancel()
        await asyncio.gather(*self._repairs, return_exceptions=True)
        await self.kill_all()
        self.lost = [thing for thing in self.provider.things if thing is not self.funding]

    async def resume_calls(self) -> bool:
        """Let calls be made again at once, as a hasty operator does; return whether they were stopped."""
        before = (await self.anyone(outbound_pb2.GetOutboundRequest())).outbound
        request = outbound_pb2.ResumeOutboundRequest(
            epoch=before.epoch, note="looked around", actor="a hasty operator", allow_unreconciled=True
        )
        await self.anyone(request)
        return bool(before.stopped)

    async def wake_a_copy(self, database_url: str) -> None:
        """Let a process run on a copy of the database, with the same account at the provider."""
        self._staging = Process(self._loop, "staging", database_url, adapters)
        await self._staging.start()

    @contextlib.asynccontextmanager
    async def at_the_copy(self) -> AsyncIterator[None]:
        """Let people talk to the copy for a while."""
        assert self._staging is not None
        self._behind_edge, self.processes = self.processes, [self._staging]
        try:
            yield
        finally:
            self.processes, self._behind_edge = self._behind_edge, None

    def give_up(self) -> None:
        """Stop everything in this world; its provider answers nobody any more."""
        for process in [*self.processes, *([self._staging] if self._staging else [])]:
            process.body.hang_up()
            process.body.at_step.clear()
        for task in [*self._repairs, *self._deliveries]:
            task.cancel()

    # Helpers.

    def _key(self) -> str:
        return f"key-{next(self._keys)}"

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        self._loop.call_later(seconds, action, context=self._loop.outside)

    def _background(self, work: Any, kept: set[asyncio.Task[None]]) -> None:
        task = self._loop.create_task(work, context=self._loop.outside.copy())
        kept.add(task)
        task.add_done_callback(kept.discard, context=self._loop.outside)


def _stamp(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)
