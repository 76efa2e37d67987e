"""Own what lists promise where a page may look at few rows only: each item comes once, in order."""

from __future__ import annotations

from typing import Any

import pytest
from defter.ledger.v1 import account_pb2, hold_pb2, posting_pb2
from defter.payments.v1 import deposit_pb2, payment_pb2, provider_event_pb2

from ledger_server.store.queries import rendering
from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import FakeClock
from tests.support.fake_provider import PROVIDER, SILENT_PROVIDER
from tests.support.ledger import SHADOW, Ledger
from tests.support.requests import ASSET, BET, CREDIT, DEBIT, leg, limits, timestamp, transaction
from tests.wire.test_lists import all_pages

# A page looks at one row more than it may return, so these cut between any two rows of what is listed.
SIZES = (1, 2, 3, 4, 5)


@pytest.fixture(autouse=True)
def _scan_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "SCAN_LIMIT", 1)


async def listed(call: Any, request: Any, field: str, page_size: int) -> list[Any]:
    """Return all items of all pages, none of which is longer than asked for."""
    asked = type(request)()
    asked.CopyFrom(request)
    asked.page_size = page_size
    found = await all_pages(call, asked, field)
    assert all(len(page) <= page_size for page in found)
    return [each for page in found for each in page]


async def post_many_legs(ledger: Ledger) -> list[int]:
    """Post transactions of one to four legs on the house; return the sequences of every second one."""
    await ledger.open("ann")
    wanted = []
    for count in (1, 3, 2, 4, 1, 3, 4):
        type_ = BET if count > 2 else account_pb2.TRANSACTION_TYPE_BONUS
        legs = [leg("house", DEBIT, 1) for _ in range(count)]
        posted = await ledger.submit(transaction(*legs, leg("ann", CREDIT, count), type_=type_))
        if type_ == BET:
            wanted.append(posted.sequence)
    return wanted


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest", "newest"])
@pytest.mark.parametrize("page_size", SIZES)
async def test_list_transactions_of_account_cut_between_legs_returns_each_once(
    ledger: Ledger, newest_first: bool, page_size: int
) -> None:
    """Wherever a page ends among the legs of a transaction, the transaction is on one page."""
    wanted = await post_many_legs(ledger)
    request = posting_pb2.ListTransactionsRequest(
        tenant_id=ledger.tenant_id, account_id="house", type=BET, newest_first=newest_first
    )

    found = await listed(ledger.stubs.postings.ListTransactions, request, "transactions", page_size)

    assert [each.sequence for each in found] == (wanted[::-1] if newest_first else wanted)


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest", "newest"])
@pytest.mark.parametrize(
    "filters",
    [
        {"type": BET},
        {"reference": "r", "type": BET},
        {"reference": "r", "account_id": "ann"},
        {"only_limit_breached": True, "account_id": "ann"},
        {"only_limit_breached": True, "reference": "r"},
    ],
    ids="-".join,
)
async def test_list_transactions_with_filter_few_pass_returns_each_once(
    ledger: Ledger, filters: dict[str, Any], newest_first: bool
) -> None:
    """Whatever index the list starts from, no page skips or repeats what it did not return."""
    for name in ("ann", "bob"):
        await ledger.open(name)
    await ledger.enforce(SHADOW)
    for number in range(8):
        name = "ann" if number % 3 else "bob"
        type_ = BET if number % 2 else account_pb2.TRANSACTION_TYPE_BONUS
        legs = (leg(name, DEBIT, 1), leg("house", CREDIT, 1))
        await ledger.submit(transaction(*legs, type_=type_, reference="r" if number % 4 else ""))
    request = posting_pb2.ListTransactionsRequest(
        tenant_id=ledger.tenant_id, newest_first=newest_first, **filters
    )
    call = ledger.stubs.postings.ListTransactions

    found = [[each.sequence for each in await listed(call, request, "transactions", size)] for size in SIZES]

    [everything] = await all_pages(call, with_size(request, 100), "transactions")
    assert len(everything) > 1
    assert found == [[each.sequence for each in everything]] * len(SIZES)


