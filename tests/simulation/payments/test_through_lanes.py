"""What holds for the rules holds through real lanes: two processes, PostgreSQL, caches that forget."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from ledger_server.domain.ledger.accounts import Counters
from ledger_server.domain.payments.calls import CallBegun, CallKind
from ledger_server.domain.payments.commands import (
    ApproveWithdrawal,
    InitiateDeposit,
    RefundDeposit,
    ReportCall,
    RequestWithdrawal,
)
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventType, ProviderEvent
from ledger_server.domain.state.commands import Method
from ledger_server.engine.lane.work import Request
from tests.simulation.payments.scripts import (
    AMOUNT,
    CAPTURED,
    ECHOING,
    FUNDS,
    OUR_REFUND,
    SCRIPTS,
    Script,
    answer,
)
from tests.simulation.payments.sequences import Heard, Order, sequences
from tests.support.clock import FakeClock
from tests.support.engine import (
    IDS,
    Engine,
    asked,
    assert_coherent,
    counters_of,
    delivery,
    engine,
    events_of,
    findings_of,
    payment_of,
    replay,
)
from tests.support.payments import Balances, an_event

SAMPLED = 36


class Life:
    """One payment of one player at a provider account of its own, heard of in one order."""

    def __init__(self, script: Script, number: int, engines: Sequence[Engine]) -> None:
        self.script = script
        self.player = f"player-{number}"
        self.provider = f"mock-{number}"
        self.payment = 0
        self.subject = 0
        self._engines = engines
        self._turn = number

    @property
    def engine(self) -> Engine:
        """The process that is asked next; the two take turns."""
        self._turn += 1
        return self._engines[self._turn % len(self._engines)]

    async def live(self, sequence: Order, *, begun: bool) -> None:
        """Hear everything in that order, then replay parked events."""
        await self._fund()
        if begun:
            await self._begin()
        for heard in sequence:
            await self._hear(heard)
        # A parked refund may be tried before its capture, which was parked as well; it is applied in the next
        # round.
        for _ in range(2):
            for number in (await events_of(self.engine.pool, self.provider)).parked:
                await self.engine.ask(replay(number))

    async def _hear(self, heard: Heard) -> None:
        if heard.step == len(self.script.steps):
            await self._begin()
            return
        happening = self.script.steps[heard.step].happening
        if isinstance(happening, str):
            await self.engine.ask(Request(answer(self.script, self.payment, self.subject)))
            return
        await self.engine.ask(delivery(self._mine(happening, heard.identity)))

    async def _fund(self) -> None:
        await self._initiate("fund", FUNDS)
        event = an_event(
            EventType.PAYMENT_CAPTURED, FUNDS, ref="fund", event_id="fund", provider=self.provider
        )
        await self.engine.ask(delivery(event))

    async def _begin(self) -> None:
        if self.script.kind == "withdrawal":
            await self._begin_withdrawal()
            return
        if self.script.kind == "created":
            self.payment = await self._initiate("", AMOUNT)
            await self._begin_call(CallKind.CREATE_PAYMENT, self.payment)
            return
        self.payment = await self._initiate("pay-1", AMOUNT)
        if self.script.kind == "refund":
            assert isinstance(CAPTURED.happening, ProviderEvent)
            await self.engine.ask(delivery(self._mine(CAPTURED.happening, 0)))
            refund = RefundDeposit(deposit_id=IDS.deposit_id(self.payment), number=self.payment, amount=400)
            await self.engine.ask(asked(refund, Method.RefundDeposit, f"refund-{self.provider}"))
            deposit = await payment_of(self.engine.pool, self.payment)
            assert isinstance(deposit, Deposit)
            self.subject = deposit.refunds[0].number or 0
            await self._begin_call(CallKind.REFUND, self.subject)

    async def _begin_withdrawal(self) -> None:
        command = RequestWithdrawal(
            player_id=self.player,
            provider=self.provider,
            amount=AMOUNT,
            currency="EUR",
            destination="iban",
            reference="",
            metadata={},
        )
        outcome = await self.engine.ask(asked(command, Method.RequestWithdrawal, "w", self.player))
        self.payment = outcome.sequence
        approve = ApproveWithdrawal(
            withdrawal_id=IDS.withdrawal_id(self.payment),
            number=self.payment,
            reviewer="rita",
            note="",
            identity="",
        )
        await self.engine.ask(asked(approve, Method.ApproveWithdrawal, f"approve-{self.provider}"))
        await self._begin_call(CallKind.CREATE_PAYOUT, self.payment)

    async def _begin_call(self, kind: CallKind, subject: int) -> None:
        report = ReportCall(kind=kind, payment=self.payment, subject=subject, news=CallBegun())
        await self.engine.ask(Request(report))

    async def _initiate(self, ref: str, amount: int) -> int:
        command = InitiateDeposit(
            player_id=self.player,
            provider=self.provider,
            amount=amount,
            currency="EUR",
            provider_ref=ref,
            reference="",
            metadata={},
        )
        outcome = await self.engine.ask(asked(command, Method.InitiateDeposit, ref or "created", self.player))
        assert not outcome.rejected, outcome
        return outcome.sequence

    def _mine(self, event: ProviderEvent, identity: int) -> ProviderEvent:
        event = replace(event, provider=self.provider, event_id=f"{event.event_id}-{identity}")
        if event.object_id == OUR_REFUND:
            event = replace(event, refund=self.subject, object_id=IDS.refund_id(self.subject))
        if self.script.kind == "withdrawal":
            payment_id = IDS.withdrawal_id(self.payment)
            return replace(event, payment=self.payment, payment_id=payment_id)
        if self.script.kind == "created" and event.type in ECHOING:
            return replace(event, payment=self.payment, payment_id=IDS.deposit_id(self.payment))
        return event


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
async def test_hear_in_sampled_orders_through_two_processes_ends_as_the_model(
    database_url: str, clock: FakeClock, script: Script
) -> None:
    """Every payment ends as the design says, each event is stored once, and the journal is proven."""
    planned = sampled(script)
    async with engine(database_url, clock) as first, engine(database_url, clock, cache_size=3) as second:
        await first.create_tenant()
        lives = [Life(script, number, (first, second)) for number in range(len(planned))]

        await asyncio.gather(
            *(life.live(found, begun=begun) for life, (found, begun) in zip(lives, planned, strict=True))
        )

        counters = await counters_of(database_url)
        for life, (found, _) in zip(lives, planned, strict=True):
            await assert_ended_as_the_model(life, found, first, counters)
    await assert_coherent(database_url, clock)


def sampled(script: Script) -> list[tuple[Order, bool]]:
    """Return some sequences; half of those of a deposit have its beginning as one of the steps."""
    count = len(script.steps)
    randomness = random.Random(f"{script.name} through lanes")
    begun = sequences(count, most=1_000, name=script.name).run
    if script.kind != "deposit":
        return [(found, True) for found in randomness.sample(begun, SAMPLED)]
    anywhere = sequences(count + 1, once=frozenset({count}), most=1_000, name=script.name).run
    return [
        *((found, True) for found in randomness.sample(begun, SAMPLED // 2)),
        *((found, False) for found in randomness.sample(anywhere, SAMPLED // 2)),
    ]


async def assert_ended_as_the_model(
    life: Life, found: Order, asked_engine: Engine, counters: Mapping[str, Counters]
) -> None:
    """Compare what is stored of one payment with the model."""
    model = life.script.expected()
    payment = await payment_of(asked_engine.pool, life.payment)
    assert payment.state.name == model.state, found
    assert await findings_of(asked_engine.pool, life.payment) == model.findings, found
    assert balances_of(life, counters) == Balances(
        posted=model.wallet,
        available=model.wallet - model.held_out,
        incoming=model.incoming,
        clearing=model.clearing,
        fees=model.fees,
    ), found
    events = await events_of(asked_engine.pool, life.provider)
    assert events.parked == [], found
    assert events.stored_count == 1 + distinct_events(life.script, found), found


def distinct_events(script: Script, found: Order) -> int:
    """Return how many events a sequence has, without repeated deliveries."""
    heard = {
        one
        for one in found
        if one.step < len(script.steps) and not isinstance(script.steps[one.step].happening, str)
    }
    return len(heard) + (script.kind == "refund")


def balances_of(life: Life, counters: Mapping[str, Counters]) -> Balances:
    """Return what a player's and the provider account's counters amount to."""
    wallet = counters[f"player:{life.player}:real:EUR"]
    clearing = counters[f"psp:{life.provider}:clearing:EUR"]
    fees = counters.get(
        f"psp:{life.provider}:fees:EUR",
        Counters(posted_debits=0, posted_credits=0, pending_debits=0, pending_credits=0, version=0),
    )
    posted = wallet.posted_credits - wallet.posted_debits
    return Balances(
        posted=posted,
        available=posted - wallet.pending_debits,
        incoming=wallet.pending_credits,
        clearing=clearing.posted_debits - clearing.posted_credits,
        fees=fees.posted_debits - fees.posted_credits,
    )
