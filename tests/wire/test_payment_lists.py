"""Own what lists of payments promise: filters, order, pages, and tokens that are bound to their filter."""

from __future__ import annotations

from typing import Any

import pytest
from defter.payments.v1 import deposit_pb2, payment_pb2, provider_event_pb2, wallet_pb2, withdrawal_pb2

from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import START, FakeClock
from tests.support.fake_provider import PROVIDER, SILENT_PROVIDER
from tests.support.ledger import Ledger
from tests.support.requests import timestamp
from tests.support.service import Service
from tests.support.wire import refusal
from tests.wire.test_lists import all_pages

UNKNOWN_TYPE = payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED
IN_TEN_SECONDS = timestamp(FakeClock(START).advance(seconds=10))
IN_TWENTY_SECONDS = timestamp(FakeClock(START).advance(seconds=20))


async def four_deposits(cashier: Cashier, clock: FakeClock) -> None:
    """Begin deposits that differ in one thing each, ten seconds apart."""
    await cashier.initiate(1, provider_ref="a")
    clock.advance(seconds=10)
    await cashier.initiate(2, provider_ref="b", player_id="bob")
    clock.advance(seconds=10)
    await cashier.initiate(3, provider_ref="c", provider=SILENT_PROVIDER)
    await cashier.captured(4, provider_ref="d")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"player_id": "bob"}, [2]),
        ({"player_id": "nobody"}, []),
        ({"state": payment_pb2.DEPOSIT_STATE_CAPTURED}, [4]),
        ({"state": payment_pb2.DEPOSIT_STATE_INITIATED}, [1, 2, 3]),
        ({"provider": SILENT_PROVIDER}, [3]),
        ({"provider": "not-configured"}, []),
        ({"provider": PROVIDER, "provider_ref": "b"}, [2]),
        ({"provider": SILENT_PROVIDER, "provider_ref": "b"}, []),
        ({"provider_ref": "c"}, [3]),
        ({"newest_first": True}, [4, 3, 2, 1]),
        ({"states": [payment_pb2.DEPOSIT_STATE_CAPTURED, payment_pb2.DEPOSIT_STATE_INITIATED]}, [1, 2, 3, 4]),
        ({"states": [payment_pb2.DEPOSIT_STATE_FAILED], "state": payment_pb2.DEPOSIT_STATE_CAPTURED}, [4]),
        ({"states": [0, payment_pb2.DEPOSIT_STATE_CAPTURED]}, [1, 2, 3, 4]),
        ({"currency_code": "EUR", "min_amount_minor": 2, "max_amount_minor": 3}, [2, 3]),
        ({"currency_code": "USD"}, []),
        ({"reference": "none"}, []),
        ({"from_time": IN_TEN_SECONDS, "to_time": IN_TWENTY_SECONDS}, [2]),
        ({"to_time": IN_TEN_SECONDS}, [1]),
        ({"from_time": IN_TWENTY_SECONDS}, [3, 4]),
        ({"player_id": "ann", "state": payment_pb2.DEPOSIT_STATE_INITIATED, "provider": PROVIDER}, [1]),
        ({"provider": PROVIDER, "from_time": IN_TEN_SECONDS}, [2, 4]),
        ({"provider": PROVIDER, "provider_ref": "d", "player_id": "bob"}, []),
        ({"provider": PROVIDER, "state": payment_pb2.DEPOSIT_STATE_CAPTURED}, [4]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_filter_deposits_returns_only_matches(
    cashier: Cashier, clock: FakeClock, filters: dict[str, Any], expected: list[int]
) -> None:
    """Filters are joined by and; withdrawals are on another list."""
    await four_deposits(cashier, clock)
    await cashier.ledger.fund("player:ann:real:EUR", 500)
    await cashier.request(100)

    found = await cashier.deposits(**filters)

    assert [deposit.amount_minor for deposit in found] == expected
    assert found == [await cashier.deposit(deposit.deposit_id) for deposit in found]


async def test_filter_withdrawals_returns_only_matches(cashier: Cashier) -> None:
    """By player, state and provider, and by the ref that the provider has told."""
    await cashier.captured(1_000)
    await cashier.captured(1_000, player_id="bob")
    one, two = await cashier.request(100), await cashier.request(200, player_id="bob")
    await cashier.request(300, provider=SILENT_PROVIDER)
    await cashier.reject(two.withdrawal_id)
    await cashier.approve(one.withdrawal_id)
    await cashier.until_called()

    async def found(**filters: Any) -> list[int]:
        return [withdrawal.amount_minor for withdrawal in await cashier.withdrawals(**filters)]

    assert await found() == [100, 200, 300]
    assert await found(player_id="ann") == [100, 300]
    assert await found(state=payment_pb2.WITHDRAWAL_STATE_REJECTED) == [200]
    assert await found(provider=SILENT_PROVIDER) == [300]
    assert await found(provider=PROVIDER, provider_ref=f"at-{one.withdrawal_id}") == [100]
    assert await found(to_time=timestamp(START)) == []


async def test_filter_events_returns_only_matches(cashier: Cashier, clock: FakeClock) -> None:
    """By provider, state, payment and time; an id of the other kind of payment finds nothing."""
    deposit = await cashier.initiate(500)
    await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 500, event_id="applied"))
    clock.advance(seconds=10)
    unread = payment_pb2.UNREAD_REASON_FIELD
    stored = await cashier.ingest(
        cashier.event(CAPTURED, amount_minor=5, payment_ref="early", event_id="parked"),
        cashier.event(CAPTURED, deposit.deposit_id, 5, currency_code="USD", event_id="contradicted"),
        cashier.event(UNKNOWN_TYPE, provider=SILENT_PROVIDER, event_id="ignored"),
        cashier.event(UNKNOWN_TYPE, provider=SILENT_PROVIDER, event_id="unread", unread_reason=unread),
        cashier.event(UNKNOWN_TYPE, event_id="superseded", unread_reason=unread),
    )
    request = provider_event_pb2.SupersedeProviderEventRequest(
        tenant_id=cashier.ledger.tenant_id,
        idempotency_key="read",
        provider_event_id=stored[-1].event.provider_event_id,
        superseded_by_event_id=stored[0].event.provider_event_id,
    )
    await cashier.stubs.events.SupersedeProviderEvent(request)
    other_kind = deposit.deposit_id.replace("dep_", "wd_")

    async def found(**filters: Any) -> list[str]:
        return [one.event.event_id for one in await cashier.stored_events(**filters)]

    assert await found() == ["applied", "parked", "contradicted", "ignored", "unread", "superseded"]
    for name, state in payment_pb2.ProviderEventState.items():
        if state:
            assert await found(state=state) == [name.rsplit("_", 1)[1].lower()]
    assert await found(provider=SILENT_PROVIDER) == ["ignored", "unread"]
    assert await found(payment_id=deposit.deposit_id) == ["applied", "contradicted"]
    contradicted = payment_pb2.PROVIDER_EVENT_STATE_CONTRADICTED
    assert await found(payment_id=deposit.deposit_id, state=contradicted) == ["contradicted"]
    assert await found(payment_id=other_kind) == await found(payment_id="garbage") == []
    assert await found(to_time=IN_TEN_SECONDS) == ["applied"]
    of_provider = await found(from_time=IN_TEN_SECONDS, provider=PROVIDER)
    assert of_provider == ["parked", "contradicted", "superseded"]


