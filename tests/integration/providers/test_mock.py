"""Own what is MockPSP's alone: a key in use, and what its states mean."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count

import pytest

from ledger_server.domain.provider_record import ProviderRecordKind, RemoteState
from ledger_server.providers.adapter import Accepted, Adapter, ListingFailed, ProviderCallKind, Unknown
from tests.integration.providers.test_contract import WINDOW, listed
from tests.support.proof import PROVEN
from tests.support.providers import MockUnderTest

pytestmark = pytest.mark.parametrize("provider", ["mock"], indirect=True)


async def test_call_twice_at_once_executes_once(provider: MockUnderTest, adapter: Adapter) -> None:
    """Of two requests with one key the second meets the first under way, and nobody pays twice."""
    provider.psp.knobs.delay_seconds = 0.5
    call = provider.call(ProviderCallKind.CREATE_PAYOUT)

    answers = await asyncio.gather(adapter.call(call, PROVEN), adapter.call(call, PROVEN))

    assert Counter(type(answer) for answer in answers) == {Accepted: 1, Unknown: 1}
    assert provider.executions("wd_1") == 1


async def test_call_failing_after_execution_is_found(provider: MockUnderTest, adapter: Adapter) -> None:
    """A provider that keeps its 500 under the key is never to be asked again, only read."""
    provider.psp.knobs.error_500_after_execute = 1
    call = provider.call(ProviderCallKind.CREATE_PAYOUT)

    answers = [await adapter.call(call, PROVEN), await adapter.call(call, PROVEN)]
    found = await adapter.find(call, "")

    assert [type(answer) for answer in answers] == [Unknown, Unknown]
    assert isinstance(found, Accepted)
    assert provider.executions("wd_1") == 1


async def test_find_payout_through_its_life_tells_states(provider: MockUnderTest, adapter: Adapter) -> None:
    """Submitted, paid, and come back."""
    call = provider.call(ProviderCallKind.CREATE_PAYOUT)
    accepted = await adapter.call(call, PROVEN)
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
    call = provider.call(ProviderCallKind.CREATE_PAYMENT)
    accepted = await adapter.call(call, PROVEN)
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
    payment = await adapter.call(provider.call(ProviderCallKind.CREATE_PAYMENT, "dep_1"), PROVEN)
    assert isinstance(payment, Accepted)
    provider.payment_ref = payment.provider_ref

    answer = await adapter.call(provider.call(ProviderCallKind.REFUND), PROVEN)

    assert getattr(answer, "code", "") == "payment_not_captured"


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_list_over_moving_pages_misses_nothing(
    limit: int, provider: MockUnderTest, adapter: Adapter
) -> None:
    """Pages by position repeat rows, in any order and while others come in, and none is missed."""
    provider.psp.knobs.moving_pages = True
    provider.psp.knobs.shuffle_pages = True
    refs = provider.add_payout_records(30)
    seen: Counter[str] = Counter()
    cursor = ""

    for number in count():
        page = await adapter.list_provider_records(*WINDOW, cursor, limit)
        seen.update(record.record_id for record in page.records)
        cursor = page.next_cursor
        if not cursor:
            break
        if number < 5:
            provider.add_payout_records(1)

    assert set(refs) <= set(seen)
    assert max(seen.values()) > 1


async def test_list_over_pages_that_fail_now_and_then_goes_on(
    provider: MockUnderTest, adapter: Adapter
) -> None:
    """A page that was refused is read again with the same cursor, and nothing is lost."""
    refs = provider.add_payout_records(9)
    knobs = provider.psp.knobs
    knobs.faults_hit = "reads"
    seen: set[str] = set()
    pauses: list[float | None] = []
    cursor, done = "", False

    for number in range(20):
        knobs.rate_limit = number % 2
        try:
            page = await adapter.list_provider_records(*WINDOW, cursor, 2)
        except ListingFailed as failure:
            pauses.append(failure.retry_after_seconds)
            continue
        seen |= {record.record_id for record in page.records}
        cursor = page.next_cursor
        done = not cursor
        if done:
            break

    assert done
    assert set(refs) <= seen
    assert set(pauses) == {1.0}


async def test_list_capture_taken_back_is_two_records_of_one_object(
    provider: MockUnderTest, adapter: Adapter
) -> None:
    """The first has the capture's own id and the second one of its own; both show where it stands now."""
    payments = provider.psp.state.payments
    (capture,) = payments.get(provider.payment_ref).captures
    payments.capture_fail(provider.payment_ref)

    records, _ = await listed(adapter, limit=10)

    back, first = records
    assert (first.record_id, first.provider_ref, first.amount) == (capture.id, capture.id, 100_000)
    assert (back.provider_ref, back.amount) == (capture.id, -100_000)
    assert back.record_id != capture.id
    assert {record.payment_ref for record in records} == {provider.payment_ref}
    assert {record.state for record in records} == {RemoteState.FAILED}


async def test_list_settled_movements_tells_their_batch(provider: MockUnderTest, adapter: Adapter) -> None:
    """The settlement and all that it was made of carry the batch; what comes later is in none yet."""
    settlement = provider.psp.state.account.settle(currency="EUR")
    provider.add_payout_records(1)

    records, _ = await listed(adapter, limit=10)

    batches = {record.kind: record.batch for record in records}
    assert batches == {
        ProviderRecordKind.PAYMENT: settlement.batch_id,
        ProviderRecordKind.SETTLEMENT: settlement.batch_id,
        ProviderRecordKind.PAYOUT: "",
    }


async def test_list_what_the_provider_got_wrong_is_told_as_it_is(
    provider: MockUnderTest, adapter: Adapter
) -> None:
    """A payout made twice is two objects with our id; a row that lies is told as it lies."""
    (first,) = provider.add_payout_records(1)
    second = provider.psp.state.payouts.duplicate(first)
    provider.psp.state.books.listing.misstate(second.id, amount_minor=7, currency="USD")
    (vanished,) = provider.add_payout_records(1)
    provider.psp.state.books.listing.vanish(vanished)

    records, _ = await listed(adapter, limit=10)

    payouts = [record for record in records if record.kind is ProviderRecordKind.PAYOUT]
    assert [(record.provider_ref, record.our_id, record.amount, record.currency) for record in payouts] == [
        (second.id, "wd_old_1", -7, "USD"),
        (first, "wd_old_1", -1, "EUR"),
    ]


async def test_list_payment_and_refund_carry_ids_and_signs(provider: MockUnderTest, adapter: Adapter) -> None:
    """Money in is positive, money out negative, and both carry our ids."""
    refund = await adapter.call(provider.call(ProviderCallKind.REFUND, "ref_1", amount=300), PROVEN)
    assert isinstance(refund, Accepted)
    provider.psp.state.refunds.succeed(refund.provider_ref)

    records, _ = await listed(adapter, limit=10)

    assert [(record.kind, record.our_id, record.payment_ref, record.amount) for record in records] == [
        (ProviderRecordKind.REFUND, "ref_1", provider.payment_ref, -300),
        (ProviderRecordKind.PAYMENT, "dep_0", provider.payment_ref, 100_000),
    ]
