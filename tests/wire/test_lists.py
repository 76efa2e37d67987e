"""Own what lists promise: filters, order, pages, and tokens that are bound to their filter."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from defter.ledger.v1 import (
    account_pb2,
    adjustment_pb2,
    hold_pb2,
    journal_pb2,
    posting_pb2,
    tenant_pb2,
)
from defter.payments.v1 import deposit_pb2, provider_event_pb2, withdrawal_pb2
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2, settlement_pb2
from defter.reconciliation.v1.settlement_pb2_grpc import SettlementServiceStub

from ledger_server.rpc.page_token import Position, page_token
from tests.support.clock import FakeClock
from tests.support.fake_provider import PROVIDER
from tests.support.ledger import SHADOW, Ledger
from tests.support.requests import (
    ASSET,
    CREDIT,
    DEBIT,
    LIABILITY,
    leg,
    timestamp,
    transaction,
    transfer,
)
from tests.support.service import Service
from tests.support.wire import refusal


async def pages(call: Callable[[Any], Any], request: Any, field: str) -> AsyncIterator[list[Any]]:
    """Yield page after page."""
    while True:
        response = await call(request)
        yield list(getattr(response, field))
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


async def all_pages(call: Callable[[Any], Any], request: Any, field: str) -> list[list[Any]]:
    """Return all pages."""
    return [page async for page in pages(call, request, field)]


async def test_page_through_accounts_returns_each_once_in_order(ledger: Ledger) -> None:
    """Pages are full but for the last, and an account that opens meanwhile disturbs nothing."""
    for name in ("d", "b", "e", "a", "c"):
        await ledger.open(name)
    request = account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id, page_size=2)
    seen: list[list[str]] = []

    async for page in pages(ledger.stubs.accounts.ListAccounts, request, "accounts"):
        seen.append([one.account.account_id for one in page])
        if len(seen) == 1:
            await ledger.open("aa")

    assert seen == [["a", "b"], ["c", "d"], ["e", "house"]]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"account_id_prefix": "player:4"}, ["player:4", "player:42:real"]),
        ({"account_id_prefix": "player:42:"}, ["player:42:real"]),
        ({"account_id_prefix": "player_4"}, []),
        ({"kind": ASSET}, ["house"]),
        ({"currency_code": "USD"}, ["player:5"]),
        ({"state": account_pb2.ACCOUNT_STATE_FROZEN}, ["player:42:real"]),
        ({"state": account_pb2.ACCOUNT_STATE_CLOSED}, ["Player:4"]),
        ({"kind": LIABILITY, "state": account_pb2.ACCOUNT_STATE_OPEN}, ["player:4", "player:5"]),
    ],
)
async def test_filter_accounts_returns_only_matches(
    ledger: Ledger, filters: dict[str, Any], expected: list[str]
) -> None:
    """Filters are joined by and; a prefix is taken literally."""
    await ledger.open("player:4")
    await ledger.open("player:42:real")
    await ledger.open("player:5", currency_code="USD")
    await ledger.open("Player:4")
    await ledger.freeze("player:42:real")
    await ledger.close("Player:4")
    request = account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id, **filters)

    response = await ledger.stubs.accounts.ListAccounts(request)

    assert [one.account.account_id for one in response.accounts] == expected
    assert not response.next_page_token


async def test_list_accounts_shows_balances(ledger: Ledger) -> None:
    """An account is listed with what GetAccount shows of it."""
    await ledger.open("ann")
    await ledger.fund("ann", 7)
    await ledger.place_hold("ann", "house", 2)

    listed = {one.account.account_id: one for one in await ledger.accounts()}

    read = await ledger.account("ann")
    assert listed["ann"].account == read.account
    assert listed["ann"].balance == read.balance
    assert read.balance.available_balance_minor == 5


async def test_page_through_transactions_both_ways_returns_each_once(ledger: Ledger) -> None:
    """Newest first is the same list backwards; new transactions don't shift the pages."""
    await ledger.open("ann")
    posted = [(await ledger.post("house", "ann", n + 1)).transaction_id for n in range(5)]
    call = ledger.stubs.postings.ListTransactions

    def request(**fields: Any) -> posting_pb2.ListTransactionsRequest:
        return posting_pb2.ListTransactionsRequest(tenant_id=ledger.tenant_id, page_size=2, **fields)

    forward = await all_pages(call, request(), "transactions")
    backward: list[list[posting_pb2.Transaction]] = []
    async for page in pages(call, request(newest_first=True), "transactions"):
        backward.append(page)
        await ledger.post("house", "ann", 1)

    assert [[one.transaction_id for one in page] for page in forward] == [
        posted[:2],
        posted[2:4],
        posted[4:],
    ]
    assert [one.transaction_id for page in backward for one in page] == posted[::-1]


