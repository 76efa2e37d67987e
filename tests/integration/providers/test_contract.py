"""Own what holds for every adapter: what is unknown is said to be, and nothing is done twice."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.providers.adapter import (
    Accepted,
    Adapter,
    Declined,
    ListingFailed,
    NotFound,
    NotOurs,
    ProviderCallKind,
    Unknown,
)
from tests.integration.providers.conftest import Adapters
from tests.support.clock import START
from tests.support.proof import PROVEN
from tests.support.providers import IMPATIENT_SECONDS, RETRY_AFTER_SECONDS, ProviderUnderTest
from tests.support.vendor import Fault

ALL_KINDS = pytest.mark.parametrize("kind", list(ProviderCallKind))
WINDOW = (START - timedelta(hours=1), START + timedelta(hours=1))
NOBODY = "http://127.0.0.1:1"


@ALL_KINDS
async def test_call_once_is_accepted_and_executed_once(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """A payment, payout or refund that the provider takes on has its id, and is pending."""
    answer = await adapter.call(provider.call(kind), PROVEN)

    assert isinstance(answer, Accepted)
    assert answer.provider_ref
    assert answer.state is RemoteState.PENDING
    assert provider.executions("wd_1") == 1


@ALL_KINDS
async def test_call_same_key_twice_executes_once(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """The second answer is the first one."""
    first = await adapter.call(provider.call(kind), PROVEN)
    second = await adapter.call(provider.call(kind), PROVEN)

    assert isinstance(first, Accepted)
    assert second == first
    assert provider.executions("wd_1") == 1


@ALL_KINDS
async def test_call_two_keys_executes_both(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """Two calls that differ in nothing but id and key are two."""
    first = await adapter.call(provider.call(kind, "wd_1"), PROVEN)
    second = await adapter.call(provider.call(kind, "wd_2"), PROVEN)

    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert first.provider_ref != second.provider_ref
    assert (provider.executions("wd_1"), provider.executions("wd_2")) == (1, 1)


@ALL_KINDS
async def test_call_same_key_with_other_amount_is_not_ours(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """The key may have paid something else already: neither a refusal nor anything to look for."""
    await adapter.call(provider.call(kind, amount=100), PROVEN)

    answer = await adapter.call(provider.call(kind, amount=200), PROVEN)

    assert isinstance(answer, NotOurs)
    assert "IDEMPOTENCY KEY REUSED" in answer.reason
    assert provider.executions("wd_1") == 1


@ALL_KINDS
async def test_call_refused_by_provider_is_rejected(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """A definite refusal carries the provider's code, and nothing was done."""
    provider.fail_next(Fault.REFUSAL)

    answer = await adapter.call(provider.call(kind), PROVEN)

    assert isinstance(answer, Declined)
    assert answer.code in {"insufficient_balance", "balance_insufficient", "14_034"}
    assert provider.executions("wd_1") == 0


@ALL_KINDS
async def test_call_with_wrong_credentials_is_unknown(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapters: Adapters
) -> None:
    """A broken configuration must not fail a player's money."""
    answer = await adapters.make(right_key=False).call(provider.call(kind), PROVEN)

    assert isinstance(answer, Unknown)
    assert provider.executions("wd_1") == 0


@ALL_KINDS
async def test_call_timing_out_before_execution_is_unknown_then_absent(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapters: Adapters
) -> None:
    """Asking tells that nothing is there, and the same call then executes once."""
    provider.fail_next(Fault.TIMEOUT_BEFORE)
    call = provider.call(kind)

    answer = await adapters.make(timeout_seconds=IMPATIENT_SECONDS).call(call, PROVEN)
    found = await adapters.make().find(call, "")
    again = await adapters.make().call(call, PROVEN)

    assert isinstance(answer, Unknown)
    assert isinstance(found, NotFound if kind in provider.found_by_our_id else Unknown)
    assert isinstance(again, Accepted)
    assert provider.executions("wd_1") == 1


@ALL_KINDS
@pytest.mark.parametrize("fault", [Fault.TIMEOUT_AFTER, Fault.HANG_UP_AFTER])
async def test_call_timing_out_after_execution_is_unknown_then_found(
    fault: Fault, kind: ProviderCallKind, provider: ProviderUnderTest, adapters: Adapters
) -> None:
    """Asking tells that it was done, and the same call does it no second time."""
    provider.fail_next(fault)
    call = provider.call(kind)
    waits = fault is Fault.TIMEOUT_AFTER

    answer = await adapters.make(timeout_seconds=IMPATIENT_SECONDS if waits else 30).call(call, PROVEN)
    found = await adapters.make().find(call, "")
    again = await adapters.make().call(call, PROVEN)

    assert isinstance(answer, Unknown)
    assert isinstance(again, Accepted)
    if kind in provider.found_by_our_id:
        assert found == again
    else:
        assert isinstance(found, Unknown)
    assert provider.executions("wd_1") == 1


