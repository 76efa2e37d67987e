"""The dispatcher against a provider that runs: paid at most once, whatever dies or hangs in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from defter.payments.v1 import payment_pb2
from msgspec.structs import replace
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.payments.events import EventType
from ledger_server.jobs.dispatcher import Dispatcher, DispatchLimits
from ledger_server.process.bootstrap import currencies
from ledger_server.providers.adapter import (
    Accepted,
    Adapter,
    Answer,
    NotFound,
    ProviderCall,
    Unknown,
)
from ledger_server.providers.mock import MockAdapter
from ledger_server.providers.sending import Proof
from mock_psp.server import MockPsp
from tests.integration.dispatch.engine_cashier import OPENING, EngineCashier

PAID = payment_pb2.WITHDRAWAL_STATE_PAID
FAILED = payment_pb2.WITHDRAWAL_STATE_FAILED
QUICK = DispatchLimits(
    pause_seconds=0.1,
    lease_seconds=3.0,
    call_seconds=1.0,
    proof_seconds=0.5,
    first_back_off_seconds=0.05,
    max_back_off_seconds=0.2,
    poll_seconds=0.05,
    max_poll_seconds=0.1,
)
SLOW_POLL = replace(QUICK, poll_seconds=3_600.0, max_poll_seconds=86_400.0)


class Dying:
    """An adapter of a process that dies at one point of its first call: it hangs there until it is ended."""

    def __init__(self, inner: MockAdapter, where: str) -> None:
        self.inner = inner
        self.where = where
        self.reached = asyncio.Event()
        self.capabilities = inner.capabilities
        self.to_provider = inner.to_provider
        self.from_provider = inner.from_provider
        self.list_provider_records = inner.list_provider_records
        self.close = inner.close

    async def call(self, call: ProviderCall, proof: Proof) -> Answer:
        """Hang before or after the provider was called."""
        if self.where == "before the call":
            await self._die()
        answer = await self.inner.call(call, proof)
        if self.where == "after the call":
            await self._die()
        return answer

    async def find(self, call: ProviderCall, provider_ref: str) -> Accepted | NotFound | Unknown:
        """Hang when the answer was committed and the provider is asked next."""
        if self.where == "after the commit":
            await self._die()
        return await self.inner.find(call, provider_ref)

    async def _die(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


class Speechless:
    """An adapter of a provider that can't be asked for what it does."""

    def __init__(self, inner: MockAdapter) -> None:
        self.asked_count = 0
        self.capabilities = inner.capabilities
        self.to_provider = inner.to_provider
        self.from_provider = inner.from_provider
        self.call = inner.call
        self.list_provider_records = inner.list_provider_records
        self.close = inner.close

    async def find(self, call: ProviderCall, provider_ref: str) -> Accepted | NotFound | Unknown:
        """Count, and say nothing."""
        del call, provider_ref
        self.asked_count += 1
        return Unknown(reason="its webhook tells")


@asynccontextmanager
async def adapter_to(psp: MockPsp, *, timeout_seconds: float = 0.3) -> AsyncIterator[MockAdapter]:
    """Connect an adapter to the provider."""
    adapter = MockAdapter(
        base_address=psp.url,
        api_key="secret",
        currencies=currencies({}),
        timeout_seconds=timeout_seconds,
    )
    try:
        yield adapter
    finally:
        await adapter.close()


@asynccontextmanager
async def dispatching(cashier: EngineCashier, adapter: Adapter) -> AsyncIterator[Dispatcher]:
    """Run a dispatcher until the context ends, as abruptly as a crash."""
    dispatcher = Dispatcher(cashier.ledger, cashier.pool, None, {"mock": adapter}, QUICK)
    cashier.ledger.on_commit(dispatcher.committed)
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        await dispatcher.stop()