async def test_filter_transactions_returns_only_matches(ledger: Ledger, clock: FakeClock) -> None:
    """By account, type, reference, time and broken limit, and by several at once."""
    await ledger.open("ann")
    await ledger.open("bob")
    early = await ledger.post("house", "ann", 5)
    clock.advance(seconds=10)
    named = await ledger.submit(
        transaction(
            leg("ann", DEBIT, 1),
            leg("bob", CREDIT, 1),
            type_=account_pb2.TRANSACTION_TYPE_BONUS,
            reference="promo",
        )
    )
    clock.advance(seconds=10)
    await ledger.enforce(SHADOW)
    breaking = await ledger.post("bob", "house", 3)

    async def found(**filters: Any) -> list[str]:
        request = posting_pb2.ListTransactionsRequest(tenant_id=ledger.tenant_id, **filters)
        response = await ledger.stubs.postings.ListTransactions(request)
        return [one.transaction_id for one in response.transactions]

    start = timestamp(FakeClock().advance(seconds=10))
    end = timestamp(FakeClock().advance(seconds=20))
    assert await found() == [one.transaction_id for one in (early, named, breaking)]
    assert await found(account_id="ann") == [early.transaction_id, named.transaction_id]
    assert await found(account_id="bob", only_limit_breached=True) == [breaking.transaction_id]
    assert await found(type=account_pb2.TRANSACTION_TYPE_BONUS) == [named.transaction_id]
    assert await found(reference="promo") == [named.transaction_id]
    assert await found(reference="prom") == []
    assert await found(start_time=start, end_time=end) == [named.transaction_id]
    assert await found(end_time=start) == [early.transaction_id]
    assert await found(start_time=end, newest_first=True) == [breaking.transaction_id]
    assert await found(account_id="nobody") == []


async def test_read_transaction_returns_what_posting_returned(ledger: Ledger) -> None:
    """Reading back gives the same message, listed or by id, and names the reversal."""
    await ledger.open("ann")
    wanted = transaction(
        leg("house", DEBIT, 3),
        leg("ann", CREDIT, 2),
        leg("ann", CREDIT, 1),
        reference="ref",
        effective_time=timestamp(FakeClock().advance(seconds=-86400, microseconds=123456)),
        metadata={"round": "7", "game": "dice"},
    )
    posted = await ledger.submit(wanted)
    reversal = await ledger.reverse(posted.transaction_id)

    read = await ledger.transaction(posted.transaction_id)
    mirror = await ledger.transaction(reversal.transaction_id)

    assert read.transaction == posted
    assert read.reversed_by_transaction_id == reversal.transaction_id
    assert mirror.transaction.reverses_transaction_id == posted.transaction_id
    assert posted.effective_time == wanted.effective_time
    assert dict(posted.metadata) == {"round": "7", "game": "dice"}
    assert [one.balance.posted_balance_minor for one in posted.postings] == [3, 2, 3]


async def test_page_through_holds_returns_each_once_in_order(ledger: Ledger) -> None:
    """Holds come in the order in which they were placed, or backwards."""
    await ledger.open("ann")
    placed = [(await ledger.place_hold("house", "ann", 1)).hold_id for _ in range(5)]
    call = ledger.stubs.holds.ListHolds

    for newest_first, expected in ((False, placed), (True, placed[::-1])):
        request = hold_pb2.ListHoldsRequest(
            tenant_id=ledger.tenant_id, page_size=2, newest_first=newest_first
        )
        found = await all_pages(call, request, "holds")
        assert [[one.hold_id for one in page] for page in found] == [
            expected[:2],
            expected[2:4],
            expected[4:],
        ]