def with_size(request: Any, page_size: int) -> Any:
    """Return the request with a page that has room for everything, so that no limit is met."""
    asked = type(request)()
    asked.CopyFrom(request)
    asked.page_size = page_size
    return asked


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest", "newest"])
async def test_list_posted_lines_between_pending_ones_returns_each_once(
    ledger: Ledger, newest_first: bool
) -> None:
    """A statement of posted money alone passes over lines of holds, and goes on between two legs."""
    await ledger.open("ann")
    for count in (1, 3, 2):
        await ledger.place_hold("house", "ann", 1)
        legs = [leg("house", DEBIT, 1) for _ in range(count)]
        await ledger.submit(transaction(*legs, leg("ann", CREDIT, count)))
        await ledger.place_hold("house", "ann", 1)
    request = account_pb2.ListPostingsRequest(
        tenant_id=ledger.tenant_id,
        account_id="house",
        newest_first=newest_first,
    )
    call = ledger.stubs.accounts.ListPostings

    found = [
        [(each.sequence, each.leg) for each in await listed(call, request, "lines", size)] for size in SIZES
    ]

    [everything] = await all_pages(call, with_size(request, 100), "lines")
    assert len(everything) == 6
    assert found == [[(each.sequence, each.leg) for each in everything]] * len(SIZES)


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest", "newest"])
@pytest.mark.parametrize(
    "filters",
    [
        {"account_id": "ann"},
        {"account_id": "ann", "state": hold_pb2.HOLD_STATE_RELEASED},
        {"account_id": "ann", "state": hold_pb2.HOLD_STATE_OPEN},
        {"state": hold_pb2.HOLD_STATE_RELEASED},
        {"state": hold_pb2.HOLD_STATE_EXPIRED},
        {"only_limit_breached": True},
        {"only_limit_breached": True, "account_id": "ann"},
        {"only_limit_breached": True, "state": hold_pb2.HOLD_STATE_OPEN},
        {"only_limit_breached": True, "state": hold_pb2.HOLD_STATE_RELEASED, "account_id": "bob"},
        {"expire_before_time": timestamp(FakeClock().advance(seconds=60))},
    ],
    ids=lambda filters: "-".join(map(str, filters)),
)
async def test_list_holds_with_filter_few_pass_returns_each_once(
    ledger: Ledger, clock: FakeClock, filters: dict[str, Any], newest_first: bool
) -> None:
    """Lines that place no hold, and holds that the filter drops, cost pages but lose nothing."""
    await ledger.enforce(SHADOW)
    for name in ("ann", "bob"):
        await ledger.open(name, bounds=limits(maximum=1))
    soon = timestamp(clock().replace(second=5))
    for number in range(12):
        name = "ann" if number % 3 else "bob"
        hold = await ledger.place_hold("house", name, 1, expire_time=soon if number % 4 == 0 else None)
        await ledger.submit(transaction(leg("house", DEBIT, 1), leg(name, CREDIT, 1)))
        if number % 2:
            await ledger.release(hold.hold_id)
    clock.advance(seconds=10)
    request = hold_pb2.ListHoldsRequest(tenant_id=ledger.tenant_id, newest_first=newest_first, **filters)
    call = ledger.stubs.holds.ListHolds

    found = [[each.hold_id for each in await listed(call, request, "holds", size)] for size in SIZES]

    [everything] = await all_pages(call, with_size(request, 100), "holds")
    assert len(everything) > 1
    assert found == [[each.hold_id for each in everything]] * len(SIZES)


@pytest.mark.parametrize("filters", [{"kind": ASSET}, {"account_id_prefix": "b", "currency_code": "USD"}])
async def test_list_accounts_with_filter_few_pass_returns_each_once(
    ledger: Ledger, filters: dict[str, Any]
) -> None:
    """Accounts that the filter drops cost pages but lose nothing."""
    for number, name in enumerate(("a", "b", "bb", "bc", "bd", "c", "x")):
        await ledger.open(name, currency_code="EUR" if number % 2 else "USD")
    await ledger.open_house("z")
    request = account_pb2.ListAccountsRequest(tenant_id=ledger.tenant_id, **filters)
    call = ledger.stubs.accounts.ListAccounts

    found = [
        [each.account.account_id for each in await listed(call, request, "accounts", size)] for size in SIZES
    ]

    expected = ["house", "z"] if "kind" in filters else ["bb", "bd"]
    assert found == [expected] * len(SIZES)


@pytest.mark.parametrize(
    "filters",
    [
        {"player_id": "bob", "state": payment_pb2.DEPOSIT_STATE_CAPTURED},
        {"player_id": "bob", "provider": SILENT_PROVIDER},
        {"state": payment_pb2.DEPOSIT_STATE_INITIATED, "provider": SILENT_PROVIDER},
    ],
    ids="-".join,
)
async def test_list_deposits_with_filter_few_pass_returns_each_once(
    cashier: Cashier, filters: dict[str, Any]
) -> None:
    """Payments that the filter drops cost pages but lose nothing."""
    for number in range(8):
        player_id = "bob" if number % 2 else "ann"
        if number in (3, 5):
            await cashier.captured(number + 1, player_id=player_id)
        else:
            provider = PROVIDER if number % 3 == 0 else SILENT_PROVIDER
            await cashier.initiate(number + 1, player_id=player_id, provider=provider)
    request = deposit_pb2.ListDepositsRequest(tenant_id=cashier.ledger.tenant_id, **filters)
    call = cashier.stubs.deposits.ListDeposits

    found = [[each.amount_minor for each in await listed(call, request, "deposits", size)] for size in SIZES]

    [everything] = await all_pages(call, with_size(request, 100), "deposits")
    assert len(everything) > 1
    assert found == [[each.amount_minor for each in everything]] * len(SIZES)


async def test_list_events_with_filter_few_pass_returns_each_once(cashier: Cashier) -> None:
    """Events that the filter drops cost pages but lose nothing."""
    for number in range(8):
        provider = PROVIDER if number % 3 == 0 else SILENT_PROVIDER
        await cashier.ingest(
            cashier.event(CAPTURED, amount_minor=5, payment_ref=f"p{number}", event_id=str(number))
            if number % 2
            else cashier.event(
                payment_pb2.PROVIDER_EVENT_TYPE_UNSPECIFIED, provider=provider, event_id=str(number)
            )
        )
    request = provider_event_pb2.ListProviderEventsRequest(
        tenant_id=cashier.ledger.tenant_id,
        provider=PROVIDER,
        state=payment_pb2.PROVIDER_EVENT_STATE_IGNORED,
    )
    call = cashier.stubs.events.ListProviderEvents

    found = [[each.event.event_id for each in await listed(call, request, "events", size)] for size in SIZES]

    assert found == [["0", "6"]] * len(SIZES)