@pytest.mark.parametrize("knob", [None, "timeout_before_execute", "timeout_after_execute"])
@pytest.mark.parametrize("where", ["before the call", "after the call", "after the commit"])
async def test_dispatch_killed_at_a_step_pays_once(
    cashier: EngineCashier, psp: MockPsp, where: str, knob: str | None
) -> None:
    """Whoever claims the call after the crash finds out, whatever the first call met: one payout."""
    if knob is not None:
        psp.knobs.hang_seconds = 0.5
        setattr(psp.knobs, knob, 1)
    async with adapter_to(psp) as adapter:
        dying = Dying(adapter, where)
        async with dispatching(cashier, dying):
            number = await cashier.approved_withdrawal(2_500)
            await asyncio.wait_for(dying.reached.wait(), 10)
        await cashier.hurry()
        async with dispatching(cashier, adapter):
            assert await cashier.withdrawal_until(number, PAID, FAILED) == "WITHDRAWAL_STATE_PAID"
            await no_calls_open(cashier)
    assert psp.state.executions[cashier.ids.withdrawal_id(number)] == 1
    assert await cashier.player_money() == (OPENING - 2_500, 0)
    await cashier.assert_sound()


@pytest.mark.parametrize(
    "knob",
    ["timeout_before_execute", "timeout_after_execute", "error_500", "error_500_after_execute", "rate_limit"],
)
@pytest.mark.parametrize("times", [1, 3])
async def test_dispatch_at_a_provider_that_fails_pays_once(
    cashier: EngineCashier, psp: MockPsp, knob: str, times: int
) -> None:
    """A time-out or an error says nothing: the payout is looked for, tried with its key, and paid once."""
    psp.knobs.hang_seconds = 0.5
    psp.knobs.retry_after_seconds = 0
    setattr(psp.knobs, knob, times)
    async with adapter_to(psp) as adapter, dispatching(cashier, adapter):
        number = await cashier.approved_withdrawal(2_500)
        assert await cashier.withdrawal_until(number, PAID, FAILED) == "WITHDRAWAL_STATE_PAID"
        await no_calls_open(cashier)
    assert psp.state.executions[cashier.ids.withdrawal_id(number)] == 1
    assert await cashier.player_money() == (OPENING - 2_500, 0)
    await cashier.assert_sound()


async def test_dispatch_of_a_refused_payout_releases_the_hold_once(
    cashier: EngineCashier, psp: MockPsp
) -> None:
    """A definite refusal fails the withdrawal, and the player has the money back."""
    psp.knobs.reject = 1
    async with adapter_to(psp) as adapter, dispatching(cashier, adapter):
        number = await cashier.approved_withdrawal(2_500)
        assert await cashier.withdrawal_until(number, PAID, FAILED) == "WITHDRAWAL_STATE_FAILED"
        await no_calls_open(cashier)
    assert psp.state.executions[cashier.ids.withdrawal_id(number)] == 0
    assert (await cashier.withdrawal(number)).reason.startswith("insufficient_balance")
    assert await cashier.player_money() == (OPENING, 0)
    await cashier.assert_sound()


async def test_dispatch_from_two_processes_pays_each_withdrawal_once(
    cashier: EngineCashier, psp: MockPsp
) -> None:
    """Two dispatchers share the outbox without waiting for each other or calling twice."""
    async with (
        adapter_to(psp, timeout_seconds=5.0) as adapter,
        dispatching(cashier, adapter),
        dispatching(cashier, adapter),
    ):
        numbers = await asyncio.gather(*(cashier.approved_withdrawal(100) for _ in range(30)))
        for number in numbers:
            assert await cashier.withdrawal_until(number, PAID, FAILED) == "WITHDRAWAL_STATE_PAID"
    executions = [psp.state.executions[cashier.ids.withdrawal_id(number)] for number in numbers]
    assert executions == [1] * 30
    assert await cashier.player_money() == (OPENING - 3_000, 0)
    await cashier.assert_sound()


async def test_mark_paid_before_the_call_drops_it(cashier: EngineCashier, psp: MockPsp) -> None:
    """A withdrawal that was paid by hand is never paid by the provider as well."""
    number = await cashier.approved_withdrawal(2_500)
    await cashier.mark_paid(number)
    async with adapter_to(psp) as adapter, dispatching(cashier, adapter):
        await no_calls_open(cashier)
    withdrawal = await cashier.withdrawal(number)
    assert withdrawal.state == PAID
    assert withdrawal.call_state == payment_pb2.CALL_STATE_DROPPED
    assert psp.state.executions[cashier.ids.withdrawal_id(number)] == 0
    assert await cashier.player_money() == (OPENING - 2_500, 0)