async def test_filter_holds_by_state_follows_the_clock(ledger: Ledger, clock: FakeClock) -> None:
    """A hold past its expire time is listed as EXPIRED, whether or not that is recorded."""
    await ledger.open("ann")
    await ledger.open("bob")
    soon = timestamp(FakeClock(clock.now).advance(seconds=5))
    late = timestamp(FakeClock(clock.now).advance(seconds=50))
    short = await ledger.place_hold("house", "ann", 1, expire_time=soon)
    long = await ledger.place_hold("house", "bob", 2, expire_time=late)
    endless = await ledger.place_hold("house", "bob", 3)
    released = await ledger.place_hold("house", "ann", 4)
    await ledger.release(released.hold_id)

    async def found(**filters: Any) -> list[str]:
        request = hold_pb2.ListHoldsRequest(tenant_id=ledger.tenant_id, **filters)
        return [one.hold_id for one in (await ledger.stubs.holds.ListHolds(request)).holds]

    assert await found(state=hold_pb2.HOLD_STATE_OPEN) == [
        short.hold_id,
        long.hold_id,
        endless.hold_id,
    ]
    clock.advance(seconds=5)
    assert await found(state=hold_pb2.HOLD_STATE_OPEN) == [long.hold_id, endless.hold_id]
    assert await found(state=hold_pb2.HOLD_STATE_EXPIRED) == [short.hold_id]
    assert await found(state=hold_pb2.HOLD_STATE_RELEASED) == [released.hold_id]
    assert await found(account_id="bob") == [long.hold_id, endless.hold_id]
    assert await found(account_id="ann") == [short.hold_id, released.hold_id]
    assert await found(expire_before_time=late) == [short.hold_id]