async def test_page_through_payments_returns_each_once_in_order(cashier: Cashier) -> None:
    """Pages are full but for the last, with a filter and without."""
    for amount in range(1, 6):
        await cashier.initiate(amount)
        await cashier.initiate(amount, player_id="bob")
    tenant_id = cashier.ledger.tenant_id
    all_of_them = deposit_pb2.ListDepositsRequest(tenant_id=tenant_id, page_size=4)
    of_bob = deposit_pb2.ListDepositsRequest(
        tenant_id=tenant_id, page_size=2, player_id="bob", provider=PROVIDER
    )
    call = cashier.stubs.deposits.ListDeposits

    everything = await all_pages(call, all_of_them, "deposits")
    bobs = await all_pages(call, of_bob, "deposits")

    assert [[one.amount_minor for one in page] for page in everything] == [
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [5, 5],
    ]
    assert [[one.amount_minor for one in page] for page in bobs] == [[1, 2], [3, 4], [5]]


async def test_page_through_events_returns_each_once_in_order(cashier: Cashier) -> None:
    """Events that come meanwhile don't shift the pages."""
    await cashier.ingest(*(cashier.event(UNKNOWN_TYPE, event_id=str(n)) for n in range(5)))
    request = provider_event_pb2.ListProviderEventsRequest(tenant_id=cashier.ledger.tenant_id, page_size=2)

    found = await all_pages(cashier.stubs.events.ListProviderEvents, request, "events")

    assert [[one.event.event_id for one in page] for page in found] == [["0", "1"], ["2", "3"], ["4"]]