async def test_mark_paid_while_the_call_is_under_way_is_refused(cashier: EngineCashier, psp: MockPsp) -> None:
    """Nobody can say yet whether the call pays; so nobody may say that something else did."""
    async with adapter_to(psp) as adapter:
        dying = Dying(adapter, "before the call")
        async with dispatching(cashier, dying):
            number = await cashier.approved_withdrawal(2_500)
            await asyncio.wait_for(dying.reached.wait(), 10)
            outcome = await cashier.mark_paid(number)
    assert outcome.rejected
    assert (await cashier.withdrawal(number)).state == payment_pb2.WITHDRAWAL_STATE_APPROVED


async def test_dispatch_of_a_refund_captures_its_hold_once(cashier: EngineCashier, psp: MockPsp) -> None:
    """A refund that was asked for is held, made at the provider, and debited once."""
    payment = psp.state.payments.create(
        reference="elsewhere", amount_minor=5_000, currency="EUR", customer="42"
    )
    await psp.settled()
    number = await cashier.captured_deposit(payment.id)
    refund = await cashier.asked_refund(number, 2_000)
    assert await cashier.player_money() == (OPENING + 5_000, 2_000)
    async with adapter_to(psp) as adapter, dispatching(cashier, adapter):
        await no_calls_open(cashier)
    assert psp.state.executions[cashier.ids.refund_id(refund)] == 1
    assert (await cashier.deposit(number)).state == payment_pb2.DEPOSIT_STATE_PARTIALLY_REFUNDED
    assert await cashier.player_money() == (OPENING + 3_000, 0)
    await cashier.assert_sound()


async def test_tell_amount_of_a_refund_that_was_only_read_books_what_is_told(
    cashier: EngineCashier, psp: MockPsp
) -> None:
    """Reading says that it succeeded and no amount, so what an event tells later is not drowned by it."""
    payment = psp.state.payments.create(
        reference="elsewhere", amount_minor=5_000, currency="EUR", customer="42"
    )
    await psp.settled()
    number = await cashier.captured_deposit(payment.id)
    await cashier.asked_refund(number, 2_000)
    async with adapter_to(psp) as adapter, dispatching(cashier, adapter):
        await no_calls_open(cashier)
    [read] = (await cashier.deposit(number)).refunds
    assert (read.state, read.told_minor) == (payment_pb2.REFUND_STATE_SUCCEEDED, 0)

    await cashier.tell(EventType.REFUND_SUCCEEDED, payment.id, amount=1_500, object_ref=read.provider_ref)

    [told] = (await cashier.deposit(number)).refunds
    assert (told.amount_minor, told.told_minor) == (2_000, 1_500)
    assert await cashier.player_money() == (OPENING + 3_500, 0)
    assert await cashier.finding_classes() == [FindingClass.AMOUNT_MISMATCH]
    await cashier.assert_sound()


async def test_dispatch_of_a_deposit_makes_the_payment_known(cashier: EngineCashier, psp: MockPsp) -> None:
    """The provider is told of a deposit with our id, and its own id is kept."""
    async with adapter_to(psp) as adapter, dispatching(cashier, adapter):
        number = await cashier.asked_deposit(5_000)
        await no_calls_open(cashier)
    deposit = await cashier.deposit(number)
    assert deposit.call_state == payment_pb2.CALL_STATE_ACCEPTED
    assert deposit.provider_ref.startswith("mp_pay_")
    assert psp.state.executions[deposit.deposit_id] == 1


