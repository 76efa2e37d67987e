"""Each provider account has its own lane: nobody waits for another's provider, tenant or backlog."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest
from defter.payments.v1 import payment_pb2
from msgspec.structs import replace
from prometheus_client import REGISTRY

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.provider_record import RemoteState
from ledger_server.jobs.dispatcher import Dispatcher, DispatchLimits
from ledger_server.providers.adapter import (
    Accepted,
    Adapter,
    Answer,
    Made,
    NotFound,
    NotOurs,
    ProviderCall,
    Unknown,
    Unsent,
)
from ledger_server.providers.sending import Proof, Unproven
from tests.integration.dispatch.engine_cashier import OPENING, EngineCashier
from tests.support.fake_provider import FakeAdapter

LIMITS = DispatchLimits(pause_seconds=0.1, calls_at_once=4, silences=3, first_break_seconds=600.0)
PAID = payment_pb2.WITHDRAWAL_STATE_PAID


class Answering(FakeAdapter):
    """Answers as it is told, to calls and to looks; counts both.

    Attributes:
        silent: whether it says nothing.
        hangs: while set, calls wait for `released`.
        made: what it says of the object beside the id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.looks: list[str] = []
        self.silent = False
        self.hangs = False
        self.reused = False
        self.released = asyncio.Event()
        self.made = Made()

    async def call(self, call: ProviderCall, proof: Proof) -> Answer:
        """Do what it was told."""
        try:
            await proof.ask()
            proof.check()
        except Unproven as error:
            return Unsent(reason=str(error))
        self.calls.append(call.our_id)
        if self.hangs:
            await self.released.wait()
        if self.reused:
            return NotOurs(provider_ref="", reason="the key is known", evidence={})
        if self.silent:
            return Unknown(reason="silence", silent=True)
        return Accepted(provider_ref=f"at-{call.our_id}", state=RemoteState.SUCCEEDED, made=self.made)

    async def find(self, call: ProviderCall, _: str) -> Accepted | NotFound | Unknown:
        """Find nothing, or what the key was used for."""
        self.looks.append(call.our_id)
        if self.reused:
            return Accepted(provider_ref="at-other", state=RemoteState.SUCCEEDED)
        return Unknown(reason="silence", silent=True) if self.silent else NotFound()


def dispatcher_of(
    cashier: EngineCashier, adapters: Mapping[str, Adapter], limits: DispatchLimits = LIMITS
) -> Dispatcher:
    """Make a dispatcher that is not started."""
    return Dispatcher(cashier.ledger, cashier.pool, None, adapters, limits)


async def test_dispatch_while_a_provider_hangs_reaches_the_others_of_a_tenant(
    cashier: EngineCashier,
) -> None:
    """A tenant's backlog at a provider that hangs delays none of its calls elsewhere."""
    hung, healthy = Answering(), Answering()
    hung.hangs = True
    dispatcher = dispatcher_of(cashier, {"hung": hung, "healthy": healthy})
    for _ in range(30):
        await cashier.approved_withdrawal(100, provider="hung")
    dispatcher.start()
    try:
        numbers = [await cashier.approved_withdrawal(100, provider="healthy") for _ in range(10)]
        for number in numbers:
            assert await cashier.withdrawal_until(number, PAID) == "WITHDRAWAL_STATE_PAID"
        # Those that wait for their turn are not claimed, so their leases and pauses don't run.
        claimed = await cashier.pool.fetchval(
            "SELECT count(*) FROM outbox WHERE provider = 'hung' AND try_count > 0 AND open"
        )
        assert claimed == len(hung.calls) == LIMITS.calls_at_once
    finally:
        hung.released.set()
        await dispatcher.stop()


async def test_dispatch_to_a_provider_that_says_nothing_leaves_it_alone(cashier: EngineCashier) -> None:
    """After silences in a row no call is claimed any more; what is owed keeps its place."""
    silent = Answering()
    silent.silent = True
    dispatcher = dispatcher_of(cashier, {"silent": silent}, replace(LIMITS, calls_at_once=1))
    for _ in range(10):
        await cashier.approved_withdrawal(100, provider="silent")
    assert await dispatcher.dispatch() == LIMITS.silences
    assert await dispatcher.dispatch() == 0
    assert REGISTRY.get_sample_value("defter_provider_circuit_open", {"provider": "silent"}) == 1
    assert await cashier.pool.fetchval("SELECT count(*) FROM outbox WHERE try_count = 0") == 7
    assert await cashier.player_money() == (OPENING, 1_000)
    await dispatcher.stop()