async def test_list_large_deposits_cuts_page_below_message_limit(cashier: Cashier) -> None:
    """A page ends early where its messages are large; nothing is lost."""
    metadata = {f"{n:064}": "x" * 512 for n in range(32)}
    for _ in range(70):
        await cashier.initiate(1, metadata=metadata)
    request = deposit_pb2.ListDepositsRequest(tenant_id=cashier.ledger.tenant_id, page_size=1_000)

    found = await all_pages(cashier.stubs.deposits.ListDeposits, request, "deposits")

    assert len(found) > 1
    assert len({one.deposit_id for page in found for one in page}) == 70


@pytest.mark.parametrize(
    ("service", "method", "request_message"),
    [
        ("deposits", "ListDeposits", deposit_pb2.ListDepositsRequest()),
        ("withdrawals", "ListWithdrawals", withdrawal_pb2.ListWithdrawalsRequest()),
        ("wallets", "ListWallets", wallet_pb2.ListWalletsRequest()),
        ("events", "ListProviderEvents", provider_event_pb2.ListProviderEventsRequest()),
    ],
)
async def test_use_page_token_of_other_payment_list_is_refused(
    cashier: Cashier, service: str, method: str, request_message: Any
) -> None:
    """A token of one list, filter or tenant is none of another."""
    await cashier.initiate()
    await cashier.initiate()
    tenant_id = cashier.ledger.tenant_id
    first = deposit_pb2.ListDepositsRequest(tenant_id=tenant_id, page_size=1, player_id="ann")
    token = (await cashier.stubs.deposits.ListDeposits(first)).next_page_token
    assert token
    request_message.tenant_id = tenant_id
    request_message.page_token = token

    refused = await refusal(getattr(getattr(cashier.stubs, service), method)(request_message))

    assert refused.reason == "PAGE_TOKEN_INVALID"


# A value of each type, other than that of the first page.
OTHER_VALUES: dict[str, Any] = {
    "player_id": "bob",
    "state": 2,
    "provider": SILENT_PROVIDER,
    "provider_ref": "ref",
    "from_time": timestamp(START),
    "to_time": timestamp(START),
    "states": [1, 2],
    "min_amount_minor": 2,
    "max_amount_minor": 9,
    "currency_code": "USD",
    "reference": "other",
    "newest_first": True,
}
TOKENLESS = {"tenant_id", "page_size", "page_token"}


@pytest.mark.parametrize("kind", ["deposits", "withdrawals"])
async def test_use_page_token_with_any_other_filter_is_refused(cashier: Cashier, kind: str) -> None:
    """Each filter and the order are bound to it; the size of the next page is not."""
    await cashier.captured(1_000)
    for _ in range(3):
        await (cashier.initiate(5) if kind == "deposits" else cashier.request(100))
    name = "ListDeposits" if kind == "deposits" else "ListWithdrawals"
    message = getattr(deposit_pb2 if kind == "deposits" else withdrawal_pb2, f"{name}Request")
    call = getattr(getattr(cashier.stubs, kind), name)
    same = {"tenant_id": cashier.ledger.tenant_id, "currency_code": "EUR"}
    token = (await call(message(**same, page_size=1))).next_page_token
    assert token

    going_on = await call(message(**same, page_size=2, page_token=token))
    assert len(getattr(going_on, kind)) == 2
    fields = {*message.DESCRIPTOR.fields_by_name} - TOKENLESS
    assert fields == OTHER_VALUES.keys()
    for field in sorted(fields):
        other = message(**{**same, field: OTHER_VALUES[field]}, page_size=1, page_token=token)
        assert (await refusal(call(other))).reason == "PAGE_TOKEN_INVALID", field


async def test_read_payments_of_other_tenant_makes_no_difference(server: Service, cashier: Cashier) -> None:
    """Ids of one tenant mean nothing in another one, and an unknown tenant has no lists."""
    deposit = await cashier.initiate()
    other = Cashier(await server.new_ledger("other"))
    stranger = Cashier(Ledger(cashier.ledger.channel, "nobody"))

    assert (await refusal(other.deposit(deposit.deposit_id))).reason == "DEPOSIT_NOT_FOUND"
    assert await other.deposits() == await other.withdrawals() == await other.stored_events() == []
    for call in (stranger.deposits, stranger.withdrawals, stranger.stored_events, stranger.policy):
        assert (await refusal(call())).reason == "TENANT_NOT_FOUND"