async def test_list_statement_filters_by_time_and_phase(ledger: Ledger, clock: FakeClock) -> None:
    """Posted lines by default, pending ones on request; the end time is exclusive."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    clock.advance(seconds=10)
    hold = await ledger.place_hold("ann", "house", 4)
    clock.advance(seconds=10)
    await ledger.capture(hold.hold_id, 3, final=True)

    async def amounts(**filters: Any) -> list[tuple[int, int]]:
        request = account_pb2.ListPostingsRequest(tenant_id=ledger.tenant_id, account_id="ann", **filters)
        response = await ledger.stubs.accounts.ListPostings(request)
        return [(line.amount_minor, line.pending_change_minor) for line in response.lines]

    middle = timestamp(FakeClock().advance(seconds=10))
    end = timestamp(FakeClock().advance(seconds=20))
    assert await amounts() == [(10, 0), (3, -4)]
    assert await amounts(include_pending=True) == [(10, 0), (0, 4), (3, -4)]
    assert await amounts(newest_first=True) == [(3, -4), (10, 0)]
    assert await amounts(include_pending=True, start_time=middle, end_time=end) == [(0, 4)]
    assert await amounts(end_time=middle) == [(10, 0)]


async def test_page_through_statement_both_ways_returns_each_line_once(ledger: Ledger) -> None:
    """Several legs of one transaction may stand on two pages."""
    await ledger.open("ann")
    await ledger.submit(transaction(leg("house", DEBIT, 6), *(leg("ann", CREDIT, n) for n in (1, 2, 3))))
    await ledger.submit(transaction(leg("house", DEBIT, 9), leg("ann", CREDIT, 9)))

    for newest_first, expected in ((False, [[1, 2], [3, 9]]), (True, [[9, 3], [2, 1]])):
        request = account_pb2.ListPostingsRequest(
            tenant_id=ledger.tenant_id, account_id="ann", page_size=2, newest_first=newest_first
        )
        found = await all_pages(ledger.stubs.accounts.ListPostings, request, "lines")
        assert [[line.amount_minor for line in page] for page in found if page] == expected


async def test_page_through_journal_returns_each_record_once(ledger: Ledger) -> None:
    """Paging and resuming by sequence agree."""
    for name in ("a", "b", "c", "d"):
        await ledger.open(name)
    request = journal_pb2.ListJournalRequest(tenant_id=ledger.tenant_id, page_size=2, after_sequence=1)

    found = await all_pages(ledger.stubs.journal.ListJournal, request, "entries")

    assert [[entry.sequence for entry in page] for page in found if page] == [[2, 3], [4, 5], [6]]


async def test_page_through_tenants_returns_each_once(server: Service) -> None:
    """Tenants are listed by id with their heads."""
    for name in ("c", "a", "b"):
        await server.new_ledger(name)
    request = tenant_pb2.ListTenantsRequest(page_size=2)

    found = await all_pages(server.stubs.tenants.ListTenants, request, "tenants")

    assert [[one.tenant_id for one in page] for page in found] == [["a", "b"], ["c"]]
    assert found[0][0] == await server.ledger("a").tenant()


def altered(token: str) -> str:
    """Return a token of the same length with one character changed in the middle."""
    middle = len(token) // 2
    return token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]


# What is done to a token, and to the request that it comes with.
TOKEN_ABUSES: dict[str, tuple[Callable[[str], str], dict[str, Any]]] = {
    "altered": (altered, {}),
    "cut_short": (lambda token: token[:-4], {}),
    "longer": (lambda token: token + "AAAA", {}),
    "encoded_nothing": (lambda _: base64.urlsafe_b64encode(b"\x00").decode(), {}),
    "no_token_at_all": (lambda _: "💣", {}),
    "another_filter": (str, {"account_id_prefix": "a"}),
    "another_state": (str, {"state": account_pb2.ACCOUNT_STATE_OPEN}),
    "another_tenant": (str, {"tenant_id": "other"}),
}


@pytest.mark.parametrize("abuse", TOKEN_ABUSES)
async def test_misuse_page_token_is_refused(server: Service, ledger: Ledger, abuse: str) -> None:
    """A token is opaque, and belongs to the list that it came from."""
    await ledger.open("ann")
    await server.new_ledger("other")
    request = account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id, page_size=1)
    token = (await ledger.stubs.accounts.ListAccounts(request)).next_page_token
    assert token
    abused, changes = TOKEN_ABUSES[abuse]
    request.page_token = abused(token)
    request.MergeFrom(account_pb2.ListAccountsRequest(**changes))

    refused = await refusal(ledger.stubs.accounts.ListAccounts(request))

    assert refused.reason == "PAGE_TOKEN_INVALID"


async def test_use_page_token_of_other_list_is_refused(ledger: Ledger) -> None:
    """A token of one RPC is none of another."""
    await ledger.open("ann")
    accounts = account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id, page_size=1)
    token = (await ledger.stubs.accounts.ListAccounts(accounts)).next_page_token

    others: list[tuple[Callable[..., Any], Any]] = [
        (ledger.stubs.holds.ListHolds, hold_pb2.ListHoldsRequest()),
        (ledger.stubs.journal.ListJournal, journal_pb2.ListJournalRequest()),
        (ledger.stubs.postings.ListTransactions, posting_pb2.ListTransactionsRequest()),
        (ledger.stubs.accounts.ListPostings, account_pb2.ListPostingsRequest(account_id="ann")),
    ]

    for call, request in others:
        request.tenant_id = ledger.tenant_id
        request.page_token = token
        refused = await refusal(call(request))
        assert refused.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize(
    ("service", "rpc", "request_", "position"),
    [
        ("findings", "ListFindings", finding_pb2.ListFindingsRequest(), ("soon", "00")),
        ("findings", "ListFindings", finding_pb2.ListFindingsRequest(), ("2030-01-01T00:00:00Z", "0x")),
        ("findings", "ListFindings", finding_pb2.ListFindingsRequest(), ("0001-01-01T00:00:00+23:00", "00")),
        ("reconciliation", "ListRuns", reconciliation_pb2.ListRunsRequest(), ("soon", 1)),
        (
            "reconciliation",
            "ListProviderRecords",
            reconciliation_pb2.ListProviderRecordsRequest(provider=PROVIDER),
            (2**15, ""),
        ),
        ("accounts", "ListPostings", account_pb2.ListPostingsRequest(account_id="house"), (1, 2**15)),
        ("postings", "ListTransactions", posting_pb2.ListTransactionsRequest(), (2**63,)),
        ("accounts", "ListAccounts", account_pb2.ListAccountsRequest(), ("\x00",)),
    ],
)
async def test_forge_page_token_is_refused(
    ledger: Ledger, service: str, rpc: str, request_: Any, position: Position
) -> None:
    """The key of tokens is no secret: a position that no list has is refused like any other broken token."""
    request_.tenant_id = ledger.tenant_id
    request_.page_token = page_token(request_, position)

    refused = await refusal(getattr(getattr(ledger.stubs, service), rpc)(request_))

    assert refused.reason == "PAGE_TOKEN_INVALID"


async def test_forge_page_token_of_settlements_is_refused(ledger: Ledger) -> None:
    """The same for the list of settlement batches."""
    request = settlement_pb2.ListSettlementBatchesRequest(tenant_id=ledger.tenant_id)
    request.page_token = page_token(request, ("soon", "", "", ""))

    refused = await refusal(SettlementServiceStub(ledger.channel).ListSettlementBatches(request))

    assert refused.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize(
    ("service", "rpc", "request_"),
    [
        ("postings", "ListTransactions", posting_pb2.ListTransactionsRequest()),
        ("holds", "ListHolds", hold_pb2.ListHoldsRequest()),
        ("journal", "ListJournal", journal_pb2.ListJournalRequest()),
        ("deposits", "ListDeposits", deposit_pb2.ListDepositsRequest()),
        ("withdrawals", "ListWithdrawals", withdrawal_pb2.ListWithdrawalsRequest()),
        ("adjustments", "ListAdjustments", adjustment_pb2.ListAdjustmentsRequest()),
        ("events", "ListProviderEvents", provider_event_pb2.ListProviderEventsRequest()),
    ],
)
async def test_forge_page_token_behind_everything_finds_nothing(
    ledger: Ledger, service: str, rpc: str, request_: Any
) -> None:
    """The largest position that a list could have is behind its end."""
    request_.tenant_id = ledger.tenant_id
    request_.page_token = page_token(request_, (2**63 - 1,))

    response = await getattr(getattr(ledger.stubs, service), rpc)(request_)

    response.ClearField("sequence")
    assert response.ByteSize() == 0


async def test_change_page_size_between_pages_is_allowed(ledger: Ledger) -> None:
    """A token is bound to its filter, not to its page's size."""
    for name in ("a", "b", "c"):
        await ledger.open(name)
    request = account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id, page_size=1)
    request.page_token = (await ledger.stubs.accounts.ListAccounts(request)).next_page_token
    request.page_size = 3

    response = await ledger.stubs.accounts.ListAccounts(request)

    assert [one.account.account_id for one in response.accounts] == ["b", "c", "house"]