async def test_dispatch_with_one_tenants_backlog_reaches_every_other_tenant_first(
    cashier: EngineCashier,
) -> None:
    """Tenants take turns: whoever owes much, and for longer, does not keep those waiting who owe little."""
    answering = Answering()
    others = [await cashier.other_tenant(f"tenant{number}") for number in range(3)]
    for _ in range(60):
        await cashier.approved_withdrawal(100)
    for other in others:
        await other.approved_withdrawal(100)
    dispatcher = dispatcher_of(cashier, {"mock": answering}, replace(LIMITS, calls_at_once=1))
    assert await dispatcher.dispatch() == 63
    await dispatcher.stop()
    mine = Counter(cashier.ids.withdrawal_sequence(our_id) is not None for our_id in answering.calls[:4])
    assert mine == {True: 1, False: 3}


async def test_claim_that_came_to_nothing_lengthens_no_pause(cashier: EngineCashier) -> None:
    """Only what was tried and not answered is put off for longer, not what a process claimed and lost."""
    silent = Answering()
    silent.silent = True
    await cashier.approved_withdrawal(100)
    await cashier.pool.execute("UPDATE outbox SET try_count = 20, named_tries = 20")
    dispatcher = dispatcher_of(cashier, {"mock": silent})
    await dispatcher.dispatch()
    await dispatcher.stop()
    assert (await cashier.longest_rest()).total_seconds() < 5


@pytest.mark.parametrize("reason", ["stopped by an operator", "another history"])
async def test_dispatch_while_calls_are_stopped_claims_nothing(cashier: EngineCashier, reason: str) -> None:
    """A stop holds for what is owed, and for what is about to be sent."""
    stopped = {"why": reason}

    async def gate() -> str:
        return stopped["why"]

    answering = Answering()
    dispatcher = Dispatcher(cashier.ledger, cashier.pool, None, {"mock": answering}, LIMITS, gate=gate)
    number = await cashier.approved_withdrawal(100)
    assert await dispatcher.dispatch() == 0
    assert await cashier.pool.fetchval("SELECT try_count FROM outbox") == 0
    stopped["why"] = ""
    assert await dispatcher.dispatch() == 1
    assert (await cashier.withdrawal(number)).state == PAID
    await dispatcher.stop()


async def test_stop_between_claim_and_send_keeps_the_call_from_leaving(cashier: EngineCashier) -> None:
    """The gate is asked directly before the request, too."""
    asked: list[str] = []

    async def gate() -> str:
        asked.append("")
        return "" if len(asked) == 1 else "stopped meanwhile"

    answering = Answering()
    dispatcher = Dispatcher(cashier.ledger, cashier.pool, None, {"mock": answering}, LIMITS, gate=gate)
    await cashier.approved_withdrawal(100)
    await dispatcher.dispatch()
    await dispatcher.stop()
    assert answering.calls == []
    assert await cashier.open_calls() == 1


@pytest.mark.parametrize(
    "made",
    [Made(amount=99), Made(currency="USD"), Made(destination="iban:DE99"), Made(our_id="wd_x"), None],
    ids=["amount", "currency", "destination", "our id", "key reused"],
)
async def test_answer_with_anothers_object_is_left_to_a_person(
    cashier: EngineCashier, made: Made | None
) -> None:
    """It is never booked, never called again, whatever is found under our id later, and found at once."""
    answering = Answering()
    answering.reused = made is None
    answering.made = made or Made()
    dispatcher = dispatcher_of(cashier, {"mock": answering})
    number = await cashier.approved_withdrawal(100)
    for _ in range(4):
        await dispatcher.dispatch()
        await cashier.hurry()
    assert len(answering.calls) == 1
    assert answering.looks == []
    assert await cashier.finding_classes() == [FindingClass.OBJECT_NOT_OURS]
    withdrawal = await cashier.withdrawal(number)
    assert withdrawal.state == payment_pb2.WITHDRAWAL_STATE_APPROVED
    assert await cashier.player_money() == (OPENING, 100)
    await cashier.assert_sound()
    await dispatcher.report()
    assert REGISTRY.get_sample_value("defter_owed_calls_stopped", {"provider": "mock"}) == 1
    # A person has looked: what the provider says of it by an event ends it.
    await cashier.tell(EventType.PAYOUT_FAILED, "po_looked_up", payment=number)
    await cashier.hurry()
    await dispatcher.dispatch()
    await dispatcher.stop()
    assert await cashier.open_calls() == 0
    assert await cashier.player_money() == (OPENING, 0)