@ALL_KINDS
async def test_call_when_provider_fails_is_unknown(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """A 500 says nothing about what was done."""
    provider.fail_next(Fault.SERVER_ERROR)

    answer = await adapter.call(provider.call(kind), PROVEN)

    assert isinstance(answer, Unknown)
    assert answer.retry_after_seconds is None


@ALL_KINDS
async def test_call_too_often_is_unknown_with_pause(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """A 429 carries for how long the provider wants to be left alone."""
    provider.fail_next(Fault.RATE_LIMIT)

    answer = await adapter.call(provider.call(kind), PROVEN)

    assert isinstance(answer, Unknown)
    assert answer.retry_after_seconds == RETRY_AFTER_SECONDS


@ALL_KINDS
@pytest.mark.parametrize("fault", [Fault.IN_FLIGHT, Fault.NONSENSE])
@pytest.mark.parametrize("provider", ["stripe", "adyen"], indirect=True)
async def test_call_answered_strangely_is_unknown(
    fault: Fault, kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """Neither a request that is under way nor a proxy's page is a decision."""
    provider.fail_next(fault)

    answer = await adapter.call(provider.call(kind), PROVEN)

    assert isinstance(answer, Unknown)


@ALL_KINDS
async def test_ask_where_nobody_listens_is_unknown(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapters: Adapters
) -> None:
    """A refused connection is an answer like others, not an exception."""
    adapter = adapters.make(address=NOBODY)
    call = provider.call(kind)

    assert isinstance(await adapter.call(call, PROVEN), Unknown)
    assert isinstance(await adapter.find(call, ""), Unknown)
    assert isinstance(await adapter.find(call, provider.missing_ref), Unknown)


@ALL_KINDS
async def test_find_by_provider_ref_tells_state(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """What was accepted is read by the provider's own id, where the provider lets one."""
    call = provider.call(kind)
    accepted = await adapter.call(call, PROVEN)
    assert isinstance(accepted, Accepted)

    found = await adapter.find(call, accepted.provider_ref)

    if kind in provider.read_by_ref:
        assert found == accepted
    else:
        assert isinstance(found, Unknown)


@ALL_KINDS
async def test_find_unknown_ref_is_not_found(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """An id that the provider does not know is certainly not there."""
    found = await adapter.find(provider.call(kind), provider.missing_ref)

    assert isinstance(found, NotFound if kind in provider.read_by_ref else Unknown)


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.RATE_LIMIT])
async def test_find_when_provider_fails_proves_nothing(
    fault: Fault, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """A listing that could not be read is not one without the payout."""
    provider.fail_next(fault)

    found = await adapter.find(provider.call(ProviderCallKind.CREATE_PAYOUT), "")

    assert isinstance(found, Unknown)


@ALL_KINDS
async def test_call_in_unknown_currency_is_rejected_by_name(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """What the provider cannot be paid in never leaves the house."""
    answer = await adapter.call(provider.call(kind, currency="USDT"), PROVEN)

    assert isinstance(answer, Declined)
    assert answer.code == "currency_unsupported"
    assert provider.executions("wd_1") == 0


@ALL_KINDS
async def test_call_with_inexact_amount_is_rejected_by_name(
    kind: ProviderCallKind, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """A tenth of a penny has no name at any provider, and is not rounded away."""
    answer = await adapter.call(provider.call(kind, amount=1_001, currency="GBP"), PROVEN)

    assert isinstance(answer, Declined)
    assert answer.code == "amount_not_representable"
    assert provider.executions("wd_1") == 0


async def test_list_records_through_pages_yields_each_once(
    provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """The cursor leads through several pages, and money paid out is negative."""
    refs = provider.add_payout_records(7)

    records, pages = await listed(adapter, limit=3)

    payouts = {record.provider_ref: record for record in records if record.kind is ProviderRecordKind.PAYOUT}
    assert pages >= 3
    assert len(records) == len({(record.kind, record.record_id) for record in records})
    assert [payouts[ref].amount for ref in refs] == [-1, -2, -3, -4, -5, -6, -7]
    assert {record.currency for record in payouts.values()} == {"EUR"}
    assert {record.state for record in payouts.values()} == {RemoteState.SUCCEEDED}
    assert {record.create_time for record in payouts.values()} == {START}


async def test_list_records_outside_window_yields_none(provider: ProviderUnderTest, adapter: Adapter) -> None:
    """What was made before the window does not belong to it."""
    provider.add_payout_records(2)

    page = await adapter.list_provider_records(WINDOW[1], WINDOW[1] + timedelta(hours=1), "", 10)

    assert (list(page.records), page.next_cursor) == ([], "")


@pytest.mark.parametrize("boundary", [2.5, 3, 7])
async def test_list_records_in_windows_side_by_side_yields_each_once(
    boundary: float, provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """A window takes its beginning and leaves its end, also between the seconds that providers count."""
    for _ in range(5):
        provider.add_payout_records(1)
        provider.pass_time(1)
    middle = START + timedelta(seconds=boundary)

    whole, _ = await listed(adapter, limit=2)
    before, _ = await listed(adapter, limit=2, window=(WINDOW[0], middle))
    after, _ = await listed(adapter, limit=2, window=(middle, WINDOW[1]))

    assert sorted(ids(before) + ids(after)) == ids(whole)
    assert all(record.create_time < middle for record in before)
    assert all(record.create_time >= middle for record in after)


async def test_list_records_while_others_come_in_misses_none(
    provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """What was there when the reading began is on some page, whatever comes meanwhile."""
    refs = provider.add_payout_records(7)
    seen: set[str] = set()
    cursor = ""

    while True:
        page = await adapter.list_provider_records(*WINDOW, cursor, 3)
        seen |= {record.provider_ref for record in page.records}
        cursor = page.next_cursor
        if not cursor:
            break
        if len(seen) < 10:
            provider.add_payout_records(2)

    assert set(refs) <= seen


async def test_list_records_twice_yields_same_ids(provider: ProviderUnderTest, adapter: Adapter) -> None:
    """A record has its id for ever, whatever the size of the pages."""
    provider.add_payout_records(5)
    provider.add_ownerless_records()

    first, _ = await listed(adapter, limit=2)
    second, _ = await listed(adapter, limit=100)

    assert ids(first) == ids(second)
    assert all(record.record_id and record.provider_ref for record in first)


async def test_list_records_of_ownerless_movements_tells_their_kinds(
    provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """Money to our own bank is no payout to a player, and an unheard-of type is not taken for a known one."""
    wanted = provider.add_ownerless_records()

    records, _ = await listed(adapter, limit=100)

    ownerless = [record for record in records if not record.our_id]
    assert sorted(record.kind for record in ownerless) == sorted(wanted)
    assert ProviderRecordKind.PAYOUT not in {record.kind for record in records}


async def test_list_records_of_payout_that_came_back_name_one_object(
    provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """Every record of it is a payout that has failed, of one object and with our id."""
    provider.add_payout_that_came_back()

    records, _ = await listed(adapter, limit=100)

    payouts = [record for record in records if record.our_id == "wd_back"]
    assert len({record.provider_ref for record in payouts}) == 1
    assert {record.kind for record in payouts} == {ProviderRecordKind.PAYOUT}
    assert {record.state for record in payouts} == {RemoteState.FAILED}
    # Adyen leaves it at one.
    assert sorted(record.amount or 0 for record in payouts) in ([-5], [-5, 5])


def test_capabilities_list_no_kind_that_is_none(adapter: Adapter) -> None:
    """Absence proves something of payouts at every provider, and of leftovers at none."""
    listed_kinds = adapter.capabilities.listed

    assert ProviderRecordKind.PAYOUT in listed_kinds
    assert listed_kinds.isdisjoint({ProviderRecordKind.OTHER, ProviderRecordKind.UNKNOWN})


async def test_list_records_too_often_is_failed_with_pause(
    provider: ProviderUnderTest, adapter: Adapter
) -> None:
    """A listing that was asked for too often says for how long to wait; then it goes on."""
    provider.add_payout_records(7)
    page = await adapter.list_provider_records(*WINDOW, "", 3)
    provider.fail_next(Fault.RATE_LIMIT)

    with pytest.raises(ListingFailed) as failure:
        await adapter.list_provider_records(*WINDOW, page.next_cursor, 3)

    assert failure.value.retry_after_seconds == RETRY_AFTER_SECONDS
    assert (await adapter.list_provider_records(*WINDOW, page.next_cursor, 3)).records


async def test_list_records_breaking_off_is_failed(provider: ProviderUnderTest, adapter: Adapter) -> None:
    """Half a listing must not look like a whole one."""
    provider.add_payout_records(7)
    page = await adapter.list_provider_records(*WINDOW, "", 3)
    provider.fail_next(Fault.SERVER_ERROR)

    with pytest.raises(ListingFailed) as failure:
        await adapter.list_provider_records(*WINDOW, page.next_cursor, 3)

    assert failure.value.retry_after_seconds is None


async def test_list_records_where_nobody_listens_is_failed(adapters: Adapters) -> None:
    """A refused connection is a failed listing."""
    with pytest.raises(ListingFailed):
        await adapters.make(address=NOBODY).list_provider_records(*WINDOW, "", 3)


def ids(records: list[ProviderRecord]) -> list[tuple[ProviderRecordKind, str]]:
    """Return what makes each record unique, in order."""
    return sorted((record.kind, record.record_id) for record in records)


async def listed(
    adapter: Adapter, *, limit: int, window: tuple[datetime, datetime] = WINDOW
) -> tuple[list[ProviderRecord], int]:
    """Return all records of a window, and of how many pages they came."""
    records: list[ProviderRecord] = []
    cursor, pages = "", 0
    while True:
        page = await adapter.list_provider_records(*window, cursor, limit)
        records += page.records
        cursor, pages = page.next_cursor, pages + 1
        if not cursor:
            return records, pages