async def test_dispatch_without_a_configured_account_claims_nothing(cashier: EngineCashier) -> None:
    """A call to an account that this server does not know is left to others, unclaimed, and is reported."""
    dispatcher = Dispatcher(cashier.ledger, cashier.pool, None, {}, QUICK)
    number = await cashier.approved_withdrawal(2_500, provider="elsewhere")
    assert await dispatcher.dispatch() == 0
    with capture_logs() as logs:
        await dispatcher.report()
    await dispatcher.stop()
    [line] = [line for line in logs if line.get("provider") == "elsewhere"]
    assert (line["log_level"], line["calls"]) == ("warning", 1)
    assert REGISTRY.get_sample_value("defter_owed_calls", {"provider": "elsewhere"}) == 1
    assert await cashier.pool.fetchval("SELECT try_count FROM outbox") == 0
    assert (await cashier.withdrawal(number)).call_state == payment_pb2.CALL_STATE_PENDING
    assert await cashier.player_money() == (OPENING, 2_500)


async def test_dispatch_of_a_tenant_that_may_not_use_the_account_claims_nothing(
    cashier: EngineCashier, psp: MockPsp
) -> None:
    """An account serves the tenants that it was configured for."""
    async with adapter_to(psp) as adapter:
        for tenants, made in ((frozenset({"bingo"}), 0), (frozenset({"casino"}), 1)):
            dispatcher = Dispatcher(
                cashier.ledger, cashier.pool, None, {"mock": adapter}, SLOW_POLL, tenants={"mock": tenants}
            )
            await cashier.approved_withdrawal(2_500)
            await cashier.hurry()
            assert bool(await dispatcher.dispatch()) is bool(made)
            await dispatcher.stop()


async def test_dispatch_after_the_providers_memory_never_calls_again(
    cashier: EngineCashier, psp: MockPsp
) -> None:
    """Once it may have forgotten the key, two proofs of absence, apart, end the call; no try follows."""
    async with adapter_to(psp) as adapter:
        number = await unanswered_withdrawal(cashier, psp, adapter)
        await long_after(cashier, adapter, "2 days")
        assert (await cashier.withdrawal(number)).call_state == payment_pb2.CALL_STATE_UNDER_WAY
        await long_after(cashier, adapter, "2 days")
        assert (await cashier.withdrawal(number)).call_state == payment_pb2.CALL_STATE_UNDER_WAY
        await cashier.pool.execute("UPDATE outbox SET absent_time = absent_time - interval '1 hour'")
        await long_after(cashier, adapter, "2 days")
    withdrawal = await cashier.withdrawal(number)
    assert psp.state.executions[withdrawal.withdrawal_id] == 0
    assert withdrawal.state == FAILED
    assert withdrawal.call_state == payment_pb2.CALL_STATE_REJECTED
    assert withdrawal.reason.startswith("never_made: ")
    assert await cashier.player_money() == (OPENING, 0)
    assert await cashier.open_calls() == 0
    await cashier.assert_sound()


@pytest.mark.parametrize("case", ["it can't be asked", "a try may be under way", "it was heard of"])
async def test_dispatch_after_the_providers_memory_without_proof_releases_nothing(
    cashier: EngineCashier, psp: MockPsp, case: str
) -> None:
    """What can't be known is neither paid again nor given back: it is looked for, at the pace of polling."""
    async with adapter_to(psp) as adapter:
        number = await unanswered_withdrawal(cashier, psp, adapter)
        if case == "it was heard of":
            await cashier.tell(EventType.PAYOUT_SUBMITTED, "mp_po_1", payment=number)
        asked = Speechless(adapter) if case == "it can't be asked" else adapter
        # MockPSP is certain of its keys for 23 hours, and a request may live for one more.
        await long_after(cashier, asked, "23.5 hours" if case == "a try may be under way" else "2 days")
    withdrawal = await cashier.withdrawal(number)
    assert psp.state.executions[withdrawal.withdrawal_id] == 0
    assert withdrawal.call_state == payment_pb2.CALL_STATE_UNDER_WAY
    assert await cashier.player_money() == (OPENING, 2_500)
    assert await cashier.open_calls() == 1
    assert await cashier.longest_rest() > timedelta(minutes=40)