async def test_read_list_of_unknown_tenant_is_refused(ledger: Ledger) -> None:
    """A list of a tenant that does not exist is not an empty list."""
    stranger = Ledger(ledger.channel, "nobody")

    for call in (stranger.accounts, stranger.holds, stranger.entries, stranger.trial_balances):
        assert (await refusal(call())).reason == "TENANT_NOT_FOUND"


async def test_leave_page_size_out_gives_a_hundred(ledger: Ledger) -> None:
    """The default page has 100 entries."""
    await ledger.open("ann")
    await ledger.batch(*(ledger.transfer_item("house", "ann", 1) for _ in range(120)))
    request = posting_pb2.ListTransactionsRequest(tenant_id=ledger.tenant_id)

    found = await all_pages(ledger.stubs.postings.ListTransactions, request, "transactions")

    assert [len(page) for page in found] == [100, 20]


async def test_post_two_legs_on_one_account_lists_transaction_once(ledger: Ledger) -> None:
    """A transaction with several legs on an account is one entry of the list."""
    await ledger.open("ann")
    await ledger.submit(transaction(leg("ann", CREDIT, 1), leg("ann", CREDIT, 1), leg("house", DEBIT, 2)))
    await ledger.submit(transfer("house", "ann", 1))
    request = posting_pb2.ListTransactionsRequest(tenant_id=ledger.tenant_id, account_id="ann")

    response = await ledger.stubs.postings.ListTransactions(request)

    assert len(response.transactions) == 2
