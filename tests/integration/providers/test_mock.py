"""Own what is MockPSP's alone: a key in use, and what its states mean."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from ledger_server.domain.reconciliation.record import RecordKind, RemoteState
from ledger_server.providers.adapter import Accepted, Adapter, CallKind, Unknown
from tests.integration.providers.test_contract import listed
from tests.support.providers import MockUnderTest

pytestmark = pytest.mark.parametrize("provider", ["mock"], indirect=True)


async def test_call_twice_at_once_executes_once(provider: MockUnderTest, adapter: Adapter) -> None:
    """Of two requests with one key the second meets the first under way, and nobody pays twice."""
    provider.psp.knobs.delay_seconds = 0.5
    call = provider.call(CallKind.CREATE_PAYOUT)

    answers = await asyncio.gather(adapter.call(call), adapter.call(call))

    assert Counter(type(answer) for answer in answers) == {Accepted: 1, Unknown: 1}
    assert provider.executions("wd_1") == 1


async def test_call_failing_after_execution_is_found(provider: MockUnderTest, adapter: Adapter) -> None:
    """A provider that keeps its 500 under the key is never to be asked again, only read."""
    provider.psp.knobs.error_500_after_execute = 1
    call = provider.call(CallKind.CREATE_PAYOUT)

    answers = [await adapter.call(call), await adapter.call(call)]
    found = await adapter.find(call, "")

    assert [type(answer) for answer in answers] == [Unknown, Unknown]
    assert isinstance(found, Accepted)
    assert provider.executions("wd_1") == 1


async def test_find_payout_through_its_life_tells_states(provider: MockUnderTest, adapter: Adapter) -> None:
    """Submitted, paid, and come back."""
    call = provider.call(CallKind.CREATE_PAYOUT)
    accepted = await adapter.call(call)
    assert isinstance(accepted, Accepted)
    payouts = provider.psp.state.payouts
    states = []

    for step in (payouts.submit, payouts.pay, payouts.return_):
        step(accepted.provider_ref)
        found = await adapter.find(call, accepted.provider_ref)
        assert isinstance(found, Accepted)
        states.append((found.state, found.reason))

    assert states == [
        (RemoteState.PENDING, ""),
        (RemoteState.SUCCEEDED, ""),
        (RemoteState.FAILED, "returned_by_bank"),
    ]


async def test_find_payment_through_its_life_tells_states(provider: MockUnderTest, adapter: Adapter) -> None:
    """Authorized, then captured."""
    call = provider.call(CallKind.CREATE_PAYMENT)
    accepted = await adapter.call(call)
    assert isinstance(accepted, Accepted)
    payments = provider.psp.state.payments
    states = []

    for step in (payments.authorize, payments.capture):
        step(accepted.provider_ref)
        found = await adapter.find(call, "")
        assert isinstance(found, Accepted)
        states.append(found.state)

    assert states == [RemoteState.AUTHORIZED, RemoteState.SUCCEEDED]


async def test_refund_uncaptured_payment_is_rejected(provider: MockUnderTest, adapter: Adapter) -> None:
    """MockPSP's own rules refuse by name."""
    payment = await adapter.call(provider.call(CallKind.CREATE_PAYMENT, "dep_1"))
    assert isinstance(payment, Accepted)
    provider.payment_ref = payment.provider_ref

    answer = await adapter.call(provider.call(CallKind.REFUND))

    assert getattr(answer, "code", "") == "payment_not_captured"


async def test_list_over_moving_pages_misses_nothing(provider: MockUnderTest, adapter: Adapter) -> None:
    """Pages by position repeat rows, and none is missed."""
    provider.psp.knobs.moving_pages = True
    refs = provider.add_payout_records(7)

    records, _ = await listed(adapter, limit=3)

    seen = Counter(record.provider_ref for record in records if record.kind is RecordKind.PAYOUT)
    assert set(seen) == set(refs)
    assert max(seen.values()) > 1


async def test_list_payment_and_refund_carry_ids_and_signs(provider: MockUnderTest, adapter: Adapter) -> None:
    """Money in is positive, money out negative, and both carry our ids."""
    refund = await adapter.call(provider.call(CallKind.REFUND, "ref_1", amount=300))
    assert isinstance(refund, Accepted)
    provider.psp.state.refunds.succeed(refund.provider_ref)

    records, _ = await listed(adapter, limit=10)

    assert [(record.kind, record.our_id, record.payment_ref, record.amount) for record in records] == [
        (RecordKind.REFUND, "ref_1", provider.payment_ref, -300),
        (RecordKind.PAYMENT, "dep_0", provider.payment_ref, 100_000),
    ]