async def test_dispatch_of_a_call_that_was_never_begun_makes_it_however_old_it_is(
    cashier: EngineCashier, psp: MockPsp
) -> None:
    """The provider's memory begins with the first request, not with the first look at what is owed."""
    nowhere = Dispatcher(cashier.ledger, cashier.pool, None, {}, QUICK)
    number = await cashier.approved_withdrawal(2_500)
    await nowhere.dispatch()
    await nowhere.stop()
    await cashier.pool.execute("UPDATE outbox SET first_try_time = now() - interval '2 days'")
    await cashier.hurry()
    async with adapter_to(psp) as adapter, dispatching(cashier, adapter):
        assert await cashier.withdrawal_until(number, PAID, FAILED) == "WITHDRAWAL_STATE_PAID"
    assert psp.state.executions[cashier.ids.withdrawal_id(number)] == 1


async def test_poll_what_cannot_be_asked_rests_without_a_warning(
    cashier: EngineCashier, psp: MockPsp
) -> None:
    """Some providers tell the end of a refund by an event alone; asking them is a formality."""
    async with adapter_to(psp) as adapter:
        speechless = Speechless(adapter)
        dispatcher = Dispatcher(cashier.ledger, cashier.pool, None, {"mock": speechless}, SLOW_POLL)
        await cashier.approved_withdrawal(2_500)
        await dispatcher.dispatch()
        with capture_logs() as logs:
            for _ in range(3):
                await cashier.hurry()
                await dispatcher.dispatch()
        await dispatcher.stop()
    assert speechless.asked_count == 3
    assert [line for line in logs if line["log_level"] != "info"] == []
    # An hour, doubled three times, with a quarter of jitter.
    assert await cashier.longest_rest() > timedelta(hours=5)


async def test_dispatch_while_another_tenants_provider_hangs_is_not_delayed(
    cashier: EngineCashier, psp: MockPsp
) -> None:
    """One tenant's call that hangs keeps no other tenant waiting."""
    async with adapter_to(psp) as adapter:
        hanging = Dying(adapter, "before the call")
        accounts: dict[str, Adapter] = {"mock": adapter, "slow": hanging}
        dispatcher = Dispatcher(
            cashier.ledger,
            cashier.pool,
            None,
            accounts,
            replace(QUICK, call_seconds=30.0, lease_seconds=90.0),
        )
        cashier.ledger.on_commit(dispatcher.committed)
        other = await cashier.other_tenant("bingo")
        dispatcher.start()
        try:
            await other.approved_withdrawal(100, provider="slow")
            await asyncio.wait_for(hanging.reached.wait(), 10)
            number = await cashier.approved_withdrawal(2_500)
            assert await cashier.withdrawal_until(number, PAID, FAILED) == "WITHDRAWAL_STATE_PAID"
        finally:
            await dispatcher.stop()


async def no_calls_open(cashier: EngineCashier) -> None:
    """Wait until nothing is owed any more."""
    for _ in range(400):
        if not await cashier.open_calls():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("calls stayed open")


async def unanswered_withdrawal(cashier: EngineCashier, psp: MockPsp, adapter: Adapter) -> int:
    """Approve a withdrawal whose only call gets no answer and is not carried out; return its number."""
    psp.knobs.hang_seconds = 0.5
    psp.knobs.timeout_before_execute = 1
    async with dispatching(cashier, adapter):
        number = await cashier.approved_withdrawal(2_500)
        await asyncio.wait_for(taken_up(psp), 10)
    return number


async def long_after(cashier: EngineCashier, adapter: Adapter, interval: str) -> None:
    """Let the dispatcher come by once, so long after the first try."""
    await cashier.pool.execute(f"UPDATE outbox SET first_try_time = now() - interval '{interval}'")
    await cashier.hurry()
    dispatcher = Dispatcher(cashier.ledger, cashier.pool, None, {"mock": adapter}, SLOW_POLL)
    await dispatcher.dispatch()
    await dispatcher.stop()


async def taken_up(psp: MockPsp) -> None:
    """Wait until the provider has hung once."""
    while psp.knobs.timeout_before_execute:  # noqa: ASYNC110  # the knob is the provider's, it has no event
        await asyncio.sleep(0.02)
